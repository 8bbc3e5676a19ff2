"""Weights & Biases, in a process of its own that can neither stop, slow nor speak for the training."""

import fcntl
import importlib.util
import os
import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from atft_gat_fan.data.durable_files import strict_json
from atft_gat_fan.training.settings import WandbSettings

WORKER = Path(__file__).with_name("wandb_worker.py")
BUFFER_BYTES = 2**20
"""Events under way to a worker that is busy: about a thousand."""
CLOSE_SECONDS = 15.0
"""Time to finish uploading; a run told to stop has 25 s in all."""


class WandbSink:
    """Hands events through a pipe to `wandb_worker.py`, which alone imports wandb and knows the login key.

    Nothing here waits for it but `close`, and that for `CLOSE_SECONDS` at most. Raises ModuleNotFoundError
    where wandb is not installed, ConnectionError where the worker has ended, TimeoutError where it does not
    keep up or does not finish.
    """

    def __init__(self, run: Path, settings: WandbSettings) -> None:
        if importlib.util.find_spec("wandb") is None:
            raise ModuleNotFoundError("wandb is not installed; pip install -r requirements.txt")
        # Not a file of the run: what a library prints when it fails is not ours to vouch for.
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the worker
        # By path and without its folder on sys.path (-P): it needs nothing of this package, and starts at once.
        # In a session of its own, because Ctrl-C goes to everyone in ours.
        self._worker = subprocess.Popen(
            [sys.executable, "-P", str(WORKER)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=self._errors,
            start_new_session=True,
        )
        assert self._worker.stdin is not None
        self._pipe = self._worker.stdin.fileno()
        os.set_blocking(self._pipe, False)
        if sys.platform == "linux":
            fcntl.fcntl(self._pipe, fcntl.F_SETPIPE_SZ, BUFFER_BYTES)
        self._send(
            {
                "folder": str(run.resolve()),
                "name": run.resolve().name,
                "project": settings.project,
                "entity": settings.entity,
                "tags": settings.tags,
                "config": settings.config,
            }
        )

    def write(self, event: str, step: int, values: dict[str, Any]) -> None:
        self._send({"event": event, "step": step, "values": values})

    def close(self) -> None:
        assert self._worker.stdin is not None
        self._worker.stdin.close()
        try:
            self._worker.wait(CLOSE_SECONDS)
        except subprocess.TimeoutExpired:
            self._abandon()
            raise TimeoutError(
                f"not finished after {CLOSE_SECONDS:.0f} s, and ended; `wandb sync` sends what it had recorded"
            ) from None
        reason = self._abandon()
        if self._worker.returncode != 0:
            raise ConnectionError(reason)

    def _send(self, message: dict[str, Any]) -> None:
        content = strict_json(message).encode() + b"\n"
        try:
            sent = os.write(self._pipe, content)
        except BrokenPipeError:
            raise ConnectionError(self._abandon()) from None
        except BlockingIOError:
            sent = 0
        if sent < len(content):
            self._abandon()
            raise TimeoutError("it does not keep up with the training")

    def _abandon(self) -> str:
        """End the worker, if it still runs, and what it started. Returns the kind of error it had, in words.

        The text of the error stays unread: it may quote the login key.
        """
        if self._worker.poll() is None:
            os.killpg(self._worker.pid, signal.SIGKILL)
        self._worker.wait()
        assert self._worker.stdin is not None
        self._worker.stdin.close()
        with self._errors:
            self._errors.seek(0)
            kinds = re.findall(rb"^([A-Za-z_][\w.]*(?:Error|Exception|Timeout)\b)", self._errors.read(), re.MULTILINE)
        kind = kinds[-1].decode() if kinds else f"exit code {self._worker.returncode}"
        return f"it ended with {kind}; try `wandb login --verify`, or WANDB_MODE=offline to record without a network"
