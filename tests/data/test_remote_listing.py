"""What a storage says of its files: what changes with their content, and what checksums can be made again."""

import base64
import hashlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from atft_gat_fan.data.remote_listing import MEBIBYTE, Listing, RemoteFile
from atft_gat_fan.errors import DataError

CONTENT = bytes(range(256)) * 40960  # 10 MiB
MD5 = hashlib.md5(CONTENT, usedforsecurity=False)


def remote(**info: Any) -> RemoteFile:
    return RemoteFile.of("panel.parquet", {"name": "bucket/panel.parquet", "size": len(CONTENT), **info})


def of_parts(size: int) -> str:
    parts = [CONTENT[start : start + size] for start in range(0, len(CONTENT), size)]
    digests = b"".join(hashlib.md5(part, usedforsecurity=False).digest() for part in parts)
    return f"{hashlib.md5(digests, usedforsecurity=False).hexdigest()}-{len(parts)}"


@pytest.mark.parametrize(
    ("info", "right"),
    [
        ({"ETag": f'"{MD5.hexdigest()}"'}, True),
        ({"ETag": f'"{"0" * 32}"'}, False),
        ({"ETag": f'"{of_parts(8 * MEBIBYTE)}"'}, True),
        ({"ETag": f'"{of_parts(5 * MEBIBYTE)}"'}, True),
        ({"ETag": f'"{of_parts(7 * MEBIBYTE)}"'}, None),  # nobody can know the size of the parts
        ({"ETag": '"of another kind"'}, None),
        ({"md5Hash": base64.b64encode(MD5.digest()).decode(), "etag": "CIc="}, True),
        ({"content_md5": bytearray(16)}, False),
        ({"LastModified": datetime(2026, 1, 1, tzinfo=UTC)}, None),
        ({"Last-Modified": "Thu, 01 Jan 2026 00:00:00 GMT"}, None),
    ],
)
def test_a_copy_is_compared_with_the_checksum_that_there_is(
    tmp_path: Path, info: dict[str, Any], right: bool | None
) -> None:
    (tmp_path / "copy").write_bytes(CONTENT)
    assert remote(**info).matches(tmp_path / "copy", check_etag=True) is right


def test_an_etag_can_be_said_to_be_no_checksum(tmp_path: Path) -> None:
    (tmp_path / "copy").write_bytes(CONTENT)
    assert remote(ETag="0" * 32).matches(tmp_path / "copy", check_etag=False) is None


def test_a_fingerprint_changes_with_what_is_there_and_with_nothing_else() -> None:
    def fingerprint(*files: RemoteFile) -> str:
        return Listing(files, is_file=False).fingerprint

    one, other = remote(ETag='"a"', LastModified="monday"), RemoteFile("b", "p/b", 3, "ETag=c")
    assert fingerprint(one, other) == fingerprint(other, remote(ETag='"a"', LastModified="tuesday"))
    changed = [
        remote(ETag='"b"'), remote(ETag='"a"', size=7), RemoteFile("c", "p/b", 3, "ETag=c"), remote(mtime=1.0),
    ]  # fmt: skip
    assert len({fingerprint(one, other), *(fingerprint(one, each) for each in changed)}) == 5
    assert fingerprint(remote(mtime=1.0)) != fingerprint(remote(mtime=2.0))


# As fsspec's filesystems of s3, abfs, http, gs, file and sftp, dbfs, ftp and memory call it.
@pytest.mark.parametrize(
    "name", ["LastModified", "last_modified", "Last-Modified", "updated", "mtime", "modified", "modify", "created"]
)
def test_a_file_written_later_is_another_file_whatever_the_protocol_calls_its_time(name: str) -> None:
    days = ("Thu, 01 Jan 2026 00:00:00 GMT", "Fri, 02 Jan 2026 00:00:00 GMT")
    one, other = (Listing((remote(**{name: day}),), is_file=True) for day in days)
    assert one.fingerprint != other.fingerprint


@pytest.mark.parametrize("name", ["../x", "a/../../x", "/x", "a//x", "a\\x", "", ".", "a\0"])
def test_a_name_that_leads_elsewhere_is_refused(name: str) -> None:
    with pytest.raises(DataError, match="name of a file below the address"):
        RemoteFile.of(name, {"name": name, "size": 1})


def test_a_file_of_unknown_size_is_refused() -> None:
    with pytest.raises(DataError, match="expected the size of the file"):
        RemoteFile.of("x", {"name": "x", "size": None})


@pytest.mark.parametrize("info", [{}, {"ETag": "", "mtime": None}])
def test_a_file_whose_changes_nobody_could_see_is_refused(info: dict[str, Any]) -> None:
    with pytest.raises(DataError, match=r"expected a checksum or a time of the file.*tells neither.*copy it first"):
        remote(**info)
