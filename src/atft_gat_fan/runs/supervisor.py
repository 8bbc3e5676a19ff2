"""`atft train --supervise`: a small parent that starts a training again when its process dies.

Imports no torch. Whatever happens is in `supervisor.json` in the run's folder, and said.
"""

import ctypes
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Literal

from atft_gat_fan.config.load import run_folder
from atft_gat_fan.config.schema import Config
from atft_gat_fan.data.durable_files import replace_durably, strict_json
from atft_gat_fan.errors import AtftError
from atft_gat_fan.runs.endings import BUS_ERROR, KILLED, REQUEUE, SEGMENTATION_FAULT, exit_code, explain
from atft_gat_fan.signals import EXIT_CODES
from atft_gat_fan.training.run_folder import SUPERVISOR, RunFolder

DEATHS = (KILLED, BUS_ERROR, SEGMENTATION_FAULT)
PR_SET_PDEATHSIG = 1
"""linux/prctl.h"""
GLANCE = 0.1
"""Seconds between two looks whether a stop was requested while waiting to start again."""


@dataclass(frozen=True)
class Patience:
    """Seconds before a restart double from `first_delay` to `longest_delay`; after `max_restarts` in a row that brought
    the training no further it is given up. Each step beyond all earlier ones starts both anew."""

    first_delay: float = 1.0
    longest_delay: float = 60.0
    max_restarts: int = 10

    def delay(self, restarts: int) -> float:
        """Seconds to wait after so many restarts."""
        return float(min(self.first_delay * 2**restarts, self.longest_delay))


Status = Literal["running", "waiting", "finished", "stopped", "failed", "crash loop", "gave up"]


@dataclass(frozen=True)
class Life:
    """One process of the training, as supervisor.json lists it. Times are UTC, ISO 8601."""

    process: int
    started: str
    ended: str | None = None
    exit_code: int | None = None
    step: int | None = None
    """The newest of the run when the process ended; None before its first."""
    reason: str = ""


@dataclass
class Record:
    """supervisor.json: the command, how it stands, and each process so far."""

    command: Sequence[str]
    supervisor: int
    status: Status = "running"
    reason: str = ""
    lives: list[Life] = field(default_factory=list)


def supervise(
    config: Config, command: Sequence[str], message: Callable[[str], None], patience: Patience | None = None
) -> int:
    """Run `command`, a training of `config`, until it ends by itself; return its exit code.

    It is started again where SIGKILL, SIGBUS or SIGSEGV ended it, or where it exits with 75 unasked. SIGTERM, SIGINT
    and SIGUSR1 go on to it, and then it is not started again. It has a session of its own, so that a terminal's Ctrl-C
    reaches it once, and it is told to save and stop (SIGTERM) should this process die.

    `run.fresh` is done here, once: the command must not repeat it. Raises AtftError where the training died twice at
    the same step or comes no further, StorageError where the run's folder cannot be used.
    """
    with RunFolder(run_folder(config)) as folder:
        if config.run.fresh:
            folder.clear()
    return _Supervisor(config, command, message, patience or Patience()).run()


def newest_step(run: Path) -> int | None:
    """The step of the last whole line of events.jsonl, else of the newest checkpoint; None where there is neither."""
    try:
        lines = (run / "events.jsonl").read_bytes().splitlines()
    except OSError:
        lines = []
    for line in reversed(lines):
        try:
            return int(json.loads(line)["step"])
        except (ValueError, TypeError, KeyError):
            continue  # torn by the death
    found = (re.match(r"step_(\d+)_", folder.name) for folder in (run / "checkpoints").glob("step_*"))
    return max((int(match[1]) for match in found if match), default=None)


class _Supervisor:
    def __init__(
        self, config: Config, command: Sequence[str], message: Callable[[str], None], patience: Patience
    ) -> None:
        self._config, self._command, self._message, self._patience = config, command, message, patience
        self._folder = run_folder(config)
        self._record = Record(command, os.getpid())
        self._child: subprocess.Popen[bytes] | None = None
        self._stop: signal.Signals | None = None
        self._forwarded = False

    def run(self) -> int:
        deaths: Counter[int | None] = Counter()
        furthest, restarts = -1, 0
        with self._forwarding():
            while True:
                life = self._live()
                code, step = life.exit_code, life.step
                assert code is not None
                if self._stop is not None:
                    self._write("stopped", f"{self._stop.name} was passed on to the training")
                    # It may have died of the signal itself, before it knew how to heed it.
                    return EXIT_CODES[self._stop] if code == 128 + self._stop else code
                if code not in (*DEATHS, REQUEUE):
                    self._write("failed" if code else "finished", life.reason)
                    return code
                deaths[step] += code in DEATHS
                if deaths[step] == 2:
                    raise self._given_up("crash loop", f"died twice {_at(step)}, {life.reason}")
                if step is not None and step > furthest:
                    furthest, restarts = step, 0
                if restarts == self._patience.max_restarts:
                    reason = f"is no further after {restarts} restarts, {_at(step)}, {life.reason}"
                    raise self._given_up("gave up", reason)
                self._wait(life, self._patience.delay(restarts))
                restarts += 1
                if self._stop is not None:
                    self._write("stopped", f"{self._stop.name} came before the training was started again")
                    return EXIT_CODES[self._stop]

    def _live(self) -> Life:
        """One process of the training from start to end."""
        self._child = child = subprocess.Popen(self._command, start_new_session=True, preexec_fn=_end_with_parent())
        self._record.lives.append(Life(child.pid, _now()))
        self._write("running")
        try:
            if self._stop is not None and not self._forwarded:  # it came before there was a child to tell
                child.send_signal(self._stop)
            code = exit_code(child.wait())
        finally:
            self._child = None
            if child.poll() is None:
                child.terminate()
                child.wait()
        self._record.lives[-1] = replace(
            self._record.lives[-1],
            ended=_now(),
            exit_code=code,
            step=newest_step(self._folder),
            reason=explain(code, self._config) if code else "",
        )
        return self._record.lives[-1]

    def _wait(self, life: Life, delay: float) -> None:
        self._write("waiting")
        self._message(f"supervisor: the training ended {_at(life.step)}, {life.reason}; started again in {delay:g} s")
        until = time.monotonic() + delay
        # Not an Event: setting one in a handler while its own thread waits for it can lock up.
        while self._stop is None and time.monotonic() < until:
            time.sleep(min(GLANCE, delay))

    def _given_up(self, status: Status, reason: str) -> AtftError:
        self._write(status, reason)
        return AtftError(
            f"{self._folder}: the training {reason}; not started again. What it saved is kept: mend that and start the "
            f"same command again ({SUPERVISOR} there has every start and end)"
        )

    def _write(self, status: Status, reason: str = "") -> None:
        self._record.status, self._record.reason = status, reason
        try:
            replace_durably(self._folder / SUPERVISOR, (strict_json(asdict(self._record), indent=2) + "\n").encode())
        except OSError as error:  # a full disk may be why the training died: its keeper must not die of it as well
            self._message(f"supervisor: cannot write {self._folder / SUPERVISOR}: {error.strerror}")

    @contextmanager
    def _forwarding(self) -> Iterator[None]:
        previous = {number: signal.signal(number, self._forward) for number in EXIT_CODES}
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    def _forward(self, number: int, frame: FrameType | None) -> None:
        self._stop = self._stop or signal.Signals(number)
        if self._child is not None:
            self._forwarded = True
            self._child.send_signal(number)


def _end_with_parent() -> Callable[[], None] | None:
    """To be called in the child: the kernel sends it SIGTERM when this process is gone, so that none is left alone."""
    if sys.platform != "linux":
        return None
    libc = ctypes.CDLL(None)  # loaded before the fork: nothing is imported in the child
    return lambda: libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def _at(step: int | None) -> str:
    return "before the first step" if step is None else f"at step {step}"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
