"""Private memory of a process: what it cannot give back to the page cache, `RssAnon` of /proc (Linux).

Pages of a memory map belong to the file, however many of them are read; they are not counted.
"""

import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
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


@dataclass(frozen=True)
class Watched:
    """A command that ran to its end."""

    seconds: float
    peak: int
    """Most private bytes."""
    output: str
    """Its standard output."""


def watch(command: Sequence[str], *, cwd: Path | None = None) -> Watched:
    """Run a command and sample its private memory. Raises RuntimeError, with its last words, where it fails."""
    began = time.perf_counter()
    pipe = subprocess.PIPE
    with (
        subprocess.Popen(command, cwd=cwd, stdout=pipe, stderr=pipe, text=True) as process,
        peak_private_bytes(process.pid) as peak,
    ):
        output, errors = process.communicate()
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}:\n{errors[-4000:]}")
    return Watched(time.perf_counter() - began, peak.num_bytes, output)
