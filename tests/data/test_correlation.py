import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

from atft_gat_fan.data.correlation import PairwiseCorrelation

DAYS = 30


def pairwise_correlation(values: np.ndarray, weights: np.ndarray, min_periods: int) -> np.ndarray:
    """The matrix, put together from its chunks."""
    correlation = PairwiseCorrelation(values, weights, min_periods)
    matrix = np.full((values.shape[1],) * 2, np.inf)
    for rows in correlation.chunks():
        matrix[rows] = correlation.rows(rows)
    return matrix


def random_returns(missing: float, num_stocks: int = 8, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    values = (0.01 * (rng.normal(size=(DAYS, 1)) + rng.standard_t(4, (DAYS, num_stocks))) + 0.002).astype(np.float32)
    values[rng.random(values.shape) < missing] = np.nan
    return values


@pytest.mark.parametrize("missing", [0.0, 0.05, 0.5])
@pytest.mark.parametrize("min_periods", [3, 15, 31])
def test_equal_weights_are_pandas_pairwise_complete_correlation(missing, min_periods):
    values = random_returns(missing)
    expected = pd.DataFrame(values.astype(np.float64)).corr(min_periods=min_periods).to_numpy()
    assert_allclose(pairwise_correlation(values, np.ones(DAYS), min_periods), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_weights_count_as_in_the_plain_definition(missing):
    values, weights = random_returns(missing), 0.5 ** (np.arange(DAYS)[::-1] / 7.0)
    found = pairwise_correlation(values, weights, 3)
    for i in range(values.shape[1]):
        for j in range(values.shape[1]):
            common = ~np.isnan(values[:, i] + values[:, j])
            covariance = np.cov(values[common][:, [i, j]].astype(np.float64), rowvar=False, aweights=weights[common])
            expected = covariance[0, 1] / np.sqrt(covariance[0, 0] * covariance[1, 1])
            assert_allclose(found[i, j], expected, atol=1e-12)


@pytest.mark.parametrize("missing", [0.0, 0.3])
@pytest.mark.parametrize("weights", [np.ones(DAYS), 0.5 ** (np.arange(DAYS) / 3.3)])
def test_a_series_that_does_not_vary_correlates_with_nothing(missing, weights):
    values = random_returns(missing, 60)
    levels = np.random.default_rng(1).normal(size=41).astype(np.float32)
    values[:, :41] = np.where(np.isnan(values[:, :41]), np.nan, levels)
    if missing:
        values[:, 40] = np.nan
    found = pairwise_correlation(values, weights, 3)
    assert np.isnan(found[:41]).all()
    assert np.isnan(found[:, :41]).all()
    assert np.isfinite(found[41:, 41:]).all()


def test_a_series_that_varies_only_where_the_other_is_unknown_correlates_with_it_no_more():
    values = random_returns(0.0, 60)
    values[:20, :40] = np.random.default_rng(1).normal(size=40)
    values[20:, 40] = np.nan
    found = pairwise_correlation(values, np.ones(DAYS), 3)
    assert np.isnan(found[40, :40]).all()
    assert np.isnan(found[:40, 40]).all()
    assert np.isfinite(found[:40, 41:]).all()
