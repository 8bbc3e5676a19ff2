"""Newey-West: the plain t-statistic without lags, wider on positively correlated days."""

import numpy as np
import pytest
from scipy.stats import ttest_1samp

from atft_gat_fan.statistics.hac import automatic_lags, newey_west


def test_without_lags_it_is_the_plain_t_statistic() -> None:
    series = np.random.default_rng(0).normal(0.02, 0.1, 250)
    result = newey_west(series, 0)
    assert result.mean == pytest.approx(series.mean())
    assert result.standard_error == pytest.approx(series.std(ddof=1) / np.sqrt(250))
    assert result.t == pytest.approx(ttest_1samp(series, 0.0).statistic)


def test_lags_follow_the_formula() -> None:
    series = np.random.default_rng(1).normal(size=50)
    n, u = 50, series - series.mean()
    gamma = [u[lag:] @ u[: n - lag] / n for lag in range(3)]
    long_run = gamma[0] + 2 * (2 / 3 * gamma[1] + 1 / 3 * gamma[2])
    assert newey_west(series, 2).standard_error == pytest.approx(np.sqrt(long_run / (n - 1)))


def test_overlap_widens_the_error_to_what_the_mean_really_varies_by() -> None:
    rng = np.random.default_rng(2)
    overlapping = np.array([np.convolve(rng.normal(size=1009), np.ones(10) / 10, "valid") for _ in range(200)])
    spread = overlapping.mean(axis=1).std()
    plain = np.mean([newey_west(series, 0).standard_error for series in overlapping])
    corrected = np.mean([newey_west(series, 30).standard_error for series in overlapping])
    assert plain < 0.5 * spread
    assert corrected == pytest.approx(spread, rel=0.2)


def test_unknown_days_are_left_out() -> None:
    series = np.random.default_rng(0).normal(size=40)
    assert newey_west(np.append(series, np.nan), 3) == newey_west(series, 3)
    assert np.isnan(newey_west(series[:1], 0).t)
    assert np.isnan(newey_west(np.zeros(5), 1).t)


def test_lags_cover_the_overlap_of_the_label() -> None:
    assert automatic_lags(250, 1) == 4
    assert automatic_lags(250, 10) == 9
    with pytest.raises(ValueError, match="lags >= 0, got -1"):
        newey_west(np.zeros(5), -1)
