"""Processes that do what a trial's may do, for tests of those who run them."""

import sys
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path

from atft_gat_fan.validation.outcome import TrialOutcome
from atft_gat_fan.validation.trials import Job

CHILD = """
import json, os, pathlib, signal, sys, time
folder = pathlib.Path(sys.argv[1])
with (folder / "starts").open("a") as file:
    print(time.monotonic(), file=file)
BODY
outcome = json.loads(pathlib.Path(sys.argv[2]).read_text())
(folder / "trial.json").write_text(json.dumps(outcome | {"seconds": 2.5}))
with (folder / "ends").open("a") as file:
    print(time.monotonic(), file=file)
"""


def child_command(folder: Path, body: str = "") -> Callable[[Path], Sequence[str]]:
    """The command of a process that runs `body` and then leaves an outcome of 2.5 seconds."""
    TrialOutcome().write(folder)
    empty = (folder / "trial.json").rename(folder / "empty.json")
    script = folder / "child.py"
    script.write_text(CHILD.replace("BODY", textwrap.dedent(body)))
    return lambda job: [sys.executable, str(script), str(job), str(empty)]


def make_jobs(folder: Path, *names: str, kind: str = "rank_ic", **keywords) -> list[Job]:
    for name in names:
        (folder / name).mkdir(exist_ok=True)
    return [Job(name, kind, folder / name, **keywords) for name in names]


def times(folder: Path, what: str) -> list[float]:
    """When the process `starts`, or `ends`."""
    return [float(line) for line in (folder / what).read_text().split()]


def spans(jobs: Sequence[Job]) -> dict[str, tuple[float, float]]:
    """First start and first end of each job."""
    return {job.name: (times(job.folder, "starts")[0], times(job.folder, "ends")[0]) for job in jobs}
