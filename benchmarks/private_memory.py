"""Private memory of a command that runs to its end."""

import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from atft_gat_fan.runs.private_memory import peak_private_bytes


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
