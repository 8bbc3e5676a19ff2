"""Trainings as processes on this machine."""

import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from atft_gat_fan.validation.process_runner import GRACE, LOG, Ending, ProcessRunner
from atft_gat_fan.validation.trials import Job, Outcome, Progress

Command = Callable[[Path], Sequence[str]]
"""The command line of a job's folder."""


class LocalRunner(ProcessRunner[Outcome]):
    """Processes on this machine, `workers` at once; `command` makes their command line. The rest is `ProcessRunner`."""

    def __init__(
        self,
        command: Command,
        read: Callable[[Path], Outcome | None],
        *,
        workers: int,
        max_retries: int,
        poll: Callable[[], None] = lambda: None,
        progress: Callable[[Progress], None] = lambda progress: None,
    ) -> None:
        super().__init__(
            lambda job: LocalProcess(command, job),
            read,
            workers=workers,
            max_retries=max_retries,
            poll=poll,
            progress=progress,
        )


class LocalProcess:
    """A job's process here; what it says goes to its folder's log."""

    def __init__(self, command: Command, job: Job) -> None:
        self._began = time.monotonic()
        self._log = (job.folder / LOG).open("ab")
        self._process = subprocess.Popen(
            list(command(job.folder)),
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            process_group=0,  # an interrupt from the keyboard is for us, who tell it on once
        )

    def ended(self) -> Ending | None:
        code = self._process.poll()
        return None if code is None else Ending(code, time.monotonic() - self._began)

    @property
    def patience(self) -> float:
        return GRACE

    def stop(self) -> None:
        self._process.terminate()

    def close(self, seconds: float) -> None:
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        self._log.close()


def python_module(module: str) -> Callable[[Path], list[str]]:
    """The command that runs `module` of this installation on a job's folder."""
    # -P: a file of the working folder must not stand in for a module.
    return lambda folder: [sys.executable, "-P", "-m", module, str(folder)]
