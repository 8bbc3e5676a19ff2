"""The long-short book: an oracle earns what there is, costs are turnover times cost, and the future stays unseen."""

import numpy as np
import pytest

from atft_gat_fan.metrics.portfolio import (
    annualised_sharpe,
    common_groups,
    cumulative,
    drawdown,
    long_short,
    quantile_returns,
    score_groups,
)


@pytest.fixture
def returns() -> np.ndarray:
    return np.random.default_rng(0).normal(scale=0.02, size=(20, 40))


def _present(values: np.ndarray) -> np.ndarray:
    return np.ones(values.shape, dtype=bool)


def test_a_perfect_oracle_earns_the_extremes(returns: np.ndarray) -> None:
    book = long_short(returns, returns, _present(returns), num_quantiles=10, cost_bps=0.0)
    ordered = np.sort(returns, axis=1)
    np.testing.assert_allclose(book.gross, ordered[:, -4:].mean(axis=1) - ordered[:, :4].mean(axis=1))
    np.testing.assert_array_equal(book.net, book.gross)
    inverse = long_short(-returns, returns, _present(returns), num_quantiles=10, cost_bps=0.0)
    np.testing.assert_allclose(inverse.gross, -book.gross)


def test_constant_ranks_are_never_traded(returns: np.ndarray) -> None:
    scores = np.arange(40) * np.linspace(1, 2, 20)[:, None]
    book = long_short(scores, returns, _present(returns), num_quantiles=5, cost_bps=10.0)
    np.testing.assert_array_equal(book.turnover, 0.0)
    np.testing.assert_array_equal(book.net, book.gross)


def test_costs_are_turnover_times_cost(returns: np.ndarray) -> None:
    scores = np.random.default_rng(1).normal(size=returns.shape)
    book = long_short(scores, returns, _present(returns), num_quantiles=10, cost_bps=25.0)
    np.testing.assert_allclose(book.gross - book.net, book.turnover * 0.0025)
    assert (book.turnover[1:] > 0).all()


def test_swapping_the_legs_trades_the_whole_book(returns: np.ndarray) -> None:
    scores = np.stack([np.arange(40.0), -np.arange(40.0)])
    book = long_short(scores, returns[:2], _present(scores), num_quantiles=10, cost_bps=10.0)
    assert book.turnover[1] == pytest.approx(4.0)


def test_the_book_is_chosen_without_looking_at_returns(returns: np.ndarray) -> None:
    scores = np.tile(np.arange(40.0), (20, 1))
    hidden = returns.copy()
    hidden[:, 39] = np.nan  # the highest score: its return stays unknown, and nobody takes its place
    book = long_short(scores, hidden, _present(returns), num_quantiles=10, cost_bps=10.0)
    np.testing.assert_allclose(book.gross, returns[:, 36:39].mean(axis=1) - returns[:, :4].mean(axis=1))
    np.testing.assert_array_equal(book.turnover, 0.0)


def test_a_constant_score_holds_nothing_and_unknown_returns_stay_unknown(returns: np.ndarray) -> None:
    scores = np.zeros_like(returns)
    flat = long_short(scores, returns, _present(returns), num_quantiles=10, cost_bps=10.0)
    np.testing.assert_array_equal(flat.gross, 0.0)
    np.testing.assert_array_equal(flat.turnover, 0.0)
    unknown = long_short(returns, np.full_like(returns, np.nan), _present(returns), num_quantiles=10, cost_bps=10.0)
    assert np.isnan(unknown.gross).all()


@pytest.mark.parametrize(("stocks", "groups"), [(3, 0), (4, 2), (7, 3), (20, 10), (400, 10)])
def test_a_day_has_as_many_groups_as_leave_two_stocks_each(stocks: int, groups: int) -> None:
    scores = np.random.default_rng(0).normal(size=(1, stocks))
    assigned, num_groups = score_groups(scores, _present(scores), 10)
    assert num_groups[0] == groups
    counts = np.bincount(assigned[assigned >= 0], minlength=groups)
    assert len(counts) == groups
    assert (counts >= 2).all()


def test_absent_stocks_belong_to_no_group() -> None:
    scores = np.random.default_rng(0).normal(size=(3, 12))
    present = np.random.default_rng(1).random(scores.shape) < 0.7
    groups, _ = score_groups(scores, present, 3)
    np.testing.assert_array_equal(groups >= 0, present)


def test_quantile_returns_of_an_oracle_rise_and_average_to_the_market(returns: np.ndarray) -> None:
    table = quantile_returns(returns, returns, _present(returns), 8)
    assert table.shape == (20, 8)
    assert (np.diff(table, axis=1) > 0).all()
    np.testing.assert_allclose(table.mean(axis=1), returns.mean(axis=1))


def test_days_too_small_for_the_groups_are_unknown(returns: np.ndarray) -> None:
    present = _present(returns)
    present[0, 5:] = False
    table = quantile_returns(returns, returns, present, 8)
    assert np.isnan(table[0]).all()
    assert np.isfinite(table[1:]).all()


def test_common_groups_ignore_a_rare_small_day_but_not_many() -> None:
    present = np.ones((100, 40), dtype=bool)
    present[:4, 6:] = False
    assert common_groups(present, 10) == 10
    present[:6, 6:] = False
    assert common_groups(present, 10) == 3
    assert common_groups(present[:, :2], 10) == 2


def test_path_and_drawdown_in_closed_form() -> None:
    daily = np.array([0.02, -0.05, np.nan, 0.01, 0.1])
    np.testing.assert_allclose(cumulative(daily), [0.02, -0.03, -0.03, -0.02, 0.08])
    np.testing.assert_allclose(drawdown(daily), [0.0, -0.05, -0.05, -0.04, 0.0])
    np.testing.assert_allclose(drawdown(np.array([-0.01])), [-0.01])


def test_sharpe_is_annualised_with_252_days() -> None:
    daily = np.array([0.01, np.nan, 0.03])
    assert annualised_sharpe(daily) == pytest.approx(0.02 / np.std([0.01, 0.03], ddof=1) * np.sqrt(252))
    assert np.isnan(annualised_sharpe(np.zeros(5)))
