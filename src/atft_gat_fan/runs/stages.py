"""Progress of the work around training: a bar with an ETA on a terminal, else a line a stage; and where it stops."""

import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from atft_gat_fan.signals import StopSignals


class Stages:
    """Call with (name of the stage, share done in [0, 1]); use as a context manager so that the bar is taken away.

    A call raises InterruptedRunError once a stop was requested: stages keep what they have finished, and go on from it.
    """

    def __init__(self, console: Console, signals: StopSignals) -> None:
        self._console, self._signals = console, signals
        self._bar = (
            Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                console=console,
                transient=True,
            )
            if console.is_terminal
            else None
        )
        self._name: str | None = None
        self._began = 0.0

    def __call__(self, name: str, share: float) -> None:
        if name != self._name:
            self._close_stage()
            self._name, self._began = name, time.monotonic()
            if self._bar is not None:
                self._task = self._bar.add_task(name, total=1.0)
        if self._bar is not None:
            self._bar.update(self._task, completed=share)
        self._signals.raise_if_received(f'during "{name}"', saved="what is finished is kept")

    def _close_stage(self) -> None:
        if self._name is None:
            return
        if self._bar is not None:
            self._bar.remove_task(self._task)
        self._console.print(f"{self._name}: {time.monotonic() - self._began:.1f} s", style="dim", highlight=False)
        self._name = None

    def __enter__(self) -> "Stages":
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self._close_stage()
        if self._bar is not None:
            self._bar.stop()
