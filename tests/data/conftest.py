"""Tiny panels and stores of random values; stocks come and go, values go missing."""

from pathlib import Path
from typing import Protocol

import numpy as np
import polars as pl
import pytest

from atft_gat_fan.data.store import Store, write_store

HORIZONS = (1, 3)


class MakeFrame(Protocol):
    def __call__(
        self,
        num_days: int = ...,
        num_stocks: int = ...,
        *,
        num_features: int = ...,
        share: float = ...,
        seed: int = ...,
    ) -> pl.DataFrame: ...


class MakeStore(Protocol):
    def __call__(
        self, frame: pl.DataFrame, *, name: str = ..., max_window: int = ..., shard_days: int = ...
    ) -> Store: ...


def _make_frame(
    num_days: int = 30, num_stocks: int = 6, *, num_features: int = 3, share: float = 0.8, seed: int = 0
) -> pl.DataFrame:
    """A share of all stock-days, and of each value of those, at random; every day has stock C00."""
    rng = np.random.default_rng(seed)
    days = np.busday_offset("2020-01-01", np.arange(num_days), roll="forward")
    names = [f"f{i}" for i in range(num_features)]
    values = [*names, *(f"target_{h}d" for h in HORIZONS), "returns_1d", "dollar_volume"]
    table = rng.normal(size=(num_days * num_stocks, len(values))).astype(np.float32)
    table[rng.random(table.shape) > share] = np.nan
    frame = pl.DataFrame(
        {
            "date": np.repeat(days, num_stocks),
            "code": np.tile([f"C{i:02d}" for i in range(num_stocks)], num_days),
            **dict(zip(values, table.T.copy(), strict=True)),
        }
    ).fill_nan(None)
    held = rng.random(len(frame)) < share
    held[::num_stocks] = True
    return frame.filter(pl.Series(held))


@pytest.fixture
def make_frame() -> MakeFrame:
    return _make_frame


@pytest.fixture
def make_store(tmp_path: Path) -> MakeStore:
    def make(frame: pl.DataFrame, *, name: str = "store", max_window: int = 64, shard_days: int = 256) -> Store:
        return write_store(
            tmp_path / name,
            frame,
            feature_names=[column for column in frame.columns if column.startswith("f")],
            horizons=HORIZONS,
            static={"C00": "banks", "C01": "mines", "C02": "banks"},
            metadata={"source": "random", "counts": [1, 2]},
            fingerprint="abc",
            max_window=max_window,
            shard_days=shard_days,
        )

    return make
