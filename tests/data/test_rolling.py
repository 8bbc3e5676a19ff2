"""Trailing windows against numpy, window by window."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy import ndarray

from atft_gat_fan.data.rolling import (
    min_samples,
    rolling_correlation,
    rolling_max,
    rolling_mean,
    rolling_min,
    rolling_slope,
    rolling_std,
)

ONE = {rolling_mean: np.mean, rolling_max: np.max, rolling_min: np.min, rolling_std: np.std}
TWO = {
    rolling_correlation: lambda x, y: np.corrcoef(x, y)[0, 1],
    rolling_slope: lambda y, x: np.polyfit(x, y, 1)[0],
}


def series(seed: int, size: int, missing: float = 0.2) -> ndarray:
    rng = np.random.default_rng(seed)
    values = rng.normal(1.0, 0.5, size)
    values[rng.random(size) < missing] = np.nan
    return values


def windows(function: Callable[..., float], window: int, *arrays: ndarray) -> ndarray:
    results = np.full(len(arrays[0]), np.nan)
    for end in range(len(results)):
        parts = np.stack([array[max(end - window + 1, 0) : end + 1] for array in arrays])
        known = parts[:, np.isfinite(parts).all(axis=0)]
        if known.shape[1] >= min_samples(window):
            results[end] = function(*known)
    return results


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 1000), window=st.integers(3, 60), size=st.integers(70, 120))
def test_each_window_is_what_numpy_makes_of_it(seed: int, window: int, size: int) -> None:
    x, y = series(seed, size), series(seed + 1, size)
    for rolling, oracle in ONE.items():
        np.testing.assert_allclose(rolling(x, window), windows(oracle, window, x), rtol=1e-10, err_msg=rolling.__name__)
    for rolling, oracle in TWO.items():
        expected = windows(oracle, window, x, y)
        np.testing.assert_allclose(rolling(x, y, window), expected, rtol=1e-8, atol=1e-10, err_msg=rolling.__name__)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 1000), window=st.integers(2, 60), before=st.integers(1, 50))
def test_the_past_beyond_the_window_leaves_no_trace(seed: int, window: int, before: int) -> None:
    values = series(seed, 100)
    # Large values are what a running sum would carry along.
    longer = np.concatenate([1e9 * series(seed + 1, before), values])
    for rolling in (*ONE, lambda v, w: rolling_correlation(v, v * v, w)):
        tail = rolling(values, window)[window - 1 :]
        np.testing.assert_array_equal(rolling(longer, window)[before + window - 1 :], tail)


@pytest.mark.parametrize("constant", [0.1, 1e6 + 0.1, 3.7e-5])
def test_what_does_not_vary_has_no_deviation_and_no_correlation(constant: float) -> None:
    values = np.full(80, constant)
    assert (rolling_std(values, 20)[19:] == 0).all()
    assert np.isnan(rolling_correlation(values, series(0, 80, missing=0), 20)).all()
    assert np.isnan(rolling_slope(series(0, 80, missing=0), values, 20)).all()


def test_too_few_values_are_no_statistic() -> None:
    values = np.array([np.nan, 1.0, 2.0, np.nan, 3.0, np.nan])
    assert min_samples(4) == 3
    np.testing.assert_array_equal(rolling_mean(values, 4), [np.nan] * 4 + [2.0, np.nan])
