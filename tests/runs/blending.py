"""A market of which a network holds one part and LightGBM another, for the tests of their blend.

The label at every horizon is made of `then`, a feature three days ago that the day itself says nothing of, and of the
size of `now`, which no linear look at the day finds. LightGBM sees the day alone.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl

from atft_gat_fan.config.load import load_config
from atft_gat_fan.config.overrides import assignment
from atft_gat_fan.models.network import ATFT_GAT_FAN
from atft_gat_fan.runs.assembly import Assembly, assemble, build_model
from atft_gat_fan.types import DayBatch, Forecast

NUM_DAYS, NUM_STOCKS, LAG = 260, 30, 3
HORIZONS = (1, 2)
DAYS = np.busday_offset("2019-01-01", np.arange(NUM_DAYS), roll="forward")
KEYS = [
    "model=small", "data.horizons=[1,2]", "data.window=6", "data.features=[then,now]", "model.gat.enabled=false",
    "run.num_threads=1", "compile=false", "model.blend.enabled=true", "model.blend.lightgbm.num_rounds=30",
    "model.blend.lightgbm.min_data_in_leaf=20", "labels.transform=rank", "model.blend.lightgbm.num_leaves=7",
]  # fmt: skip


@dataclass(frozen=True)
class Strengths:
    then: float = 0.5
    now: float = 0.5


def market(strengths: Strengths = Strengths(), seed: int = 0) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    shape = (NUM_DAYS, NUM_STOCKS)
    then, now = rng.normal(size=shape), rng.normal(size=shape)
    known = np.roll(then, LAG, axis=0)
    means = strengths.then * known + strengths.now * (np.abs(now) - np.sqrt(2 / np.pi)) / np.sqrt(1 - 2 / np.pi)
    columns = {"then": then, "now": now, "returns_1d": 0.01 * rng.normal(size=shape)}
    columns |= {f"target_{h}d": 0.01 * (means + rng.normal(size=shape)) for h in HORIZONS}
    return pl.DataFrame(
        {
            "Date": np.repeat(DAYS, NUM_STOCKS),
            "Code": [f"S{i:02d}" for i in range(NUM_STOCKS)] * NUM_DAYS,
            **{name: values.ravel() for name, values in columns.items()},
        }
    )


def other_labels(panel: pl.DataFrame, days: np.ndarray) -> pl.DataFrame:
    """The same panel with the labels of some days (positions) turned around."""
    there = pl.col("Date").is_in(list(DAYS[days].astype("datetime64[D]").tolist()))
    return panel.with_columns(
        pl.when(there).then(-pl.col(f"target_{h}d")).otherwise(pl.col(f"target_{h}d")).alias(f"target_{h}d")
        for h in HORIZONS
    )


def assembly_of(panel: pl.DataFrame, folder: Path, *overrides: str) -> Assembly:
    folder.mkdir(parents=True, exist_ok=True)
    panel.write_parquet(folder / "panel.parquet")
    places = [assignment("data.source", str(folder / "panel.parquet")), assignment("data.cache", str(folder / "cache"))]
    return assemble(load_config([*KEYS, *places, *overrides]), lambda stage, share: None)


class Recalls(ATFT_GAT_FAN):
    """A network that has learned its part of the label to the end, or nothing at all."""

    score: Callable[[DayBatch], np.ndarray]

    def forecast(self, batch: DayBatch, key: object = None) -> Forecast:
        forecast = super().forecast(batch)
        point = forecast.point.new_tensor(self.score(batch))
        return replace(forecast, point=point[None, :, None].expand_as(forecast.point).clone())


def network_that(score: Callable[[DayBatch], np.ndarray], assembly: Assembly) -> ATFT_GAT_FAN:
    model = build_model(assembly)
    model.__class__ = Recalls
    model.score = score
    return model


def recalls(batch: DayBatch) -> np.ndarray:
    """`then`, three days ago."""
    return batch.features[-1 - LAG, :, 0].numpy()


def guesses(batch: DayBatch) -> np.ndarray:
    """Noise that is a function of the day."""
    return np.random.default_rng(batch.dates[0]).normal(size=batch.num_stocks)
