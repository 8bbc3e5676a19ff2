import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal

from atft_gat_fan.config.schema import GraphConfig
from atft_gat_fan.data import correlation
from atft_gat_fan.data.neighbour_lists import NeighbourLists, neighbour_lists


def factor_returns(num_stocks: int, missing: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Sixty days of stocks in ten sectors; half of them have days without a return."""
    rng = np.random.default_rng(seed)
    sector = rng.integers(0, 10, num_stocks)
    returns = 0.01 * (rng.normal(size=(60, 10))[:, sector] + 0.9 * rng.standard_t(5, (60, num_stocks)))
    returns[(rng.random(returns.shape) < missing) & (np.arange(num_stocks) % 2 == 0)] = np.nan
    return returns.astype(np.float32), sector


def assert_same(one: NeighbourLists, other: NeighbourLists) -> None:
    assert_array_equal(one.index, other.index)
    assert_array_equal(one.correlation, other.correlation)


@pytest.mark.parametrize("missing", [0.0, 0.05])
@pytest.mark.parametrize("config", [GraphConfig(), GraphConfig(same_sector=True, threshold=0.7, halflife=20.0)])
def test_chunks_and_threads_change_no_list(
    missing: float, config: GraphConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    returns, sector = factor_returns(700, missing)
    before = torch.get_num_threads()
    found = []
    try:
        for threads, chunk_numbers in ((1, 2**17), (3, 2**17), (2, 2**14), (1, 2**30)):
            torch.set_num_threads(threads)
            monkeypatch.setattr(correlation, "CHUNK_NUMBERS", chunk_numbers)
            found.append(neighbour_lists(returns, sector, config))
    finally:
        torch.set_num_threads(before)
    assert (found[0].index >= 0).mean() > 0.3
    for other in found[1:]:
        assert_same(other, found[0])


def test_gaps_of_some_stocks_leave_the_lists_of_the_others_as_they_are() -> None:
    returns, sector = factor_returns(200, 0.0)
    returns[:30, 150:] = np.nan  # too few days to be anybody's neighbours
    returns[::7, 120:150] = np.nan  # neighbours with gaps
    found = neighbour_lists(returns, sector, GraphConfig())
    alone = neighbour_lists(returns[:, :150], sector[:150], GraphConfig())
    assert_array_equal(found.index[:150], alone.index)
    assert_array_equal(found.correlation[:150], alone.correlation)
    assert (alone.index >= 120).any()


def test_a_stock_without_enough_days_has_no_neighbours_and_is_nobodys() -> None:
    returns, sector = factor_returns(50, 0.0)
    returns[:30, 7] = np.nan
    lists = neighbour_lists(returns, sector, GraphConfig(min_periods=40))
    assert (lists.index[7] == -1).all()
    assert not (lists.index == 7).any()
    assert (lists.index >= 0).any()


def test_equal_strengths_in_masses_go_to_the_first() -> None:
    returns = np.repeat(factor_returns(1, 0.0)[0], 600, axis=1)
    lists = neighbour_lists(returns, np.zeros(600, np.int64), GraphConfig(num_neighbours=4))
    assert_array_equal(lists.index[3:], np.tile([0, 1, 2], (597, 1)))
    assert_array_equal(lists.index[:3], [[1, 2, 3], [0, 2, 3], [0, 1, 3]])
