"""What the benchmarks share: alternating repetitions, medians and ratios of them, and one table of figures.

Absolute times belong to the machine and the moment they were taken on. So everything that is compared is repeated in
alternating order within one run, and what is quoted is the median of the ratios of neighbouring repetitions.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
COLUMNS = ("what", "measured", "target", "reached", "command")


@dataclass(frozen=True)
class Target:
    """A limit, and on which side of it is good."""

    limit: float
    at_least: bool

    def reached(self, value: float) -> bool:
        return value >= self.limit if self.at_least else value <= self.limit

    def __str__(self) -> str:
        return f"{'≥' if self.at_least else '≤'} {self.limit:g}"


def at_least(limit: float) -> Target:
    return Target(limit, at_least=True)


def at_most(limit: float) -> Target:
    return Target(limit, at_least=False)


@dataclass(frozen=True)
class Figure:
    """One row of a table: what was measured, in words, and by which command. Without a target: for information."""

    what: str
    measured: str
    command: str
    target: str = ""
    reached: str = ""

    @classmethod
    def of(cls, what: str, value: float, command: str, target: Target | None = None, *, detail: str = "") -> "Figure":
        """`value` to three significant digits, `detail` (how it came about) behind it."""
        measured = f"{significant(value)} ({detail})" if detail else significant(value)
        if target is None:
            return cls(what, measured, command)
        return cls(what, measured, command, str(target), "yes" if target.reached(value) else "no")

    @classmethod
    def skipped(cls, what: str, reason: str, command: str, target: Target | None = None) -> "Figure":
        return cls(what, f"skipped: {reason}", command, "" if target is None else str(target))

    @property
    def cells(self) -> tuple[str, ...]:
        command = f"`{self.command}`" if self.command else ""
        return (self.what, self.measured, self.target, self.reached, command)


def significant(value: float, digits: int = 3) -> str:
    """`value` rounded to so many digits, whole numbers with thousands separated: 12,346, 0.0123, 1.50."""
    if value == 0:
        return "0"
    exponent = int(f"{value:e}".split("e")[1])
    return f"{value:,.{max(digits - 1 - exponent, 0)}f}"


def table(figures: Iterable[Figure]) -> str:
    """A Markdown table."""
    return "\n".join([*header(), *(f"| {' | '.join(figure.cells)} |" for figure in figures)])


def header() -> tuple[str, str]:
    return f"| {' | '.join(COLUMNS)} |", "|---" * len(COLUMNS) + "|"


def table_rows(text: str) -> list[str]:
    """The rows of the table that `text` holds, without its header."""
    return [line for line in text.splitlines() if line.startswith("| ")][1:]


def publish(topic: str, figures: Sequence[Figure], *, quick: bool, folder: Path = RESULTS) -> None:
    """Print the table and keep it as `<topic>.md` in `benchmarks/results`; a quick one is printed only."""
    print(table(figures), flush=True)
    if not quick:
        folder.mkdir(exist_ok=True)
        (folder / f"{topic}.md").write_text(table(figures) + "\n")


def arguments(description: str | None) -> argparse.ArgumentParser:
    """What every benchmark takes."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="smaller and fewer: does it run, and about how it stands")
    return parser


def interleaved(
    actions: Mapping[str, Callable[[], object]], rounds: int, *, warm_up: int = 1
) -> dict[str, list[float]]:
    """Seconds of each action, round by round, in alternating order; `warm_up` rounds before are not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in actions}
    for number in range(warm_up + rounds):
        for name in in_turn(actions, number):
            began = time.perf_counter()
            actions[name]()
            if number >= warm_up:
                seconds[name].append(time.perf_counter() - began)
    return seconds


def in_turn(names: Iterable[str], number: int) -> list[str]:
    """The order of a round: forwards in even ones, backwards in odd ones, so that no name always goes first."""
    order = list(names)
    return order[::-1] if number % 2 else order


def median_ratio(numerators: Sequence[float], denominators: Sequence[float]) -> float:
    """The median of the ratios of neighbouring repetitions."""
    return statistics.median(a / b for a, b in zip(numerators, denominators, strict=True))
