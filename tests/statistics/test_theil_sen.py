"""The trend is the median of pairwise slopes, and outliers do not make one."""

from itertools import combinations

import numpy as np
import pytest

from atft_gat_fan.statistics.theil_sen import trend


def test_the_slope_is_the_median_of_all_pairs() -> None:
    rng = np.random.default_rng(0)
    times, values = np.cumsum(rng.random(12)), rng.standard_normal(12)
    slopes = [(values[j] - values[i]) / (times[j] - times[i]) for i, j in combinations(range(12), 2)]
    found = trend(times, values)
    assert found.slope == pytest.approx(np.median(slopes))
    assert found.low <= found.slope <= found.high


def test_one_wild_reading_changes_little_and_a_perfect_order_is_no_chance() -> None:
    times = np.arange(15.0)
    values = 1 + 0.01 * times
    spoilt = values.copy()
    spoilt[7] = 50.0
    assert trend(times, spoilt).slope == pytest.approx(0.01, rel=0.1)
    assert trend(times, values).p < 1e-6
    assert trend(times, values[::-1]).p > 0.99


def test_where_there_is_no_trend_to_know_nothing_is_made_up() -> None:
    assert np.isnan(trend(np.arange(4.0), np.arange(4.0)).slope)
    assert np.isnan(trend(np.zeros(9), np.arange(9.0)).slope)
    assert np.isnan(trend(np.arange(6.0), np.array([1, 2, 3, np.nan, np.nan, 4.0])).slope)
    flat = trend(np.arange(9.0), np.ones(9))
    assert (flat.slope, flat.p) == (0.0, 1.0)
    with pytest.raises(ValueError, match="9 times and 8 values"):
        trend(np.arange(9.0), np.arange(8.0))
