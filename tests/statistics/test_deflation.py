"""Deflation: the paper's own example, and the best of many useless trials is seldom called better than luck."""

import math

import numpy as np
import pytest
from scipy.stats import kstest

from atft_gat_fan.statistics.deflation import (
    DailyRatio,
    daily_ratio,
    deflated_icir,
    expected_maximum,
    probability_above,
)


def test_the_example_of_the_paper() -> None:
    """100 trials of variance 1/2 a year, five years of daily returns, annual ratio 2.5: 0.1132 and 0.9004."""
    luck = expected_maximum(100, 0.5 / 250)
    assert luck == pytest.approx(0.1132, abs=5e-5)
    found = DailyRatio(2.5 / math.sqrt(250), 1250, 1250, skewness=-3, kurtosis=10)
    assert probability_above(found, luck) == pytest.approx(0.9004, abs=5e-5)


@pytest.mark.parametrize(("num_trials", "accuracy"), [(2, 0.09), (3, 0.03), (20, 0.03), (200, 0.03)])
def test_the_expected_maximum_is_what_trials_show(num_trials: int, accuracy: float) -> None:
    drawn = np.random.default_rng(0).normal(scale=0.3, size=(20_000, num_trials)).max(axis=1).mean()
    assert expected_maximum(num_trials, 0.09) == pytest.approx(drawn, rel=accuracy)
    assert expected_maximum(1, 0.09) == 0


def test_effective_days_are_those_of_the_mean() -> None:
    rng = np.random.default_rng(1)
    independent = [daily_ratio(rng.normal(size=500)).effective_days for _ in range(50)]
    overlapping = [
        daily_ratio(np.convolve(rng.normal(size=2009), np.ones(10) / 10, "valid"), 10).effective_days for _ in range(50)
    ]
    assert 430 < np.mean(independent) <= 500
    # Ten-day sums of 2000 days: one in ten is new, a little more as Bartlett's weights count it.
    assert 200 < np.mean(overlapping) < 320


def test_unknown_days_are_left_out_and_few_or_equal_ones_say_nothing() -> None:
    series = np.random.default_rng(2).normal(size=60)
    assert daily_ratio(np.append(series, np.nan)) == daily_ratio(series)
    for empty in (series[:9], np.full(60, 0.1), np.full(60, np.nan)):
        assert math.isnan(daily_ratio(empty).icir)
        assert math.isnan(deflated_icir(empty, np.array([0.1, 0.2])).p)


@pytest.mark.parametrize("horizon", [1, 5])
def test_one_trial_without_skill_has_a_uniform_p(horizon: int) -> None:
    rng = np.random.default_rng(3)
    drawn = rng.gamma(2.0, size=(300, 499 + horizon)) - 2.0  # skewed and heavy-tailed, of mean 0
    series = [np.convolve(each, np.ones(horizon), "valid") for each in drawn]
    p = [deflated_icir(each, np.zeros(1), horizon=horizon).p for each in series]
    assert kstest(p, "uniform").statistic < 0.09
    assert np.mean(np.array(p) <= 0.05) < 0.09


@pytest.mark.parametrize("num_trials", [2, 10, 50])
def test_the_best_of_useless_trials_is_seldom_called_better_than_luck(num_trials: int) -> None:
    rng = np.random.default_rng(4)
    results = []
    for _ in range(120):
        trials = rng.standard_t(5, size=(num_trials, 250))
        icirs = trials.mean(axis=1) / trials.std(axis=1, ddof=1)
        results.append(deflated_icir(trials[icirs.argmax()], icirs))
    assert np.mean([each.p <= 0.05 for each in results]) <= 0.05
    undeflated = np.mean([each.p_undeflated <= 0.05 for each in results])
    assert undeflated > 0.75 * (1 - 0.95**num_trials)


def test_skill_among_many_is_found() -> None:
    trials = np.random.default_rng(5).normal(size=(30, 750))
    trials[7] += 0.3
    icirs = trials.mean(axis=1) / trials.std(axis=1, ddof=1)
    result = deflated_icir(trials[7], icirs)
    assert icirs.argmax() == 7
    assert result.p < 0.01
    assert result.p_undeflated < result.p


def test_a_small_p_is_not_rounded_to_0() -> None:
    best = np.random.default_rng(10).normal(1.0, 1.0, 750)
    result = deflated_icir(best, np.array([daily_ratio(best).icir]))
    assert 0 < result.p == result.p_undeflated < 1e-20
    assert probability_above(result.ratio, 0.0) == 1.0


def test_what_was_tried_and_is_not_known_counts() -> None:
    rng = np.random.default_rng(6)
    best, icirs = rng.normal(0.1, 1.0, 300), rng.normal(0.0, 0.05, 10)
    result = deflated_icir(best, icirs)
    assert deflated_icir(best, np.append(icirs, np.nan)).variance == result.variance
    more = deflated_icir(best, icirs, num_trials=100)
    assert more.expected_maximum > result.expected_maximum
    assert more.p > result.p


def test_copies_of_one_trial_are_one_trial() -> None:
    best = np.random.default_rng(7).normal(0.1, 1.0, 300)
    copies = deflated_icir(best, np.full(40, daily_ratio(best).icir))
    assert copies.expected_maximum == pytest.approx(0, abs=1e-12)
    assert copies.p == pytest.approx(copies.p_undeflated)


def test_trials_of_unknown_variance_have_no_p() -> None:
    best = np.random.default_rng(8).normal(0.1, 1.0, 300)
    result = deflated_icir(best, np.array([0.1]), num_trials=5)
    assert math.isnan(result.expected_maximum)
    assert math.isnan(result.p)


def test_questions_without_an_answer_are_refused() -> None:
    series = np.random.default_rng(9).normal(size=60)
    with pytest.raises(ValueError, match="at least the 3 given, got 2"):
        deflated_icir(series, np.zeros(3), num_trials=2)
    with pytest.raises(ValueError, match="got 0 and 1"):
        expected_maximum(0, 1.0)
    with pytest.raises(ValueError, match="horizon >= 1, got 0"):
        daily_ratio(series, 0)
