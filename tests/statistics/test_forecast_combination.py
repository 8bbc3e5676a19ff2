"""Weights stay at one half until the days speak against it, and then move no farther than they must."""

import numpy as np
import pytest
from scipy.stats import rankdata

from atft_gat_fan.metrics.rank_ic import daily_rank_ic
from atft_gat_fan.statistics.forecast_combination import choose_weight
from atft_gat_fan.statistics.hac import automatic_lags, newey_west
from atft_gat_fan.statistics.rank_combination import ChosenWeight, combined_ranks, scaled_ranks, weight_grid

GRID = weight_grid(11)
NUM_DAYS, NUM_STOCKS = 250, 60


def daily_of(one: float, other: float, *, seed: int = 0, num_days: int = NUM_DAYS) -> np.ndarray:
    """RankIC [grid, days] of two rankings that hold their own parts of the returns, of these strengths."""
    rng = np.random.default_rng(seed)
    parts = rng.normal(size=(2, num_days, NUM_STOCKS, 1))
    returns = one * parts[0] + other * parts[1] + rng.normal(size=(num_days, NUM_STOCKS, 1))
    ranks = [rankdata(part[..., 0], axis=1) for part in parts]
    return np.stack([daily_rank_ic(w * ranks[0] + (1 - w) * ranks[1], returns[..., 0]) for w in GRID])


def chosen(daily: np.ndarray, **changes: int) -> ChosenWeight:
    return choose_weight(daily, GRID, changes.pop("horizon", 1), seed=3, **changes)


@pytest.fixture(scope="module")
def only_the_first() -> np.ndarray:
    return daily_of(0.3, 0.0)


def test_ranks_are_from_0_to_1_and_share_ties() -> None:
    scores = np.array([[3.0, 1], [1, 1], [1, 1], [-5, 2]])
    np.testing.assert_allclose(scaled_ranks(scores), [[1, 1 / 3], [0.5, 1 / 3], [0.5, 1 / 3], [0, 1]], rtol=1e-6)
    np.testing.assert_array_equal(scaled_ranks(np.exp(scores)), scaled_ranks(scores))
    np.testing.assert_array_equal(scaled_ranks(scores[:1]), [[0.5, 0.5]])
    assert scaled_ranks(scores[:0]).shape == (0, 2)


def test_a_weight_of_one_or_none_is_a_ranking_alone() -> None:
    rng = np.random.default_rng(0)
    one, other = (scaled_ranks(rng.normal(size=(20, 3))) for _ in range(2))
    np.testing.assert_array_equal(combined_ranks(one, other, np.ones(3)), one)
    np.testing.assert_array_equal(combined_ranks(one, other, np.zeros(3)), other)
    mixed = combined_ranks(one, other, np.array([1.0, 0.0, 0.5]))
    np.testing.assert_array_equal(mixed[:, :2], np.stack([one[:, 0], other[:, 1]], axis=1))


@pytest.mark.parametrize("seed", range(4))
def test_parts_of_like_strength_stay_at_one_half(seed: int) -> None:
    assert chosen(daily_of(0.15, 0.15, seed=seed)).weight == 0.5


def test_rankings_of_nothing_but_noise_seldom_leave_one_half() -> None:
    """The rule tolerates one standard error, so of many it may leave at times: no farther than the noise asks for."""
    weights = [chosen(daily_of(0.0, 0.0, seed=seed), num_resamples=10).weight for seed in range(20)]
    assert sum(weight == 0.5 for weight in weights) >= 8
    assert abs(float(np.mean(weights)) - 0.5) < 0.1


def test_the_weight_goes_to_the_one_that_ranks(only_the_first: np.ndarray) -> None:
    found = chosen(only_the_first)
    assert found.weight >= 0.8
    assert found.best >= found.weight
    assert 0.5 < found.low <= found.weight <= found.high <= 1


def test_of_the_weights_within_one_standard_error_it_is_the_nearest_to_one_half(only_the_first: np.ndarray) -> None:
    """The oracle asks Newey and West about each weight by itself."""
    for horizon, daily in ((1, only_the_first), (5, daily_of(0.12, 0.05, seed=1)), (1, daily_of(0.05, 0.2, seed=2))):
        best = daily.mean(axis=1).argmax()
        lags = automatic_lags(NUM_DAYS, horizon)
        within = []
        for place in range(len(GRID)):
            behind = newey_west(daily[best] - daily[place], lags)
            if place == best or behind.mean <= behind.standard_error:
                within.append(GRID[place])
        nearest = min(abs(weight - 0.5) for weight in within)
        assert abs(chosen(daily, horizon=horizon).weight - 0.5) == pytest.approx(nearest)


def test_the_other_way_round_it_is_the_rest(only_the_first: np.ndarray) -> None:
    for daily in (only_the_first, daily_of(0.12, 0.05, seed=1)):
        forth, back = chosen(daily), chosen(daily[::-1])
        assert back.weight == pytest.approx(1 - forth.weight)
        assert (back.low, back.high) == pytest.approx((1 - forth.high, 1 - forth.low))


def test_fewer_days_know_less() -> None:
    daily = daily_of(0.2, 0.05, num_days=500)
    many, few = chosen(daily), chosen(daily[:, :40])
    assert few.high - few.low > many.high - many.low
    assert (few.num_days, many.num_days) == (40, 500)


def test_without_days_it_is_one_half_and_nothing_else_is_known() -> None:
    daily = daily_of(0.3, 0.0, num_days=12)
    daily[:, 3:] = np.nan
    found = chosen(daily)
    assert (found.weight, found.num_days) == (0.5, 3)
    assert np.isnan([found.low, found.high, found.best, *found.means]).all()
    assert chosen(np.full((11, 0), np.nan)).weight == 0.5


def test_days_unknown_under_any_weight_are_left_out(only_the_first: np.ndarray) -> None:
    holes = np.insert(only_the_first, [5, 80], np.nan, axis=1)
    holes[0, 5] = 0.9  # known under one weight alone
    np.testing.assert_equal(vars(chosen(holes)), vars(chosen(only_the_first)))


def test_days_without_differences_are_no_evidence() -> None:
    found = chosen(np.full((11, 50), 0.02))
    assert (found.weight, found.low, found.high) == (0.5, 0.5, 0.5)


@pytest.mark.parametrize("size", [1, 2, 10])
def test_one_half_is_on_the_grid(size: int) -> None:
    with pytest.raises(ValueError, match="odd number"):
        weight_grid(size)
