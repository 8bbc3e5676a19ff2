"""Processes that share copies of what is at an address: one downloads, and another when that one is killed."""

import signal
import subprocess
import sys
from pathlib import Path
from typing import IO

import pytest

from atft_gat_fan.data.remote_copies import copies_in
from tests.faults.conftest import Struck

WORKER = Path(__file__).with_name("remote_worker.py")
FILES = {f"{number}.parquet": bytes([number]) * 300_000 for number in range(4)}


def start(folder: Path, *, hang: bool) -> subprocess.Popen[str]:
    arguments = [f"file://{folder}/there", f"{folder}/cache", "hang" if hang else "go on"]
    return subprocess.Popen([sys.executable, WORKER, *arguments], stdout=subprocess.PIPE, text=True)


def read_until(stream: IO[str] | None, word: str) -> None:
    assert stream is not None
    for line in stream:
        if line.strip() == word:
            return
    raise AssertionError(f"ended without {word}")


@pytest.mark.slow
@pytest.mark.fault("kill −9 of one of four processes that share a download", "the others go on from there, same bytes")
def test_the_others_go_on_when_the_one_that_downloads_is_killed(tmp_path: Path, struck: Struck) -> None:
    (tmp_path / "there").mkdir()
    for name, content in FILES.items():
        (tmp_path / "there" / name).write_bytes(content)
    first = start(tmp_path, hang=True)
    read_until(first.stdout, "hanging")
    others = [start(tmp_path, hang=False) for _ in range(3)]
    for other in others:
        read_until(other.stdout, "waiting")
    assert copies_in(tmp_path / "cache") == []
    kept = {file.name: file.stat().st_ino for file in (tmp_path / "cache").rglob("[0-9].parquet")}
    first.send_signal(signal.SIGKILL)
    struck(first.wait() == -signal.SIGKILL)
    said = [other.communicate(timeout=120)[0] for other in others]
    assert [other.returncode for other in others] == [0, 0, 0]
    (copy,) = copies_in(tmp_path / "cache")
    assert all(f"copy {copy}\n" in text for text in said)
    assert sum("downloading" in text for text in said) == 1
    assert {file.name: file.read_bytes() for file in copy.iterdir()} == FILES
    assert kept
    assert kept.items() <= {file.name: file.stat().st_ino for file in copy.iterdir()}.items()
