"""Every morning's prediction: a panel of 4,000 stocks that has gained a day is scored for it.

    python -m benchmarks.daily_prediction [--quick] [key=value ...]

Three years of daily prices and volumes of the synthetic market, one row a stock and day, in one Parquet file. A night
appends a day (not timed: that is the vendor's work); `atft predict RUN --date newest` then runs as a process of its
own, as cron would start it. The model is of the default size, trained for a step on a small market: what its weights
are does not matter here. Medians over the mornings, the first left out: it makes the first lists of the graph. `after
load` is what the process itself spends on the data, the graph, the scores and the file; the rest of it is starting
Python and reading the model. `key=value` is for the training, for instance `compile=true`.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from statistics import median

import polars as pl

from atft_gat_fan.config.schema import SyntheticConfig
from atft_gat_fan.data.sources.synthetic import synthetic_panel
from benchmarks.measuring import Figure, arguments, at_most, publish, significant

COMMAND = "python -m benchmarks.daily_prediction"
ATFT = str(Path(sys.executable).with_name("atft"))
TRAINING = [
    "data=synthetic",
    "data.synthetic.num_stocks=30",
    "data.synthetic.num_days=260",
    "data.exchange=XNYS",
    "train.max_steps=1",
    "train.tensorboard=false",
    "split.purge=11",
    "evaluation.baselines=[reversal]",
]
LIMIT = 10.0
"""Seconds after load."""
BUSY = 1.0
"""Runnable processes beside ours above which timings are disturbed."""


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    parsed = parser.parse_args()
    stocks, days, mornings = (200, 300, 2) if parsed.quick else (4000, 750, 6)
    with tempfile.TemporaryDirectory(prefix="atft-bench-") as folder:
        place = Path(folder)
        subprocess.run(
            [ATFT, "train", *TRAINING, f"data.cache={place}/cache", f"run.dir={place}/run", *parsed.overrides],
            cwd=place, capture_output=True, check=True,
        )  # fmt: skip
        config = SyntheticConfig(num_stocks=stocks, num_days=days, num_sectors=33, churn=0.1)
        rows = measure(place, synthetic_panel(config), mornings)
    publish("daily_prediction", rows, quick=parsed.quick)


def measure(place: Path, panel: pl.DataFrame, mornings: int) -> list[Figure]:
    dates = panel["Date"].unique().sort().to_list()
    told = [morning(place, panel, dates[-1 - left]) for left in range(mornings)[::-1]][1:]

    def middle(*stages: str) -> float:
        return median(sum(of_one[stage] for stage in stages) for of_one in told)

    load = os.getloadavg()[0]
    busy = f", while the machine's load was {load:.1f}" if load > BUSY + 1 else ""
    stages = ", ".join(f"{stage} {significant(middle(stage), 2)} s" for stage in ("data", "graph", "score", "write"))
    return [
        Figure.of(
            f"seconds after load, {told[0]['rows']:,.0f} stocks of {panel.height / 1e6:.1f} million rows",
            middle("data", "graph", "score", "write"),
            COMMAND,
            at_most(LIMIT),
            detail=f"{stages}; medians of {len(told)} mornings{busy}",
        ),
        Figure.of("the whole process, from start to end", middle("process"), COMMAND, detail="seconds"),
        Figure.of("of it, seconds of computing on all cores", middle("cpu"), COMMAND),
    ]


def morning(place: Path, panel: pl.DataFrame, day: date) -> dict[str, float]:
    """Seconds of each stage, and of the process by the clock and of computing, when the panel has come up to `day`."""
    panel.filter(pl.col("Date") <= day).write_parquet(place / "panel.parquet")
    began, before = time.perf_counter(), os.times()
    done = subprocess.run(command(place), cwd=place, capture_output=True, text=True, check=True)
    seconds, after = time.perf_counter() - began, os.times()
    facts = json.loads(done.stdout)
    assert facts["last"] == str(day), f"expected {day}, found {facts['last']}"
    cpu = after.children_user - before.children_user + after.children_system - before.children_system
    return {**facts["seconds"], "rows": facts["rows"], "process": seconds, "cpu": cpu}


def command(place: Path) -> Sequence[str]:
    return [
        ATFT, "predict", f"{place}/run", "--data", f"{place}/panel.parquet", "--date", "newest",
        "--out", f"{place}/scores.parquet", "--json",
    ]  # fmt: skip


if __name__ == "__main__":
    main()
