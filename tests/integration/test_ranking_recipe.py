"""The recipe for daily ranking, from a panel of prices to scores: it learns, and scores a day as it was evaluated."""

import io
import json
from pathlib import Path

import polars as pl
import pytest
from rich.console import Console

from atft_gat_fan.config.load import load_config
from atft_gat_fan.config.schema import Config, SyntheticConfig
from atft_gat_fan.data.sources.synthetic import synthetic_panel
from atft_gat_fan.inference.asked_days import AskedDays
from atft_gat_fan.inference.bundle import load_bundle
from atft_gat_fan.runs.predict import predict
from atft_gat_fan.runs.run_files import BUNDLE, PREDICTIONS, read_events, read_metrics
from atft_gat_fan.runs.train import train

RECIPE = "config=atft/train/ranking"
MARKET = SyntheticConfig(num_stocks=40, num_days=420, signal=0.4)


def quiet() -> Console:
    return Console(file=io.StringIO())


def trained(folder: Path, *more: str) -> Path:
    panel = folder / "panel.parquet"
    synthetic_panel(MARKET).write_parquet(panel)
    places = [f"data.source={panel}", f"data.cache={folder / 'cache'}", f"run.dir={folder / 'run'}"]
    small = ["data.horizons=[1,2]", "evaluation.baselines=[reversal]", "train.tensorboard=false", "compile=false"]
    return train(load_config([RECIPE, *places, *small, "run.num_threads=1", *more]), quiet())


def test_it_is_a_recipe_for_ranks_and_leaves_what_it_does_not_name() -> None:
    config = load_config([RECIPE])
    assert (config.data.standardise, config.labels.transform, config.loss.type) == ("rank", "rank", "ic")
    assert (config.train.select, config.early_stopping.enabled) == ("last", False)
    assert config.improvements == Config().improvements
    assert load_config(["train=ranking"]) == config


@pytest.mark.slow
def test_the_recipe_learns_and_predicts_the_bits_it_was_evaluated_with(tmp_path: Path) -> None:
    run = trained(tmp_path)
    metrics = read_metrics(run)
    reached = metrics["test"]["rank_ic"]["1d"]
    print(f"\nplanted RankIC@1d {MARKET.signal}, recipe {reached:.4f}")
    assert reached > 0.4 * MARKET.signal
    assert (metrics["train"]["stopped"], metrics["train"]["epochs"]) == ("max_epochs", 4)
    assert metrics["train"]["best_step"] == metrics["train"]["steps"]
    dispersion = metrics["test"]["dispersion"]["1d"]
    assert 0.01 < dispersion < 1.5, "the squared error beside the correlation keeps scores in the unit of the labels"
    losses = [event["loss_1d"] for event in read_events(run) if event["event"] == "valid"]
    assert len(losses) == 4
    assert losses[-1] < losses[0] < 1.1

    spec = load_bundle(run / BUNDLE).spec
    assert (spec.blockwise, spec.same_day_skip, spec.input_expansion) == (True, True, "polynomial")
    assert json.loads((run / "plan.json").read_text())["loss"]["kind"] == "ic"
    out = tmp_path / "scores.parquet"
    predict([run], str(tmp_path / "panel.parquet"), AskedDays(), out, quiet(), tmp_path / "cache")
    evaluated = pl.read_parquet(run / PREDICTIONS)
    same_days = pl.read_parquet(out).join(evaluated.select("date", "code"), on=["date", "code"], how="semi")
    assert same_days.equals(evaluated)


@pytest.mark.slow
def test_weights_of_liquid_stocks_change_what_is_learned(tmp_path: Path) -> None:
    weights = []
    for number, more in enumerate(([], ["loss.liquidity_weight=3"])):
        folder = tmp_path / str(number)
        folder.mkdir()
        run = trained(folder, "train.max_steps=4", "loss.type=rank", *more)
        weights.append(load_bundle(run / BUNDLE).model.state_dict())
    assert any((weights[0][name] != weights[1][name]).any() for name in weights[0])
