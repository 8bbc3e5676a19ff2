"""Where there is nothing to find, nothing is found; where tomorrow is in the features, it shows; a twin is a twin."""

import io
import math
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from rich.console import Console

from atft_gat_fan.config.load import load_config
from atft_gat_fan.config.schema import SyntheticConfig
from atft_gat_fan.data.sources.synthetic import synthetic_panel
from atft_gat_fan.inference.predictor import predict_days
from atft_gat_fan.metrics.rank_ic import daily_rank_ic
from atft_gat_fan.runs.assembly import assemble
from atft_gat_fan.runs.stepping import Stepping
from atft_gat_fan.runs.validate import Request, base_config, prepare, validate
from atft_gat_fan.statistics.paired import paired_interval
from atft_gat_fan.validation.arms import Arm, Arms, make_arms

MARKET = SyntheticConfig(num_stocks=40, num_days=400, signal=0.25, churn=0)
STEPS, TRAININGS = 40, 20
LEVEL = 0.05

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def market() -> pl.DataFrame:
    """Prices with the return of the next day as the label, so that either can be moved alone."""
    forward = pl.col("Close").shift(-1).over("Code", order_by="Date") / pl.col("Close") - 1
    return synthetic_panel(MARKET).sort("Date", "Code").with_columns(target_1d=forward)


def trained(panel: pl.DataFrame, folder: Path, seed: int) -> np.ndarray:
    """RankIC of each test day, of a small network after a few steps of the product's training."""
    folder.mkdir(exist_ok=True)
    panel.write_parquet(folder / "panel.parquet")
    config = load_config(
        [
            f"data.source={folder / 'panel.parquet'}",
            f"data.cache={folder / 'cache'}",
            "data.horizons=[1]",
            "data.features=derived",
            "labels.transform=rank",
            "model=small",
            "optimizer.lr=0.004",
            f"train.max_steps={STEPS}",
            "compile=false",
            "run.num_threads=1",
            f"seed={seed}",
        ]
    )
    assembly = assemble(config, lambda stage, share: None)
    training = Stepping(assembly, message=lambda text: None)
    for number in range(STEPS):
        training.step(training.batch(number), number)
    days = assembly.split.test
    scores = predict_days(training.model, assembly.batches, days).scores
    labels = assembly.store.column("labels", slice(int(days[0]), int(days[-1]) + 1))
    daily = daily_rank_ic(scores[..., 0], labels[..., 0])
    return daily[np.isfinite(daily)]  # nobody knows the label of the last day


def shuffled(panel: pl.DataFrame, seed: int) -> pl.DataFrame:
    """The labels of a day dealt out anew among its stocks."""
    order = pl.Series("order", np.random.default_rng(seed).random(panel.height))
    return panel.with_columns(order).with_columns(pl.col("target_1d").sort_by("order").over("Date")).drop("order")


@pytest.mark.exhaustive
def test_labels_shuffled_within_days_are_not_ranked(market: pl.DataFrame, tmp_path: Path) -> None:
    """Each training has a shuffle of its own, so days and trainings are independent and the error is known."""
    daily = np.stack([trained(shuffled(market, seed), tmp_path / str(seed), seed) for seed in range(TRAININGS)])
    standard_error = 1 / math.sqrt((MARKET.num_stocks - 1) * daily.size)
    print(f"\nshuffled labels: grand mean RankIC@1d {daily.mean():+.5f}, standard error {standard_error:.5f}")
    assert daily.std() == pytest.approx(1 / math.sqrt(MARKET.num_stocks - 1), rel=0.1)
    assert abs(daily.mean()) <= 1.96 * standard_error


@pytest.mark.exhaustive
def test_equal_configurations_differ_as_often_as_the_level_says(market: pl.DataFrame, tmp_path: Path) -> None:
    """Trainings with other seeds, dealt out as variant and baseline at random, where the labels can be ranked."""
    daily = np.stack([trained(market, tmp_path, seed) for seed in range(TRAININGS)])
    assert daily.mean() > 3 * daily.mean(axis=0).std() / math.sqrt(daily.shape[1]), "something is learned"
    rng = np.random.default_rng(0)
    found = []
    for _ in range(200):
        variant, baseline = np.split(daily[rng.permutation(TRAININGS)], 2)
        found.append(paired_interval(variant - baseline, 1, 0, num_resamples=400).p <= LEVEL)
    print(f"\nequal configurations: {np.mean(found):.1%} of comparisons called different")
    assert np.mean(found) <= 2 * LEVEL


def test_features_of_the_day_after_make_rank_ic_jump(market: pl.DataFrame, tmp_path: Path) -> None:
    """What looks ahead cannot stay unseen in the numbers: the label is then among the features."""
    prices = ["Open", "High", "Low", "Close", "Volume"]
    early = market.with_columns(pl.col(prices).shift(-1).over("Code", order_by="Date"))
    honest = trained(market, tmp_path / "honest", 0).mean()
    leaking = trained(early.drop_nulls("Close"), tmp_path / "leaking", 0).mean()
    print(f"\nRankIC@1d honest {honest:.4f}, with features of the day after {leaking:.4f}")
    assert honest < MARKET.signal + 0.05
    assert leaking > MARKET.signal + 0.3


def test_an_arm_that_changes_nothing_is_neutral_to_the_bit(tmp_path: Path) -> None:
    request = Request(
        [
            "data=synthetic",
            "data.synthetic.num_days=330",
            "data.synthetic.num_stocks=12",
            "data.horizons=[1]",
            "train.max_steps=8",
            "validation.seeds=[1]",
            "validation.stress.num_seeds=0",
            "validation.timing.rounds=0",
            f"data.cache={tmp_path / 'cache'}",
            f"run.dir={tmp_path / 'validation'}",
        ]
    )
    arms = Arms(make_arms(base_config(request)).baseline, (Arm("again", "the baseline again", ()),), (), {})
    quiet = Console(file=io.StringIO())
    found = validate(prepare(request, quiet, arms), quiet).improvements["again"]
    delta = found.delta_rank_ic["1d"]
    assert (delta.mean, delta.low, delta.high, delta.by_seed) == (0.0, 0.0, 0.0, (0.0,))
    assert found.verdict == "neutral"
