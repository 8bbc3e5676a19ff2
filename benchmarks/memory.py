"""Private memory of converting a panel larger than it, and of training on the store.

    python -m benchmarks.memory [--quick]

4,000 stocks, 2,500 days, 300 features, 12 GB of float32 (fewer features where the disk has no room for the panel, its
store and what the conversion stages), made and written as Parquet a few days at a time. `atft data build` and then
`atft train` run over all and over half of the days, in processes of their own whose `RssAnon` is sampled: what the
page cache holds of the store is not private. Training takes ten steps of one day with online normalisation and
gradient checkpointing, then validates, scores and reports; the neighbour graph is refreshed every 60 weekdays, which
memory does not depend on. `activations` are what the steps themselves add to what was there before the first one.
"""

import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.made_panel import panel_days
from benchmarks.measuring import Figure, arguments, at_most, publish, significant
from benchmarks.private_memory import watch
from benchmarks.turns import own, take_turns

COMMAND = "python -m benchmarks.memory"
ATFT = str(Path(sys.executable).with_name("atft"))
GIB = 2**30
LIMIT = 2.0
"""GiB."""
ONLINE = "improvements.online_normalization=true"
TRAINING = [
    ONLINE,
    "gradient_checkpointing=true",
    "batch_size=1",
    "graph.refresh_days=60",
    "train.max_epochs=1",
    "train.max_steps=10",
    "train.tensorboard=false",
    "evaluation.baselines=[reversal]",
]
COPIES = 4
"""Of the panel that lie on disk at once, at most: Parquet, staged rows, store, and the store of half the days."""


@dataclass(frozen=True)
class Size:
    """Of a panel."""

    stocks: int
    days: int
    features: int

    @property
    def num_bytes(self) -> int:
        return 4 * self.stocks * self.days * self.features

    def fitting(self, free_bytes: int) -> "Size":
        """This, with as many features as there is room for."""
        room = free_bytes // (COPIES * 4 * self.stocks * self.days)
        return Size(self.stocks, self.days, min(self.features, room))

    def __str__(self) -> str:
        sizes = f"{self.stocks:,} stocks × {self.days:,} days × {self.features} features"
        return f"{sizes}, {significant(self.num_bytes / 1e9)} GB"


def main() -> None:
    parsed = arguments(__doc__).parse_args()
    wanted = Size(300, 600, 50) if parsed.quick else Size(4000, 2500, 300)
    with tempfile.TemporaryDirectory(prefix="atft-bench-") as folder:
        size = wanted.fitting(shutil.disk_usage(folder).free)
        publish("memory", measure(size, Path(folder)), quick=parsed.quick)


def measure(size: Size, folder: Path) -> list[Figure]:
    panel = folder / "panel"
    made = ["--stocks", str(size.stocks), "--days", str(size.days), "--features", str(size.features)]
    say(f"making {size}")
    watch([sys.executable, "-m", "benchmarks.made_panel", str(panel), *made])
    built, trained = {}, {}
    for days in (size.days // 2, size.days):
        store = folder / f"store-{days}"
        last = f"data.end={panel_days(days)[-1]}"
        say(f"converting {days:,} days")
        built[days] = watch([ATFT, "data", "build", str(panel), "--out", str(store), "data=parquet", last])
        say(f"training on {days:,} days")
        command = [ATFT, "train", *settings(store, days, folder), f"run.dir={folder}/run-{days}"]
        trained[days] = watch(command, cwd=folder)
    activations = step_memory(settings(folder / f"store-{size.days}", size.days, folder))
    half, whole = size.days // 2, size.days
    rows = [
        Figure.of(
            "private memory of the conversion, GiB",
            built[whole].peak / GIB,
            COMMAND,
            at_most(LIMIT),
            detail=f"{size}, {built[whole].seconds:.0f} s",
        ),
        doubled("the conversion", built[half].peak, built[whole].peak),
        Figure.of(
            "private memory of training with online normalisation less the activations, GiB",
            (trained[whole].peak - activations) / GIB,
            COMMAND,
            at_most(LIMIT),
            detail=f"{significant(trained[whole].peak / GIB)} with {significant(activations / GIB)} of activations",
        ),
        doubled("training", trained[half].peak, trained[whole].peak),
    ]
    return [*rows, materialised(trained[half].peak, Size(size.stocks, half, size.features), folder)]


def doubled(what: str, half: int, whole: int) -> Figure:
    detail = f"{significant(whole / GIB)} and {significant(half / GIB)} GiB"
    name = f"private memory of {what}, all days over half of them"
    return Figure.of(name, whole / half, COMMAND, at_most(1.05), detail=detail)


def materialised(online: int, size: Size, folder: Path) -> Figure:
    """Peak of training with online normalisation over that without, where memory has room for the normalised copy."""
    what = "private memory of training, online normalisation on over off"
    available = memory_available()
    if size.num_bytes + 4 * GIB > available:
        reason = f"the normalised copy of {size} does not fit into {significant(available / GIB)} GiB of free memory"
        return Figure.skipped(what, reason, COMMAND, at_most(0.85))
    say(f"training on {size.days:,} days without online normalisation")
    overrides = [key for key in settings(folder / f"store-{size.days}", size.days, folder) if key != ONLINE]
    off = watch([ATFT, "train", *overrides, f"run.dir={folder}/run-off"], cwd=folder).peak
    detail = f"{significant(online / GIB)} and {significant(off / GIB)} GiB, {size}"
    return Figure.of(what, online / off, COMMAND, at_most(0.85), detail=detail)


def settings(store: Path, days: int, folder: Path) -> list[str]:
    """Overrides of a training on `store`: nearly all its days to train on, few to validate and test."""
    dates = panel_days(days)
    return [
        "data=parquet",
        f"data.source={store}",
        f"data.cache={folder}/cache",
        f"split.train_end={dates[-40]}",
        f"split.valid_end={dates[-20]}",
        *TRAINING,
    ]


def step_memory(overrides: Sequence[str]) -> int:
    """Bytes that training steps add to what is there before the first one."""
    (answer,) = take_turns({"steps": own("training_steps", *overrides)}, 1, say=say)["steps"]
    return int(answer["memory"])


def memory_available() -> int:
    """Bytes that processes can still take (Linux)."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    raise LookupError("/proc/meminfo names no MemAvailable")


def say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
