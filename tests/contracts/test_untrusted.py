"""Files of somebody else's: plain and bounded, and JSON that is only JSON."""

import os
from pathlib import Path

import pytest

from atft_gat_fan.untrusted import parse_json, read_plain


def test_a_plain_file_is_read_up_to_its_bound(tmp_path: Path):
    (tmp_path / "file").write_bytes(b"12345")
    assert read_plain(tmp_path / "file", 5) == read_plain(tmp_path / "file") == b"12345"
    with pytest.raises(OSError, match="5 bytes where 4 are the most"):
        read_plain(tmp_path / "file", 4)


def test_what_is_no_plain_file_is_refused_at_once(tmp_path: Path):
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    os.mkfifo(tmp_path / "pipe")
    for name, message in (
        ("link", "a link"),
        ("pipe", "no plain file"),
        (".", "no plain file"),
        ("none", "No such file"),
    ):
        with pytest.raises(OSError, match=message):
            read_plain(tmp_path / name, 5)


def test_json_is_read_as_it_is():
    assert parse_json(b'{"a": [1, 2.5, null, "x"], "b": {"a": true}}') == {"a": [1, 2.5, None, "x"], "b": {"a": True}}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"a": 1, "b": {"c": 1, "c": 2}}', "'c' repeated"), (b"[NaN]", "NaN"), (b"[-Infinity]", "-Infinity"),
        (b"[1e999]", "1e999"), (b"[" * 100_000, "nested too deeply"), (b"[" + b"9" * 5000 + b"]", "digits"),
        (b"\x80\x04K\x01.", "decode"), (b"", "Expecting value"),
    ],
)  # fmt: skip
def test_what_is_no_json_is_a_value_error(content: bytes, message: str):
    with pytest.raises(ValueError, match=message):
        parse_json(content)
