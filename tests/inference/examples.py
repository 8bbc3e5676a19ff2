"""A small panel of random values and networks of random weights, for tests that look inside."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch

from atft_gat_fan.config.plan import ModelSpec
from atft_gat_fan.config.schema import GraphConfig
from atft_gat_fan.data.batches import DayBatches
from atft_gat_fan.data.graph import build_graph
from atft_gat_fan.data.normalizer import Normalizer
from atft_gat_fan.data.store import Store, write_store
from atft_gat_fan.data.streamed import StreamedPanel
from atft_gat_fan.models.network import ATFT_GAT_FAN

FEATURES = ("f0", "f1", "f2", "f3")
HORIZONS = (1, 3)
WINDOW = 8
NUM_DAYS, NUM_STOCKS = 60, 24
CATEGORIES = ("banks", "mines")
GRAPH = GraphConfig(lookback=20, min_periods=8, num_neighbours=4, threshold=0.1)


def frame(*, num_days: int = NUM_DAYS, planted: str | None = None, seed: int = 0) -> pl.DataFrame:
    """Every day's stocks but about a tenth of them, a twentieth of the values missing; returns move in two groups.

    `planted`: the label of every horizon is that feature's value of the day.
    """
    rng = np.random.default_rng(seed)
    days = np.busday_offset("2020-01-01", np.arange(NUM_DAYS), roll="forward")
    shape = (NUM_DAYS, NUM_STOCKS)
    group = rng.normal(size=(NUM_DAYS, 2))[:, np.arange(NUM_STOCKS) % 2]
    columns = {name: 5 + 3 * rng.normal(size=shape) for name in FEATURES}
    table = pl.DataFrame(
        {
            "date": np.repeat(days, NUM_STOCKS),
            "code": np.tile([f"C{i:02d}" for i in range(NUM_STOCKS)], NUM_DAYS),
            **{name: values.ravel() for name, values in columns.items()},
            **{f"target_{h}d": columns.get(planted or "", rng.normal(size=shape)).ravel() for h in HORIZONS},
            "returns_1d": (0.01 * (group + rng.normal(size=shape))).ravel(),
            "dollar_volume": np.full(shape, 1e6).ravel(),
        }
    )
    holes = pl.Series(rng.random(table.height) < 0.05)
    present = pl.Series(rng.random(table.height) < 0.9)
    table = table.with_columns(pl.when(holes).then(None).otherwise(pl.col("f3")).alias("f3")).filter(present)
    return table.filter(pl.col("date") <= days[num_days - 1])


def store(folder: Path, rows: pl.DataFrame) -> Store:
    static = {f"C{i:02d}": CATEGORIES[i % 2] for i in range(NUM_STOCKS - 4)}  # the last four of no known category
    return write_store(
        folder, rows, feature_names=FEATURES, horizons=HORIZONS, static=static, metadata={}, fingerprint="abc",
        max_window=64,
    )  # fmt: skip


NORMALIZER = Normalizer(
    input_names=FEATURES,
    feature_names=("f0", "f1", "f3"),
    mean=np.array([5.0, 5.1, 4.9]),
    std=np.array([3.0, 2.9, 3.1]),
    counts=np.array([100, 100, 90]),
    dropped={"f2": "constant"},
)


def batches(
    panel: Store, normalizer: Normalizer = NORMALIZER, *, graph: bool = True, covariates: int = 2
) -> DayBatches:
    """As `predict` has them: raw features, normalised when they are put on the device."""
    neighbours = build_graph(panel.column("returns"), panel.days, panel.static, GRAPH, present=panel.column("present"))
    calendar = np.stack([panel.days.astype(int) % 5, panel.days.astype(int) % 7], axis=1).astype(np.float32) / 5
    known = np.ascontiguousarray(calendar[:, :covariates])
    return DayBatches(StreamedPanel(panel, normalizer), neighbours if graph else None, known, WINDOW)


def network(seed: int = 0, **changes: Any) -> ATFT_GAT_FAN:
    """Random weights, with scores of order 1."""
    values: dict[str, Any] = {
        "num_features": 3, "horizons": HORIZONS, "window": WINDOW, "num_categories": 2, "num_covariates": 2,
        "hidden_size": 8, "variable_size": 4, "num_heads": 2, "gat_heads": 2,
    }  # fmt: skip
    torch.manual_seed(seed)
    model = ATFT_GAT_FAN(ModelSpec(**{**values, **changes})).eval()
    torch.nn.init.normal_(model.heads.point.weight, std=0.3)
    return model
