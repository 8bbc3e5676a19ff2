"""What lies at an address: names, sizes, and what tells whether a file has changed or came over whole."""

import base64
import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from atft_gat_fan.errors import DataError, Problem

CHECKSUMS = ("md5Hash", "content_md5", "crc32c", "ETag", "etag", "checksum", "content_hash")
TIMES = ("LastModified", "last_modified", "Last-Modified", "updated", "mtime", "modified", "modify", "created")
STAMPS = (*CHECKSUMS, *TIMES)
"""What the protocols' packages call what changes with a file's content, and when it was written; the first counts."""
MD5 = re.compile(r"^[0-9a-f]{32}$")
OF_PARTS = re.compile(r"^([0-9a-f]{32})-(\d+)$")
MEBIBYTE = 1 << 20
PART_SIZES = tuple(n * MEBIBYTE for n in (8, 50, 5, 16, 64, 100, 10, 15, 25, 32, 128))
"""Of uploads in parts: those of the AWS tools first, then of s3fs, then of others."""


@dataclass(frozen=True)
class RemoteFile:
    """`name` is relative to the address, `path` what its filesystem calls it, `stamp` changes with its content."""

    name: str
    path: str
    nbytes: int
    stamp: str
    md5: str | None = None
    """Hexadecimal, where the storage tells one."""
    etag: str | None = None
    """Of S3: the MD5 of the content, or of those of the parts it was uploaded in."""

    @classmethod
    def of(cls, name: str, info: Mapping[str, Any]) -> "RemoteFile":
        """Of what an fsspec filesystem says of a file.

        Raises DataError for a name that leads elsewhere, and where no size, or neither a checksum nor a time, is told.
        """
        problem = _problem(name, info)
        if problem is not None:
            raise DataError(problem)
        first = next(key for key in STAMPS if info.get(key))
        stamp = f"{first}={_text(info[first])}"
        digest = info.get("md5Hash") or info.get("content_md5")
        etag = _text(info["ETag"]) if info.get("ETag") else None
        return cls(name, str(info["name"]), int(info["size"]), stamp, None if digest is None else _hex(digest), etag)

    def matches(self, file: Path, *, check_etag: bool) -> bool | None:
        """Whether a copy has the checksum that the storage tells; None where it tells none that can be made again."""
        if self.md5 is not None:
            return _md5(file) == self.md5
        if not check_etag or self.etag is None:
            return None
        if MD5.match(self.etag):
            return _md5(file) == self.etag
        if (of_parts := OF_PARTS.match(self.etag)) is None:
            return None
        digest, num_parts = of_parts[1], int(of_parts[2])
        sizes = [size for size in PART_SIZES if -(-self.nbytes // size) == num_parts]
        # Parts of another size are nobody's fault: nothing is known then.
        return True if any(_md5_of_parts(file, size) == digest for size in sizes) else None


@dataclass(frozen=True)
class Listing:
    """The files of an address that are read, by name."""

    files: tuple[RemoteFile, ...]
    is_file: bool
    """Whether the address is that of one file, and not of a folder."""

    @property
    def nbytes(self) -> int:
        return sum(file.nbytes for file in self.files)

    @property
    def fingerprint(self) -> str:
        """Changes with the name, the size or the stamp of any file."""
        facts = sorted((file.name, file.nbytes, file.stamp) for file in self.files)
        return hashlib.sha256(json.dumps([1, self.is_file, facts]).encode()).hexdigest()

    def only(self, names: Iterable[str]) -> "Listing":
        """Raises KeyError for a name that is not there."""
        found = {file.name: file for file in self.files}
        return Listing(tuple(found[name] for name in names), self.is_file)


def _problem(name: str, info: Mapping[str, Any]) -> Problem | None:
    if any(part in ("", ".", "..") for part in name.split("/")) or "\\" in name or "\0" in name:
        return Problem(f"expected the name of a file below the address, found {name!r:.200}", mend="rename it there")
    if not isinstance(info.get("size"), int):
        return Problem(
            "expected the size of the file, found that the server does not tell it", where=name, mend="copy it first"
        )
    if not any(info.get(key) for key in STAMPS):  # a change that keeps the size would never be seen
        return Problem(
            "expected a checksum or a time of the file, found that the server tells neither",
            where=name,
            mend="copy it first",
        )
    return None


def _text(value: Any) -> str:
    if isinstance(value, bytes | bytearray):
        return bytes(value).hex()
    return str(value.isoformat() if hasattr(value, "isoformat") else value).strip('"')


def _hex(digest: str | bytes | bytearray) -> str:
    return (base64.b64decode(digest) if isinstance(digest, str) else bytes(digest)).hex()


def _md5(file: Path) -> str:
    with file.open("rb") as handle:
        return hashlib.file_digest(handle, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _md5_of_parts(file: Path, size: int) -> str:
    return hashlib.md5(b"".join(_digests(file, size)), usedforsecurity=False).hexdigest()


def _digests(file: Path, size: int) -> Iterator[bytes]:
    with file.open("rb") as handle:
        while part := handle.read(size):
            yield hashlib.md5(part, usedforsecurity=False).digest()
