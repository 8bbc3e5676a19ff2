"""What a person sees while a model trains: a bar on a terminal, a line an epoch elsewhere."""

import time
from abc import ABC, abstractmethod
from datetime import timedelta
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn


class ProgressDisplay(ABC):
    """Shows steps done of steps planned, loss, validation RankIC, elapsed time and time to go."""

    def __init__(self, console: Console, planned_steps: int, first_step: int) -> None:
        self._console = console
        self._planned = planned_steps
        self._first = first_step
        self._started = time.monotonic()

    def __enter__(self) -> "ProgressDisplay":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    @abstractmethod
    def stepped(self, step: int, loss: float) -> None:
        """`step` steps are done."""

    @abstractmethod
    def validated(self, epoch: int, step: int, loss: float, rank_ic: float, best: bool) -> None:
        """Epoch `epoch` is trained and validated; `loss` is its mean training loss."""

    def message(self, text: str) -> None:
        """Something the user should read."""
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)


class TerminalDisplay(ProgressDisplay):
    """A live bar."""

    def __init__(self, console: Console, planned_steps: int, first_step: int) -> None:
        super().__init__(console, planned_steps, first_step)
        self._bar = Progress(
            TextColumn("training"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("loss {task.fields[loss]}  RankIC {task.fields[rank_ic]}"),
            TimeElapsedColumn(),
            TextColumn("ETA"),
            TimeRemainingColumn(),
            console=console,
            # The average of the whole session: validation makes short-term speeds jump.
            speed_estimate_period=24 * 3600.0,
        )
        self._task = self._bar.add_task("training", total=planned_steps, completed=first_step, loss="-", rank_ic="-")

    def __enter__(self) -> "TerminalDisplay":
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def stepped(self, step: int, loss: float) -> None:
        self._bar.update(self._task, completed=step, loss=f"{loss:.4g}")

    def validated(self, epoch: int, step: int, loss: float, rank_ic: float, best: bool) -> None:
        self._bar.update(self._task, rank_ic=f"{rank_ic:+.4f}{' (best)' if best else ''}")


class LineDisplay(ProgressDisplay):
    """One plain line an epoch, for logs and pipes."""

    def stepped(self, step: int, loss: float) -> None:
        return None

    def validated(self, epoch: int, step: int, loss: float, rank_ic: float, best: bool) -> None:
        elapsed = time.monotonic() - self._started
        remaining = elapsed / max(step - self._first, 1) * (self._planned - step)
        self.message(
            f"epoch {epoch}  step {step}/{self._planned}  loss {loss:.4g}  RankIC {rank_ic:+.4f}"
            f"{' (best)' if best else ''}  elapsed {_clock(elapsed)}  ETA {_clock(remaining)}"
        )


def make_display(console: Console, planned_steps: int, first_step: int) -> ProgressDisplay:
    """The display that suits where the console writes to."""
    kind = TerminalDisplay if console.is_terminal else LineDisplay
    return kind(console, planned_steps, first_step)


def _clock(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))
