"""Newey-West: the plain t-statistic without lags, wider on positively correlated days."""

import numpy as np
import pytest
from scipy.stats import t as student_t
from scipy.stats import ttest_1samp

from atft_gat_fan.statistics.hac import automatic_lags, bartlett_variance_of_mean, diebold_mariano, newey_west


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


@pytest.mark.parametrize("lags", [0, 1, 4, 30, 200])
def test_the_variance_of_many_series_at_once_is_that_of_each_from_its_autocovariances(lags: int) -> None:
    series = np.random.default_rng(3).normal(size=(3, 40)).cumsum(axis=1)
    expected = []
    for deviation in series - series.mean(axis=1, keepdims=True):
        products = [deviation[lag:] @ deviation[: 40 - lag] for lag in range(40)]
        weights = np.maximum(0, 1 - np.arange(40) / (lags + 1))
        expected.append((products[0] + 2 * weights[1:] @ products[1:]) / (40 * 39))
    np.testing.assert_allclose(bartlett_variance_of_mean(series, lags), expected, rtol=1e-10)


def test_diebold_mariano_of_one_day_is_the_t_test() -> None:
    series = np.random.default_rng(0).normal(0.02, 0.1, 250)
    reference = ttest_1samp(series, 0.0)
    result = diebold_mariano(np.append(series, np.nan), 1)
    assert (result.statistic, result.p) == pytest.approx((reference.statistic, reference.pvalue))


def test_diebold_mariano_follows_the_formula_of_its_correction() -> None:
    series, h, n = np.random.default_rng(1).normal(0.3, 1.0, 60).cumsum()[::3] / 5, 2, 20
    u = series - series.mean()
    variance = (u @ u + 2 * u[1:] @ u[:-1]) / n**2
    corrected = series.mean() / np.sqrt(variance) * np.sqrt((n + 1 - 2 * h + h * (h - 1) / n) / n)
    result = diebold_mariano(series, h)
    assert result.statistic == pytest.approx(corrected)
    assert result.p == pytest.approx(2 * student_t.sf(abs(corrected), n - 1))
    mirrored = diebold_mariano(-series, h)
    assert (mirrored.statistic, mirrored.p) == pytest.approx((-result.statistic, result.p))


def test_diebold_mariano_survives_a_variance_below_zero_and_too_few_days() -> None:
    alternating = 0.01 + np.resize([1.0, -1.0], 41)
    assert np.isfinite(diebold_mariano(alternating, 2).p)
    assert np.isnan(diebold_mariano(alternating[:4], 2).p)
    assert np.isnan(diebold_mariano(np.ones(30), 2).p)
    with pytest.raises(ValueError, match="horizon >= 1, got 0"):
        diebold_mariano(alternating, 0)
