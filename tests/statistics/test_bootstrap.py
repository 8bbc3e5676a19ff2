"""The stationary bootstrap covers the mean of dependent days, and repeats itself for the same seed."""

import numpy as np
import pytest

from atft_gat_fan.statistics.bootstrap import mean_block_length, mean_interval, stationary_indices


def test_the_seed_decides_the_interval() -> None:
    series = np.random.default_rng(0).normal(size=200)
    first = mean_interval(series, block_length=10, seed=4)
    assert first == mean_interval(series, block_length=10, seed=4)
    assert first != mean_interval(series, block_length=10, seed=5)
    assert first.low < first.mean < first.high


def test_global_random_state_is_left_alone() -> None:
    np.random.seed(0)
    before = np.random.get_state()[1].tolist()
    mean_interval(np.arange(50.0), block_length=10, seed=4)
    assert np.random.get_state()[1].tolist() == before


def test_the_interval_covers_the_mean_of_correlated_days() -> None:
    rng = np.random.default_rng(1)
    covered = []
    for _ in range(80):
        noise = rng.normal(size=400)
        series = np.zeros(400)
        for day in range(1, 400):
            series[day] = 0.5 * series[day - 1] + noise[day]
        interval = mean_interval(series + 3, block_length=20, seed=0, num_resamples=300)
        covered.append(interval.low <= 3 <= interval.high)
    # 95 % nominal; independent resampling (blocks of one day) covers about 73 % here.
    assert 0.85 <= np.mean(covered) <= 1.0


def test_the_level_widens_the_interval() -> None:
    series = np.random.default_rng(0).normal(size=200)
    narrow = mean_interval(series, block_length=10, seed=0, level=0.5)
    wide = mean_interval(series, block_length=10, seed=0, level=0.99)
    assert wide.low < narrow.low < narrow.high < wide.high


def test_too_few_days_carry_no_interval() -> None:
    interval = mean_interval(np.append(np.arange(9.0), np.nan), block_length=10, seed=0)
    assert interval.mean == pytest.approx(4.0)
    assert np.isnan(interval.low)
    assert np.isnan(interval.high)


def test_blocks_are_longer_than_the_overlap() -> None:
    assert [mean_block_length(horizon) for horizon in (1, 5, 10, 20)] == [10, 10, 20, 40]


def test_resampled_means_vary_as_the_closed_form_of_the_stationary_bootstrap_says() -> None:
    n, block_length = 60, 8
    series = np.random.default_rng(2).normal(size=n).cumsum()
    indices = stationary_indices(n, block_length=block_length, num_resamples=20_000, rng=np.random.default_rng(0))
    deviation, lags = series - series.mean(), np.arange(1, n)
    covariances = np.array([deviation @ np.roll(deviation, -lag) / n for lag in range(n)])
    # Politis and Romano 1994, lemma 1, with circular autocovariances.
    expected = covariances[0] + 2 * ((1 - lags / n) * (1 - 1 / block_length) ** lags) @ covariances[1:]
    assert series[indices].mean(axis=1).var() * n == pytest.approx(expected, rel=0.05)


def test_blocks_are_of_the_mean_length_asked_for_and_every_day_is_as_likely() -> None:
    indices = stationary_indices(50, block_length=5, num_resamples=20_000, rng=np.random.default_rng(0))
    follows = np.diff(indices, axis=1) % 50 == 1
    assert follows.mean() == pytest.approx(1 - 1 / 5 + 1 / (5 * 50), abs=0.002)
    np.testing.assert_allclose(np.bincount(indices.ravel(), minlength=50) / indices.size, 1 / 50, rtol=0.05)
