"""On a market with a known best RankIC the model finds most of it; with shuffled labels it finds nothing."""

import math
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from rich.console import Console

from atft_gat_fan.config.load import load_config
from atft_gat_fan.config.schema import SyntheticConfig
from atft_gat_fan.data.sources.synthetic import synthetic_oracle, synthetic_panel
from atft_gat_fan.runs.run_files import PREDICTIONS, read_metrics
from atft_gat_fan.runs.train import train

MARKET = SyntheticConfig(num_stocks=80, num_days=900, signal=0.25)
QUIET = Console(quiet=True)


def trained(panel: pl.DataFrame, folder: Path, *more: str) -> Path:
    panel.write_parquet(folder / "panel.parquet")
    return train(
        load_config(
            [
                f"data.source={folder / 'panel.parquet'}",
                f"data.cache={folder / 'cache'}",
                f"run.dir={folder / 'run'}",
                "model=small",
                "labels.transform=rank",
                "batch_size=8",
                "optimizer.lr=0.004",
                "train.max_epochs=4",
                "evaluation.baselines=[reversal]",
                *more,
            ]
        ),
        QUIET,
    )


@pytest.mark.slow
def test_the_model_reaches_most_of_the_planted_signal(tmp_path: Path):
    run = trained(synthetic_panel(MARKET), tmp_path)
    predictions = pl.read_parquet(run / PREDICTIONS)
    test_days = read_metrics(run)["test"]
    oracle = synthetic_oracle(MARKET).join(predictions, on=["date", "code"], how="semi")
    closes = synthetic_panel(MARKET).select(
        date="Date", code="Code", label=pl.col("Close").shift(-1).over("Code", order_by="Date") / pl.col("Close") - 1
    )
    last = predictions["date"].unique().sort().tail(test_days["days"])
    planted = (
        oracle.join(closes, on=["date", "code"])
        .filter(pl.col("date").is_in(last.implode()) & pl.col("label").is_not_null())
        .group_by("date")
        .agg(ic=pl.corr("oracle_1d", "label", method="spearman"))["ic"]
        .mean()
    )
    assert planted == pytest.approx(MARKET.signal, abs=0.05)
    reached = test_days["rank_ic"]["1d"]
    print(f"\nplanted RankIC@1d {planted:.4f}, model {reached:.4f}: {reached / planted:.0%}")
    assert reached >= 0.6 * planted


@pytest.mark.slow
def test_shuffled_labels_teach_nothing(tmp_path: Path):
    """Labels permuted among the stocks of a day: RankIC within two standard errors of zero."""
    panel = synthetic_panel(MARKET).sort("Date", "Code")
    label = (pl.col("Close").shift(-1).over("Code", order_by="Date") / pl.col("Close") - 1).alias("target_1d")
    random = pl.Series("random", np.random.default_rng(0).random(panel.height))
    shuffled = (
        panel.with_columns(label, random)
        .with_columns(pl.col("target_1d").sort_by("random").over("Date"))
        .drop("random")
    )
    run = trained(shuffled, tmp_path, "data.horizons=[1]", "data.features=derived")
    test = read_metrics(run)["test"]
    standard_error = test["rank_ic"]["1d"] / test["rank_ic_t"]["1d"]
    assert math.isfinite(standard_error)
    print(f"\nshuffled labels: RankIC@1d {test['rank_ic']['1d']:+.4f}, standard error {abs(standard_error):.4f}")
    assert abs(test["rank_ic"]["1d"]) <= 2 * abs(standard_error)
