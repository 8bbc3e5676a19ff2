"""What a Ray worker does for a job: the process that a local runner would start, here, and nothing of it left behind.

Imported on every node of a cluster: the standard library alone.
"""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

GLANCE = 0.1
SIGHT = 15.0
"""Seconds until a new folder must be seen here: network file systems remember for a while what was not there."""


@dataclass(frozen=True)
class Task:
    """A job's process as a worker starts it."""

    command: tuple[str, ...]
    here: str
    """The working folder, to which the other paths may be relative."""
    sign: str
    """A file in the job's folder, and what it holds: so it is told from another machine's folder of the same name."""
    token: str
    log: str
    grace: float
    """Seconds for saving."""


@dataclass(frozen=True)
class Ran:
    """Exit code of the process and the seconds that it ran, or why it could not begin here."""

    code: int = 0
    seconds: float = 0.0
    complaint: str = ""


def run_task(task: Task) -> Ran:
    """Run the process to its end. What would end this worker (a cancelled task, its node being shut down) is passed on:
    the process is told to save and end, and killed where it does not.
    """
    complaint = _blind_to(task)
    if complaint:
        return Ran(complaint=f"worker {os.uname().nodename} {complaint}")
    began = time.monotonic()
    with (Path(task.here) / task.log).open("ab") as log:
        try:
            process = subprocess.Popen(
                list(task.command),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=task.here,
                process_group=0,
            )
        except OSError as error:
            return Ran(complaint=f"worker {os.uname().nodename} cannot start {task.command[0]}: {error.strerror}")
        try:
            with suppress(KeyboardInterrupt), _interruptible():  # an interrupt is how Ray cancels a task
                while process.poll() is None:
                    time.sleep(GLANCE)
        finally:
            _end(process, task.grace)
    return Ran(process.returncode, time.monotonic() - began)


@contextmanager
def _interruptible() -> Iterator[None]:
    """Heed interrupts, which workers ignore where their cluster was started in the background (`nohup`, `&`)."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.SIG_DFL if before is None else before)


def _blind_to(task: Task) -> str:
    """What is not seen from here; empty where all is."""
    deadline = time.monotonic() + SIGHT
    while True:
        folder = Path(task.here)
        with suppress(OSError):
            if folder.is_dir() and (folder / task.sign).read_text() == task.token:
                return ""
        if time.monotonic() > deadline:
            seen = "sees no working folder" if not folder.is_dir() else "does not see the trial's folder"
            return f"{seen} {task.here if not folder.is_dir() else folder / Path(task.sign).parent}"
        time.sleep(GLANCE)


def _end(process: "subprocess.Popen[bytes]", grace: float) -> None:
    if process.poll() is not None:
        return
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(grace)
    if process.poll() is None:
        process.kill()
        process.wait()
