"""What doubling the stocks, the days or the features costs: about twice, in time and in memory.

    python -m benchmarks.linear_cost [--quick]

A training step by stocks, features and days of a batch, a conversion by stocks, features and days of the panel; each
size in a process of its own, by turns. Memory is private memory above what the process had before the first step or
conversion. The neighbour graph is not in a step: it is made before training, a refresh at the square of the stocks
(`benchmarks/graph.py`).
"""

import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.made_panel import write_panel
from benchmarks.measuring import Figure, arguments, at_most, median_ratio, publish, significant
from benchmarks.turns import own, take_turns

COMMAND = "python -m benchmarks.linear_cost"
LIMIT = at_most(2.2)
BASE = "base"


@dataclass(frozen=True)
class Size:
    stocks: int
    days: int
    features: int
    batch_days: int = 8

    @property
    def panel(self) -> str:
        """Name of the panel of this size."""
        return f"panel-{self.stocks}-{self.days}-{self.features}"


def main() -> None:
    parsed = arguments(__doc__).parse_args()
    base, rounds = (Size(150, 256, 16), 3) if parsed.quick else (Size(500, 512, 32), 7)
    sizes = {
        BASE: base,
        "stocks": replace(base, stocks=2 * base.stocks),
        "days": replace(base, days=2 * base.days),
        "features": replace(base, features=2 * base.features),
        "days of a batch": replace(base, batch_days=2 * base.batch_days),
    }
    with tempfile.TemporaryDirectory(prefix="atft-bench-") as folder:
        for size in {size.panel: size for size in sizes.values()}.values():
            write_panel(Path(folder) / size.panel, stocks=size.stocks, days=size.days, features=size.features)
        rows = [
            *rows_of("training step", "training_steps", "seconds_per_step", without(sizes, "days"), folder, rounds),
            *rows_of("conversion", "conversion", "seconds", without(sizes, "days of a batch"), folder, rounds),
        ]
    publish("linear_cost", rows, quick=parsed.quick)


def without(sizes: Mapping[str, Size], name: str) -> dict[str, Size]:
    return {other: size for other, size in sizes.items() if other != name}


def rows_of(what: str, worker: str, seconds: str, sizes: Mapping[str, Size], folder: str, rounds: int) -> list[Figure]:
    """A row for each doubled size; `seconds` names the time in the worker's answers."""
    commands = {
        name: own(
            worker,
            "data=parquet",
            f"data.source={folder}/{size.panel}",
            f"data.cache={folder}/cache",
            f"batch_size={size.batch_days}",
        )
        for name, size in sizes.items()
    }
    answers = take_turns(commands, rounds, say=lambda message: print(f"{what}: {message}", file=sys.stderr))

    def ratio(name: str, key: str) -> float:
        return median_ratio(series(answers[name], key), series(answers[BASE], key))

    rows = []
    for name in (name for name in answers if name != BASE):
        time, memory = ratio(name, seconds), ratio(name, "memory")
        reached = "yes" if LIMIT.reached(max(time, memory)) else "no"
        measured = f"time {significant(time)}, memory {significant(memory)}"
        rows.append(Figure(f"{what}: twice the {name}", measured, COMMAND, str(LIMIT), reached))
    return rows


def series(answers: Sequence[Mapping[str, float]], key: str) -> list[float]:
    return [answer[key] for answer in answers]


if __name__ == "__main__":
    main()
