"""A panel at an address is predicted from and monitored as the same panel at a path: to the bit."""

import io
from pathlib import Path

import polars as pl
import pytest
from rich.console import Console

from atft_gat_fan.config.load import load_config, read_config
from atft_gat_fan.config.schema import SyntheticConfig
from atft_gat_fan.data.sources.synthetic import synthetic_panel
from atft_gat_fan.inference.asked_days import AskedDays
from atft_gat_fan.runs.monitor import Request, monitor
from atft_gat_fan.runs.predict import predict
from atft_gat_fan.runs.train import train

KEYS = (
    "model=small", "batch_size=16", "train.max_steps=3", "run.num_threads=1", "data.horizons=[1,2]", "compile=false",
    "evaluation.baselines=[reversal]", "train.tensorboard=false",
)  # fmt: skip


def quiet() -> Console:
    return Console(file=io.StringIO())


@pytest.mark.slow
def test_a_run_on_an_address_predicts_and_is_monitored_as_on_the_path(tmp_path: Path) -> None:
    panel, run = tmp_path / "panel.parquet", tmp_path / "run"
    synthetic_panel(SyntheticConfig(num_stocks=10, num_days=280)).write_parquet(panel)
    address = f"file://{panel}"
    train(load_config([*KEYS, f"data.source='{address}'", f"data.cache={tmp_path}/cache", f"run.dir={run}"]), quiet())
    assert read_config(run / "config.yaml").data.source == address
    # In a cache of its own, from the few days that the newest one depends on: the bits that the evaluation had.
    predict([run], address, AskedDays(newest=True), tmp_path / "scores.parquet", quiet(), tmp_path / "morning")
    evaluated = pl.read_parquet(run / "predictions.parquet")
    newest = evaluated.filter(pl.col("date") == evaluated["date"].max())
    assert pl.read_parquet(tmp_path / "scores.parquet").equals(newest)
    quick = ("monitor.days=20", "monitor.num_resamples=100", "monitor.rank_ic_days=30")
    result = monitor(Request(run, address, overrides=quick), quiet())
    assert result.source == address
    assert result.families["raw_features"].unavailable is None
