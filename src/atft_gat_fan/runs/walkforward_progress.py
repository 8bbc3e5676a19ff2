"""How far a walk-forward is: a line for each training that is finished, and on a terminal a bar that follows steps."""

import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from atft_gat_fan.runs.pace import duration
from atft_gat_fan.runs.run_files import read_events
from atft_gat_fan.runs.walkforward_plan import FoldRun, WalkForward
from atft_gat_fan.validation.trials import Progress

EVERY = 5.0
"""Seconds between two looks into the records of the trainings."""
TRAINING = 0.9
"""Share of a run that is training, about; evaluation and baselines are the rest."""


class WalkProgress:
    """Use as a context manager, so that the bar is taken away; call `poll` again and again."""

    def __init__(self, walk: WalkForward, console: Console) -> None:
        self._walk, self._console = walk, console
        self._bar = _bar(console) if console.is_terminal else None
        self._task = None if self._bar is None else self._bar.add_task("trainings", total=1.0)
        self._looked = -EVERY

    def poll(self) -> None:
        """Move the bar, where some seconds have passed since the last time."""
        if self._bar is None or self._task is None or time.monotonic() - self._looked < EVERY:
            return
        self._bar.update(self._task, completed=self._done())
        self._looked = time.monotonic()

    def finished(self, progress: Progress) -> None:
        """Say that a training is over, and how long the others will take."""
        done = sum(run.finished for run in self._walk.runs)
        left = duration(progress.seconds_left)
        line = f"{done} of {len(self._walk.runs)} trainings, about {left} to go: {progress.name}"
        self._console.print(line, style="dim", highlight=False)

    def _done(self) -> float:
        expected = sum(run.job.seconds for run in self._walk.runs)
        return sum(run.job.seconds * share_done(run) for run in self._walk.runs) / expected

    def __enter__(self) -> "WalkProgress":
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()


def share_done(run: FoldRun) -> float:
    """Of a run in [0, 1], by the last optimizer step that it has recorded of those it planned."""
    if run.finished:
        return 1.0
    events = read_events(run.folder)
    planned = [event["planned_steps"] for event in events if event["event"] == "start" and event.get("planned_steps")]
    return TRAINING * min(1.0, events[-1]["step"] / planned[-1]) if planned else 0.0


def _bar(console: Console) -> Bar:
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    return Bar(*columns, console=console, transient=True, speed_estimate_period=24 * 3600.0)
