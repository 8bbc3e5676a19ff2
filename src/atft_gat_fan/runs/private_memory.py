"""Private memory of a process: what it cannot give back to the page cache, `RssAnon` of /proc (Linux).

Pages of a memory map belong to the file, however many of them are read; they are not counted.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

INTERVAL = 0.02
"""Seconds between two samples."""


def private_bytes(pid: int | str = "self") -> int:
    """Raises FileNotFoundError for a process that is gone, ProcessLookupError for one that is ending."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise ProcessLookupError(f"process {pid} has no memory any more")


@dataclass
class Peak:
    """The most that was seen."""

    num_bytes: int = 0

    def see(self, num_bytes: int) -> None:
        self.num_bytes = max(self.num_bytes, num_bytes)


@contextmanager
def peak_private_bytes(pid: int | str = "self") -> Iterator[Peak]:
    """Samples a process, by default this one, until the block is left."""
    peak, over = Peak(private_bytes(pid)), threading.Event()

    def sample() -> None:
        while not over.wait(INTERVAL):
            try:
                peak.see(private_bytes(pid))
            except (FileNotFoundError, ProcessLookupError):
                return

    sampler = threading.Thread(target=sample, daemon=True)
    sampler.start()
    try:
        yield peak
    finally:
        over.set()
        sampler.join()
