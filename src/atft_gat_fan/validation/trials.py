"""Trainings as processes, wherever they run: what is asked for, how far it is, and what came of it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, Protocol, TypeVar

Outcome = TypeVar("Outcome")
"""What a finished job's folder holds."""
Ended = TypeVar("Ended", contravariant=True)


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
    """Whether nothing else may run on its machine meanwhile."""


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


class JobQueue(Protocol[Ended]):
    """Jobs that depend on how earlier ones went."""

    def next(self) -> Job | None:
        """A job to start now. None: none as long as those that run are not over; and the end, where none runs."""
        ...

    def unwanted(self, job: Job) -> bool:
        """Whether a running job should stop. Called all the while."""
        ...

    def over(self, job: Job, end: Ended | Failure | None) -> None:
        """What came of a job; None: it was unwanted, and has stopped."""
        ...


class TrialRunner(Protocol[Outcome]):
    """Runs jobs, wherever."""

    def run(self, jobs: Sequence[Job], later: Sequence[Job] = ()) -> TrialResults[Outcome]:
        """Every job's outcome; a job that has one already is not run. Those of `later` are not run either: they wait
        for these, and count in the time to go.
        """
        ...


def estimated_seconds(jobs: Iterable[Job], workers: float) -> float:
    """Of jobs that run `workers` at once, and of those that run alone."""
    return sum(job.seconds / (1 if job.alone else workers) for job in jobs)
