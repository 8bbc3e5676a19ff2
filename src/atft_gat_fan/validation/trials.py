"""Trials as processes: several at once, each in a folder of its own, the finished ones never run again."""

import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Protocol

from atft_gat_fan.validation.outcome import TrialOutcome
from atft_gat_fan.validation.plan import Kind

LOG = "trial.log"
GLANCE = 0.1
"""Seconds between two looks at the processes."""
GRACE = 30.0
"""Seconds that a process told to stop has for saving."""
MOST_DEATHS = 3
"""Processes of one trial that may be killed before it is given up."""


@dataclass(frozen=True)
class Job:
    """A trial to run: its process is given `folder`, and leaves its outcome there."""

    name: str
    kind: Kind
    folder: Path

    @property
    def alone(self) -> bool:
        """Whether nothing else may run meanwhile."""
        return self.kind == "timing"


@dataclass(frozen=True)
class Progress:
    """Trials done of all; seconds to go as the finished ones of each kind took, None before there are any."""

    done: int
    total: int
    seconds_left: float | None
    name: str
    """Of the trial that was finished last."""


@dataclass(frozen=True)
class TrialResults:
    """Outcomes by trial, and why the others have none."""

    outcomes: dict[str, TrialOutcome] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)


class TrialRunner(Protocol):
    """Runs trials, wherever."""

    def run(self, jobs: Sequence[Job], expected: Mapping[Kind, float]) -> TrialResults:
        """Every job's outcome. `expected` seconds of each kind are for the estimate of the time to go alone."""
        ...


@dataclass
class _Running:
    job: Job
    process: "subprocess.Popen[bytes]"
    log: IO[bytes]
    began: float


class LocalRunner:
    """Processes on this machine, `workers` at once. A killed one is started again, and goes on from its checkpoint.

    `command` makes the command line of a trial's folder. `poll` is called all the while, and may raise to stop: the
    processes are told to save and end, and running the same jobs again goes on.
    """

    def __init__(
        self,
        command: Callable[[Path], Sequence[str]],
        *,
        workers: int,
        poll: Callable[[], None] = lambda: None,
        progress: Callable[[Progress], None] = lambda progress: None,
    ) -> None:
        self._command, self._workers = command, workers
        self._poll, self._progress = poll, progress

    def run(self, jobs: Sequence[Job], expected: Mapping[Kind, float]) -> TrialResults:
        """Raises StorageError where a folder holds something else than an outcome, and whatever `poll` raises."""
        results = TrialResults()
        for job in jobs:
            outcome = TrialOutcome.read(job.folder)
            if outcome is not None:
                results.outcomes[job.name] = outcome
        waiting = [job for job in jobs if job.name not in results.outcomes]
        clock = _Clock(len(jobs), self._workers, expected)
        self._run([job for job in waiting if not job.alone], self._workers, results, clock, waiting)
        self._run([job for job in waiting if job.alone], 1, results, clock, waiting)
        return results

    def _run(
        self, jobs: Sequence[Job], at_once: int, results: TrialResults, clock: "_Clock", everything: Sequence[Job]
    ) -> None:
        waiting, running = deque(jobs), list[_Running]()
        deaths: dict[str, int] = {}
        try:
            while waiting or running:
                while waiting and len(running) < at_once:
                    running.append(self._start(waiting.popleft()))
                self._poll()
                time.sleep(GLANCE)
                for ended in [each for each in running if each.process.poll() is not None]:
                    running.remove(ended)
                    ended.log.close()
                    if self._settle(ended, results, deaths):
                        clock.took(ended.job.kind, time.monotonic() - ended.began)
                        left = [j for j in everything if j.name not in (results.outcomes | results.failures)]
                        self._progress(clock.progress(left, ended.job.name))
                    else:
                        waiting.appendleft(ended.job)
        finally:
            _stop(running)

    def _start(self, job: Job) -> _Running:
        log = (job.folder / LOG).open("ab")
        process = subprocess.Popen(
            list(self._command(job.folder)),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            process_group=0,  # an interrupt from the keyboard is for us, who tell it on once
        )
        return _Running(job, process, log, time.monotonic())

    def _settle(self, ended: _Running, results: TrialResults, deaths: dict[str, int]) -> bool:
        """Whether the trial is over: with an outcome, or given up. One that was killed is not."""
        job, code = ended.job, ended.process.returncode
        outcome = TrialOutcome.read(job.folder) if code == 0 else None
        if outcome is not None:
            results.outcomes[job.name] = outcome
            return True
        if code < 0:
            deaths[job.name] = deaths.get(job.name, 0) + 1
            if deaths[job.name] < MOST_DEATHS:
                return False
            why = f"killed {MOST_DEATHS} times, last by {signal.Signals(-code).name}"
            results.failures[job.name] = f"{why}; to need less memory: fewer validation.workers"
            return True
        results.failures[job.name] = f"exit code {code}: {_last_words(job.folder / LOG)}"
        return True


class _Clock:
    """Estimates the time to go from what was seen of each kind of trial."""

    def __init__(self, total: int, workers: int, expected: Mapping[Kind, float]) -> None:
        self._total, self._workers, self._expected = total, workers, expected
        self._taken: dict[Kind, list[float]] = {}

    def took(self, kind: Kind, seconds: float) -> None:
        self._taken.setdefault(kind, []).append(seconds)

    def progress(self, left: Sequence[Job], name: str) -> Progress:
        return Progress(self._total - len(left), self._total, self._seconds(left), name)

    def _seconds(self, left: Sequence[Job]) -> float | None:
        each = {kind: sum(taken) / len(taken) for kind, taken in self._taken.items()}
        each = {**self._expected, **each}
        if any(job.kind not in each for job in left):
            return None
        return sum(each[job.kind] / (1 if job.alone else self._workers) for job in left)


def _stop(running: Sequence[_Running]) -> None:
    """Let the processes save and end; those that do not are killed."""
    for each in running:
        each.process.terminate()
    for each in running:
        with suppress(subprocess.TimeoutExpired):
            each.process.wait(GRACE)
        if each.process.poll() is None:
            each.process.kill()
            each.process.wait()
        each.log.close()


def _last_words(log: Path) -> str:
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return f"{lines[-1].strip()[:300] if lines else 'without a word'} (all of it: {log})"


def python_module(module: str) -> Callable[[Path], list[str]]:
    """The command that runs `module` of this installation on a trial's folder."""
    # -P: a file of the working folder must not stand in for a module.
    return lambda folder: [sys.executable, "-P", "-m", module, str(folder)]
