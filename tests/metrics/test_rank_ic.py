"""RankIC is scipy's and alphalens's Spearman correlation, day by day."""

import time

import numpy as np
import pandas as pd
import pytest
from alphalens.performance import factor_information_coefficient
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr

from atft_gat_fan.metrics.rank_ic import daily_rank_ic, icir, mean


def _panel(seed: int, days: int = 12, stocks: int = 30, levels: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """Scores and returns with many ties and holes."""
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, levels, (days, stocks)).astype(np.float32)
    returns = np.round(rng.normal(scale=0.02, size=(days, stocks)), 2)
    scores[rng.random(scores.shape) < 0.1] = np.nan
    returns[rng.random(returns.shape) < 0.1] = np.nan
    return scores, returns


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), levels=st.integers(2, 40))
def test_equals_spearman_with_ties_on_each_day(seed: int, levels: int) -> None:
    scores, returns = _panel(seed, levels=levels)
    for day, value in enumerate(daily_rank_ic(scores, returns)):
        valid = np.isfinite(scores[day]) & np.isfinite(returns[day])
        expected = spearmanr(scores[day, valid].astype(np.float64), returns[day, valid]).statistic
        assert value == pytest.approx(expected, abs=1e-14)


def test_equals_alphalens_on_a_panel() -> None:
    scores, returns = _panel(3, days=40)
    index = pd.MultiIndex.from_product([pd.date_range("2020-01-01", periods=40), range(30)], names=["date", "asset"])
    frame = pd.DataFrame(
        {"factor": scores.ravel().astype(float), "1D": returns.ravel(), "factor_quantile": 1}, index=index
    )
    expected = factor_information_coefficient(frame.dropna())["1D"].to_numpy()
    np.testing.assert_allclose(daily_rank_ic(scores, returns), expected, atol=1e-12)


def test_only_the_order_of_the_scores_counts() -> None:
    scores, returns = _panel(1, levels=1000)
    np.testing.assert_array_equal(daily_rank_ic(scores, returns), daily_rank_ic(np.exp(scores / 100) - 7, returns))
    np.testing.assert_allclose(daily_rank_ic(-scores, returns), -daily_rank_ic(scores, returns), atol=1e-15)


def test_a_constant_score_has_no_order_and_scores_zero() -> None:
    _, returns = _panel(2)
    np.testing.assert_array_equal(daily_rank_ic(np.full(returns.shape, 0.1, np.float32), returns), 0.0)


def test_days_that_cannot_be_ranked_are_unknown() -> None:
    scores = np.array([[1.0, 2.0, np.nan], [1.0, 2.0, 3.0], [1.0, np.inf, 3.0], [1.0, 2.0, 3.0]])
    returns = np.array([[0.1, 0.2, 0.3], [0.1, 0.1, 0.1], [0.1, 0.2, 0.3], [0.1, 0.2, 0.3]])
    np.testing.assert_array_equal(daily_rank_ic(scores, returns), [np.nan, np.nan, np.nan, 1.0])


def test_the_mask_removes_stocks() -> None:
    scores, returns = _panel(5)
    mask = np.random.default_rng(0).random(scores.shape) < 0.6
    np.testing.assert_array_equal(
        daily_rank_ic(scores, returns, mask), daily_rank_ic(np.where(mask, scores, np.nan), returns)
    )


def test_mean_and_icir_leave_unknown_days_out() -> None:
    daily = np.array([0.1, np.nan, 0.3])
    assert mean(daily) == pytest.approx(0.2)
    assert icir(daily) == pytest.approx(0.2 / np.std([0.1, 0.3], ddof=1))
    assert np.isnan(mean(daily[1:2]))
    assert np.isnan(icir(daily[:2]))
    assert np.isnan(icir(np.zeros(3)))


def test_a_year_of_a_thousand_stocks_takes_less_than_a_second() -> None:
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(250, 1000, 5)).astype(np.float32)
    returns = rng.normal(size=scores.shape)
    started = time.process_time()
    for horizon in range(5):
        daily_rank_ic(scores[..., horizon], returns[..., horizon])
    assert time.process_time() - started < 1.0
