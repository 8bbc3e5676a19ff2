"""One split in the form of metrics.json: what is known, what is null and why, and honest comparisons."""

import json
from dataclasses import replace

import numpy as np
import pytest

from atft_gat_fan.errors import DataError
from atft_gat_fan.evaluation.evaluate import MODEL, Evaluation, EvaluationData, evaluate
from atft_gat_fan.metrics.rank_ic import daily_rank_ic

HORIZONS = (1, 2, 5)


def market(
    seed: int = 0, days: int = 60, stocks: int = 40, skill: float = 0.3, *, volume: bool = True
) -> EvaluationData:
    """Independent returns that the model knows a part of; the baselines know nothing."""
    rng = np.random.default_rng(seed)
    daily = rng.standard_t(4, size=(days + 5, stocks)) * 0.02
    labels = np.full((days, stocks, 3), np.nan, dtype=np.float32)
    for i, horizon in enumerate(HORIZONS):
        for day in range(days - horizon):
            labels[day, :, i] = np.prod(1 + daily[day : day + horizon], axis=0) - 1
    present = rng.random((days, stocks)) < 0.95
    labels[~present] = np.nan
    noise = rng.normal(size=(days, stocks, 3))
    known = np.where(present, daily[:days], np.nan)[..., None]
    scores = {
        MODEL: (skill * known / 0.03 + noise).astype(np.float32),
        "reversal": np.where(present[..., None], rng.normal(size=(days, stocks, 3)), np.nan).astype(np.float32),
    }
    return EvaluationData(
        days=np.datetime64("2020-01-01") + np.arange(days),
        codes=tuple(f"S{i}" for i in range(stocks)),
        horizons=HORIZONS,
        scores=scores,
        labels=labels,
        present=present,
        dollar_volume=np.exp(rng.normal(size=(days, stocks))) if volume else None,
    )


@pytest.fixture(scope="module")
def evaluation() -> Evaluation:
    return evaluate(market(), num_resamples=200)


def test_has_the_form_of_metrics_json(evaluation: Evaluation) -> None:
    metrics = json.loads(json.dumps(evaluation.metrics, allow_nan=False))
    assert metrics["days"] == 60
    keys = {"rank_ic", "rank_ic_skip1", "rank_ic_liquid", "icir", "rank_ic_t", "rank_ic_se", "rank_ic_interval"}
    for scorer in (metrics, metrics["baselines"]["reversal"]):
        for key in keys | {"dispersion", "collapse_share"}:
            assert list(scorer[key]) == ["1d", "2d", "5d"]
        assert {"mean_return_gross", "mean_return_net", "sharpe_net", "turnover", "hit_rate"} <= set(
            scorer["portfolio"]
        )
    assert list(metrics["versus"]["reversal"]) == ["1d", "2d", "5d"]


def test_rank_ic_is_the_mean_of_its_days_and_lies_in_its_interval(evaluation: Evaluation) -> None:
    data = market()
    daily = daily_rank_ic(data.scores[MODEL][..., 1], data.labels[..., 1])
    np.testing.assert_array_equal(evaluation.series[MODEL].rank_ic[:, 1], daily)
    assert evaluation.metrics["rank_ic"]["2d"] == pytest.approx(np.nanmean(daily))
    low, high = evaluation.metrics["rank_ic_interval"]["2d"]
    assert low < evaluation.metrics["rank_ic"]["2d"] < high


def test_skip1_scores_a_day_by_the_label_of_the_next() -> None:
    data = market()
    ahead = np.full_like(data.labels, np.nan)
    ahead[:-1] = data.labels[1:]
    oracle = replace(data, scores={MODEL: np.where(data.present[..., None], ahead, np.nan)})
    metrics = evaluate(oracle, num_resamples=10).metrics
    assert metrics["rank_ic_skip1"]["1d"] == pytest.approx(1.0)
    assert abs(metrics["rank_ic"]["1d"]) < 0.1


def test_liquid_keeps_the_upper_half_of_each_day() -> None:
    data = market(skill=0.0)
    volume = np.tile(np.arange(40.0), (60, 1))
    scores = np.random.default_rng(5).normal(size=data.labels.shape)
    scores[:, 20:] = data.labels[:, 20:]  # perfect where volume is high, noise below
    present = np.ones_like(data.present)
    metrics = evaluate(
        replace(data, scores={MODEL: scores}, dollar_volume=volume, present=present), num_resamples=10
    ).metrics
    assert metrics["rank_ic_liquid"]["1d"] == pytest.approx(1.0)
    assert metrics["rank_ic"]["1d"] < 0.8


@pytest.mark.parametrize("volume", [None, np.full((60, 40), np.nan)])
def test_without_volume_liquid_is_null_with_the_reason(volume: np.ndarray | None) -> None:
    metrics = evaluate(replace(market(), dollar_volume=volume), num_resamples=10).metrics
    assert metrics["rank_ic_liquid"] is None
    assert "no volume" in metrics["rank_ic_liquid_reason"]
    assert metrics["baselines"]["reversal"]["rank_ic_liquid"] is None


def test_a_constant_model_collapses_and_loses_to_an_oracle() -> None:
    data = market()
    constant = replace(data, scores={MODEL: np.zeros_like(data.labels), "ridge": data.labels})
    metrics = evaluate(constant, num_resamples=100).metrics
    assert metrics["rank_ic"]["1d"] == 0.0
    assert metrics["collapse_share"]["1d"] == 1.0
    assert metrics["portfolio"]["mean_return_net"] == 0.0
    assert metrics["versus"]["ridge"]["1d"]["verdict"] == "loses"


def test_comparisons_are_paired_by_day(evaluation: Evaluation) -> None:
    difference = evaluation.series[MODEL].rank_ic[:, 0] - evaluation.series["reversal"].rank_ic[:, 0]
    comparison = evaluation.metrics["versus"]["reversal"]["1d"]
    assert comparison["mean"] == pytest.approx(np.nanmean(difference))
    assert comparison["verdict"] == "beats"
    twin = replace(market(), scores={MODEL: market().labels, "ridge": market().labels})
    tie = evaluate(twin, num_resamples=50).metrics["versus"]["ridge"]["1d"]
    assert (tie["low"], tie["high"], tie["verdict"]) == (0.0, 0.0, "ties")


def test_costs_lower_the_net_return_by_turnover_times_cost(evaluation: Evaluation) -> None:
    book = evaluation.metrics["portfolio"]
    paid = book["mean_return_gross"] - book["mean_return_net"]
    assert paid == pytest.approx(book["turnover"] * 10.0 / 10_000)
    assert paid > 0


def test_the_book_is_the_highest_group_minus_the_lowest(evaluation: Evaluation) -> None:
    series = evaluation.series[MODEL]
    known = np.isfinite(series.quantile_returns).all(axis=1)
    assert known.sum() >= 55
    spread = series.quantile_returns[:, -1] - series.quantile_returns[:, 0]
    np.testing.assert_allclose(series.long_short.gross[known], spread[known])


def test_without_a_one_day_label_there_is_no_book() -> None:
    data = market()
    later = replace(
        data,
        horizons=(2, 5),
        labels=data.labels[..., 1:],
        scores={name: scores[..., 1:] for name, scores in data.scores.items()},
    )
    metrics = evaluate(later, num_resamples=10).metrics
    assert metrics["portfolio"] is None
    assert "1-day label" in metrics["portfolio_reason"]


def test_what_could_not_run_is_carried_through() -> None:
    reason = {"unavailable": "LightGBM does not load; install libgomp1"}
    metrics = evaluate(replace(market(), unavailable={"lightgbm": reason}), num_resamples=10).metrics
    assert metrics["baselines"]["lightgbm"] == reason
    assert "lightgbm" not in metrics["versus"]


def test_a_split_without_known_returns_is_null_not_nan() -> None:
    data = market(days=6)
    metrics = evaluate(replace(data, labels=np.full_like(data.labels, np.nan)), num_resamples=10).metrics
    json.dumps(metrics, allow_nan=False)
    assert metrics["rank_ic"]["1d"] is None
    assert metrics["label_missing_share"]["1d"] == 1.0


def test_the_seed_decides_the_intervals() -> None:
    data = market(days=30)
    assert evaluate(data, num_resamples=50, seed=1).metrics == evaluate(data, num_resamples=50, seed=1).metrics
    assert evaluate(data, num_resamples=50, seed=1).metrics != evaluate(data, num_resamples=50, seed=2).metrics


def test_shapes_that_do_not_fit_are_refused_by_name() -> None:
    data = market(days=5)
    with pytest.raises(DataError, match=r"scores of ridge: expected .* \[5, 40, 3\], got \[5, 40, 2\]"):
        replace(data, scores={"ridge": data.labels[..., :2]})
