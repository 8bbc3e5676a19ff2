"""Trainings as processes: several at once, each in a folder of its own, the finished ones never run again."""

import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Generic, Protocol, TypeVar

LOG = "process.log"
GLANCE = 0.1
"""Seconds between two looks at the processes."""
GRACE = 30.0
"""Seconds that a process told to stop has for saving."""
MOST_DEATHS = 3
"""Processes of one job that may be killed before it is given up."""

Outcome = TypeVar("Outcome")
"""What a finished job's folder holds."""


@dataclass(frozen=True)
class Job:
    """A training to run: its process is given `folder`, and leaves its outcome there."""

    name: str
    kind: str
    """Where jobs take longer than estimated, those of their kind that are left are expected to as well."""
    folder: Path
    seconds: float = 1.0
    """Estimated."""
    alone: bool = False
    """Whether nothing else may run meanwhile."""


@dataclass(frozen=True)
class Progress:
    """Jobs done of all; seconds to go as estimated, corrected by what the finished ones of each kind took."""

    done: int
    total: int
    seconds_left: float
    name: str
    """Of the job that was finished last."""


@dataclass(frozen=True)
class Failure:
    """Why a job has no outcome, and the exit code of its process (1 where a signal ended it)."""

    why: str
    exit_code: int

    def __str__(self) -> str:
        return self.why


@dataclass(frozen=True)
class TrialResults(Generic[Outcome]):
    """Outcomes by job, and why the others have none."""

    outcomes: dict[str, Outcome] = field(default_factory=dict)
    failures: dict[str, Failure] = field(default_factory=dict)


class TrialRunner(Protocol[Outcome]):
    """Runs jobs, wherever."""

    def run(self, jobs: Sequence[Job], later: Sequence[Job] = ()) -> TrialResults[Outcome]:
        """Every job's outcome; a job that has one already is not run. Those of `later` are not run either: they wait
        for these, and count in the time to go.
        """
        ...


def estimated_seconds(jobs: Iterable[Job], workers: int) -> float:
    """Of jobs that run `workers` at once, and of those that run alone."""
    return sum(job.seconds / (1 if job.alone else workers) for job in jobs)


@dataclass
class _Running:
    job: Job
    process: "subprocess.Popen[bytes]"
    log: IO[bytes]
    began: float


class LocalRunner(Generic[Outcome]):
    """Processes on this machine, `workers` at once. A killed one is started again, and goes on from its checkpoint.

    `command` makes the command line of a job's folder, `read` finds its outcome there (None: it has none yet). `poll`
    is called all the while, and may raise to stop: the processes are told to save and end, and running the same jobs
    again goes on.
    """

    def __init__(
        self,
        command: Callable[[Path], Sequence[str]],
        read: Callable[[Path], Outcome | None],
        *,
        workers: int,
        poll: Callable[[], None] = lambda: None,
        progress: Callable[[Progress], None] = lambda progress: None,
    ) -> None:
        self._command, self._read, self._workers = command, read, workers
        self._poll, self._progress = poll, progress
        self._clock = _Clock(workers)

    def run(self, jobs: Sequence[Job], later: Sequence[Job] = ()) -> TrialResults[Outcome]:
        """Raises StorageError where a folder holds something else than an outcome, and whatever `poll` raises."""
        results = TrialResults[Outcome]()
        for job in jobs:
            outcome = self._read(job.folder)
            if outcome is not None:
                results.outcomes[job.name] = outcome
        waiting = [job for job in jobs if job.name not in results.outcomes]

        def settled(name: str) -> None:
            left = [job for job in waiting if job.name not in results.outcomes | results.failures]
            to_go = self._clock.seconds([*left, *(job for job in later if self._read(job.folder) is None)])
            self._progress(Progress(len(jobs) - len(left), len(jobs), to_go, name))

        self._run([job for job in waiting if not job.alone], self._workers, results, settled)
        self._run([job for job in waiting if job.alone], 1, results, settled)
        return results

    def _run(
        self,
        jobs: Sequence[Job],
        at_once: int,
        results: TrialResults[Outcome],
        settled: Callable[[str], None],
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
                        self._clock.took(ended.job, time.monotonic() - ended.began)
                        settled(ended.job.name)
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

    def _settle(self, ended: _Running, results: TrialResults[Outcome], deaths: dict[str, int]) -> bool:
        """Whether the job is over: with an outcome, or given up. One that was killed is not."""
        job, code = ended.job, ended.process.returncode
        outcome = self._read(job.folder) if code == 0 else None
        if outcome is not None:
            results.outcomes[job.name] = outcome
            return True
        if code < 0:
            deaths[job.name] = deaths.get(job.name, 0) + 1
            if deaths[job.name] < MOST_DEATHS:
                return False
            why = f"killed {MOST_DEATHS} times, last by {signal.Signals(-code).name}"
            results.failures[job.name] = Failure(f"{why}; to need less memory: fewer workers at once", 1)
            return True
        results.failures[job.name] = Failure(f"exit code {code}: {_last_words(job.folder / LOG)}", code or 1)
        return True


class _Clock:
    """Estimates the time to go from what was seen of each kind of job."""

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._seen: dict[str, tuple[float, float]] = {}
        """Seconds taken and estimated by kind."""

    def took(self, job: Job, seconds: float) -> None:
        taken, estimated = self._seen.get(job.kind, (0.0, 0.0))
        self._seen[job.kind] = (taken + seconds, estimated + job.seconds)

    def seconds(self, left: Sequence[Job]) -> float:
        corrected = [replace(job, seconds=job.seconds * self._factor(job.kind)) for job in left]
        return estimated_seconds(corrected, self._workers)

    def _factor(self, kind: str) -> float:
        taken, estimated = self._seen.get(kind, (1.0, 1.0))
        return taken / estimated


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
    """The command that runs `module` of this installation on a job's folder."""
    # -P: a file of the working folder must not stand in for a module.
    return lambda folder: [sys.executable, "-P", "-m", module, str(folder)]
