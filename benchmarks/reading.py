"""How fast a store is read: beside the memory bandwidth of this machine, and beside pytorch-forecasting's loader.

    python -m benchmarks.reading [--quick]

An epoch takes every block of 8 days with its windows, in training's order, as views of the mapped store, and sums all
their features (torch, 2 threads), so that every byte is read; bytes are those of the blocks, days that windows share
counted each time. It stands beside copying as many bytes between two large buffers (torch's `copy_`, the same
threads), whose bytes are counted once, in the same rounds. The store is in the page cache. The first epoch after
opening also verifies the checksums.
"""

import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch

from atft_gat_fan.config.load import load_config
from atft_gat_fan.data.batches import as_tensor, day_blocks
from atft_gat_fan.data.conversion import cached_store
from atft_gat_fan.data.store import Store, first_predictable
from benchmarks.made_panel import write_panel
from benchmarks.measuring import (
    Figure,
    arguments,
    at_least,
    interleaved,
    median_ratio,
    publish,
    significant,
)
from benchmarks.turns import THREADS, own, peer, take_turns

COMMAND = "python -m benchmarks.reading"
WINDOW, BATCH_DAYS = 20, 8
COPIED = 2**28
"""Bytes of the buffers that are copied: far beyond the caches."""


def main() -> None:
    parsed = arguments(__doc__).parse_args()
    with tempfile.TemporaryDirectory(prefix="atft-bench-") as folder:
        rows = [*bandwidth(Path(folder), quick=parsed.quick), loaders(Path(folder), quick=parsed.quick)]
    publish("reading", rows, quick=parsed.quick)


def bandwidth(folder: Path, *, quick: bool) -> list[Figure]:
    """Epochs over a store of 800 MB (quick: 40 MB) beside copies."""
    torch.set_num_threads(THREADS)
    stocks, days, features = (200, 500, 100) if quick else (1000, 2000, 100)
    panel = folder / "wide"
    write_panel(panel, stocks=stocks, days=days, features=features)
    config = load_config(["data=parquet", f"data.source={panel}", f"data.cache={folder / 'cache'}"])
    store = cached_store(config, lambda stage, share: None)
    positions = torch.arange(first_predictable(WINDOW), len(store.days)).numpy()
    blocks = day_blocks(positions, BATCH_DAYS, seed=0, epoch=0, breaks=store.breaks(BATCH_DAYS, WINDOW))
    num_bytes = sum(store.block(*block, WINDOW).features.nbytes for block in blocks)
    source, copy = torch.ones(COPIED // 4), torch.empty(COPIED // 4)
    actions: dict[str, Callable[[], object]] = {
        "copy": lambda: copy.copy_(source),
        "views": lambda: read(store, blocks),
        "verified": lambda: read(Store.open(store.path), blocks),
    }
    seconds = interleaved(actions, 5 if quick else 9)
    rates = {name: [num_bytes / taken for taken in seconds[name]] for name in ("views", "verified")}
    copying = [COPIED / taken for taken in seconds["copy"]]
    rows = (
        ("epoch by views over copying, bytes/s", "views", at_least(0.6)),
        ("the same, the first epoch after opening", "verified", None),
    )
    return [
        Figure.of(
            what,
            median_ratio(rates[name], copying),
            COMMAND,
            target,
            detail=f"{gigabytes(rates[name])} and {gigabytes(copying)} GB/s",
        )
        for what, name, target in rows
    ]


def read(store: Store, blocks: list[tuple[int, int]]) -> None:
    for block in blocks:
        as_tensor(store.block(*block, WINDOW).features).sum()


def gigabytes(rates: list[float]) -> str:
    return significant(statistics.median(rates) / 1e9)


def loaders(folder: Path, *, quick: bool) -> Figure:
    """Samples/s of both loaders over one panel of 32 features."""
    panel = folder / "panel"
    write_panel(panel, stocks=100 if quick else 500, days=250, features=32)
    commands = {
        "ours": own("day_batches", "data=parquet", f"data.source={panel}", f"data.cache={folder / 'cache'}"),
        "theirs": peer("time_series_dataset", str(panel)),
    }
    answers = take_turns(commands, 3 if quick else 7, say=lambda message: print(message, file=sys.stderr))
    ours, theirs = ([answer["samples_per_second"] for answer in answers[name]] for name in ("ours", "theirs"))
    detail = f"{significant(statistics.median(ours))} and {significant(statistics.median(theirs))}"
    what = "loader samples/s over pytorch-forecasting's TimeSeriesDataSet"
    return Figure.of(what, median_ratio(ours, theirs), COMMAND, at_least(50), detail=detail)


if __name__ == "__main__":
    main()
