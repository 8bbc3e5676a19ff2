"""Panels as they come, and what may happen to their future."""

import numpy as np
import polars as pl

from atft_gat_fan.config.schema import SyntheticConfig
from atft_gat_fan.data.bars import MAX_GAP
from atft_gat_fan.data.sources.synthetic import synthetic_panel

NUM_DAYS = 150


def messy_panel(seed: int = 0) -> pl.DataFrame:
    """Canonical rows with late and early listings, gaps short and long, missing prices and days without trades."""
    rng = np.random.default_rng(seed)
    config = SyntheticConfig(num_stocks=8, num_days=NUM_DAYS, churn=0.5, seed=seed)
    frame = synthetic_panel(config).rename(str.lower).drop("sector33").with_columns(pl.col("volume").cast(pl.Float64))
    split = pl.when(pl.col("date") > frame["date"].unique().sort()[70]).then(1.0).otherwise(0.5)
    frame = frame.with_columns((pl.col("close") * split).alias("adj_close"))
    away = pl.Series(rng.random(frame.height) < 0.05) | pl.Series(
        (frame["code"] == "S0003").to_numpy()
        & (frame["date"].rank("dense").is_between(60, 60 + 2 * MAX_GAP)).to_numpy()
    )
    frame = frame.filter(~away)
    no_trade, no_open = (pl.Series(rng.random(frame.height) < 0.03) for _ in range(2))
    return frame.with_columns(
        pl.when(no_trade).then(0.0).otherwise("volume").alias("volume"),
        pl.when(no_open).then(None).otherwise("open").alias("open"),
        pl.when(no_open).then(None).otherwise("high").alias("high"),
    ).sort("date", "code")


def other_prices(frame: pl.DataFrame, rng: np.random.Generator) -> pl.DataFrame:
    columns = ("open", "high", "low", "close", "adj_close", "volume")
    return frame.with_columns(pl.Series(name, rng.uniform(1, 1e6, frame.height)) for name in columns)


def fewer_rows(frame: pl.DataFrame, rng: np.random.Generator) -> pl.DataFrame:
    return frame.filter(pl.Series(rng.random(frame.height) < 0.3))


def nothing(frame: pl.DataFrame, rng: np.random.Generator) -> pl.DataFrame:
    return frame.clear()


def new_listings(frame: pl.DataFrame, rng: np.random.Generator) -> pl.DataFrame:
    # Codes that sort before and after the old ones move every row's place in the flat array.
    return pl.concat([frame, *(frame.with_columns(code=prefix + pl.col("code")) for prefix in ("A", "Z"))])


def missing_values(frame: pl.DataFrame, rng: np.random.Generator) -> pl.DataFrame:
    return frame.with_columns(pl.lit(None, pl.Float64).alias("adj_close"))


CHANGES = [other_prices, fewer_rows, nothing, new_listings, missing_values]
