"""What every runner does with its processes: so many at once, finished jobs not again, killed ones again."""

import signal
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Generic, Protocol

from atft_gat_fan.validation.trials import Failure, Job, JobQueue, Outcome, Progress, TrialResults, estimated_seconds

LOG = "process.log"
"""In a job's folder: all that its processes said."""
GLANCE = 0.1
"""Seconds between two looks at the processes."""
GRACE = 30.0
"""Seconds that a process told to stop has for saving."""


@dataclass(frozen=True)
class Ending:
    """How a process ended."""

    code: int
    """Its exit code; minus the signal's number where a signal ended it."""
    seconds: float
    """That it ran."""
    lost: str = ""
    """Why nothing more is known of it: its machine is gone. The code says nothing then."""

    @property
    def killed(self) -> bool:
        """Whether it came to no end of its own, and may do better another time."""
        return bool(self.lost) or self.code < 0


class Process(Protocol):
    """A job's process."""

    def ended(self) -> Ending | None:
        """How it ended; None as long as it runs. Raises AtftError where it could not begin, and none like it can."""
        ...

    @property
    def patience(self) -> float:
        """Seconds that it has for ending once it is told to."""
        ...

    def stop(self) -> None:
        """Tell it to save and end, without waiting for that."""
        ...

    def close(self, seconds: float) -> None:
        """Wait so long for its end, kill it where it does not come, and let go of what it held."""
        ...


@dataclass
class Running:
    """A job and its process; stopped, it has as long as the process is patient."""

    job: Job
    process: Process
    deadline: float | None = None
    """Of one that was told to stop (`time.monotonic`)."""

    @property
    def overdue(self) -> bool:
        return self.deadline is not None and time.monotonic() > self.deadline

    def stop(self) -> None:
        """Once: a second signal ends a training unsaved."""
        if self.deadline is None:
            self.deadline = time.monotonic() + self.process.patience
            self.process.stop()

    def close(self) -> None:
        self.process.close(0.0 if self.deadline is None else max(0.0, self.deadline - time.monotonic()))


class ProcessRunner(Generic[Outcome]):
    """`start` makes a job's process, `read` finds the outcome in its folder (None: it has none yet).

    At most `workers` run at once, about `room` of them where the place has less (for the time to go). A process that is
    killed, or lost with its machine, is started again up to `max_retries` times, and goes on from its checkpoint.

    `poll` is called all the while, and may raise to stop: the processes are told to save and end, and running the same
    jobs again goes on.
    """

    def __init__(
        self,
        start: Callable[[Job], Process],
        read: Callable[[Path], Outcome | None],
        *,
        workers: int,
        room: Callable[[], float] | None = None,
        max_retries: int,
        poll: Callable[[], None] = lambda: None,
        progress: Callable[[Progress], None] = lambda progress: None,
    ) -> None:
        self._start, self._read, self._workers, self._most_deaths = start, read, workers, max_retries + 1
        self._poll, self._progress = poll, progress
        self._clock = _Clock(workers, room or (lambda: workers))

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

        for alone in (False, True):
            part = [job for job in waiting if job.alone is alone]
            self._run(_Listed(deque(part), results, settled), 1 if alone else self._workers)
        return results

    def run_queue(self, queue: JobQueue[Outcome]) -> None:
        """Run what the queue gives, until it gives nothing more. Raises as `run` does."""
        self._run(queue, self._workers)

    def _run(self, queue: JobQueue[Outcome], at_once: int) -> None:
        again, running = deque[Job](), list[Running]()
        deaths: dict[str, int] = {}
        try:
            while True:
                while len(running) < at_once:
                    job = again.popleft() if again else queue.next()
                    if job is None:
                        break
                    running.append(Running(job, self._start(job)))
                if not running:
                    return
                self._poll()
                time.sleep(GLANCE)
                for each in list(running):
                    ending = each.process.ended()
                    if ending is None:
                        self._stop_unwanted(each, queue)
                        continue
                    running.remove(each)
                    each.close()
                    if self._retried(each, ending, deaths):
                        again.append(each.job)
                    else:
                        self._clock.took(each.job, ending.seconds)
                        queue.over(each.job, self._end(each, ending, deaths))
        finally:
            _stop(running)

    def _stop_unwanted(self, each: Running, queue: JobQueue[Outcome]) -> None:
        if each.overdue:
            each.close()
        elif each.deadline is None and queue.unwanted(each.job):
            each.stop()

    def _retried(self, each: Running, ending: Ending, deaths: dict[str, int]) -> bool:
        if each.deadline is not None or not ending.killed:
            return False
        deaths[each.job.name] = deaths.get(each.job.name, 0) + 1
        return deaths[each.job.name] < self._most_deaths

    def _end(self, each: Running, ending: Ending, deaths: dict[str, int]) -> Outcome | Failure | None:
        job = each.job
        outcome = self._read(job.folder) if ending.code == 0 and not ending.lost else None
        if outcome is not None or each.deadline is not None:
            return outcome
        if ending.killed:
            times = "once" if deaths[job.name] == 1 else f"{deaths[job.name]} times"
            if ending.lost:
                return Failure(f"lost {times} with its worker, last: {ending.lost}", 1)
            last = signal.Signals(-ending.code).name
            return Failure(f"killed {times}, last by {last}; to need less memory: fewer workers at once", 1)
        return Failure(f"exit code {ending.code}: {_last_words(job.folder / LOG)}", ending.code or 1)


@dataclass
class _Listed(Generic[Outcome]):
    """Jobs that are known beforehand."""

    waiting: deque[Job]
    results: TrialResults[Outcome]
    settled: Callable[[str], None] = field(repr=False)

    def next(self) -> Job | None:
        return self.waiting.popleft() if self.waiting else None

    def unwanted(self, job: Job) -> bool:
        return False

    def over(self, job: Job, end: Outcome | Failure | None) -> None:
        if isinstance(end, Failure):
            self.results.failures[job.name] = end
        elif end is not None:
            self.results.outcomes[job.name] = end
        self.settled(job.name)


class _Clock:
    """Estimates the time to go from what was seen of each kind of job."""

    def __init__(self, workers: int, room: Callable[[], float]) -> None:
        self._workers, self._room = workers, room
        self._seen: dict[str, tuple[float, float]] = {}
        """Seconds taken and estimated by kind."""

    def took(self, job: Job, seconds: float) -> None:
        taken, estimated = self._seen.get(job.kind, (0.0, 0.0))
        self._seen[job.kind] = (taken + seconds, estimated + job.seconds)

    def seconds(self, left: Sequence[Job]) -> float:
        corrected = [replace(job, seconds=job.seconds * self._factor(job.kind)) for job in left]
        return estimated_seconds(corrected, max(1.0, min(self._workers, self._room())))

    def _factor(self, kind: str) -> float:
        taken, estimated = self._seen.get(kind, (1.0, 1.0))
        return taken / estimated


def _stop(running: Sequence[Running]) -> None:
    """Let the processes save and end, all in the same time; those that do not are killed."""
    for each in running:
        each.stop()
    for each in running:
        each.close()


def _last_words(log: Path) -> str:
    text = log.read_text(errors="replace") if log.exists() else ""
    lines = [line for line in text.splitlines() if line.strip()]
    return f"{lines[-1].strip()[:300] if lines else 'without a word'} (all of it: {log})"
