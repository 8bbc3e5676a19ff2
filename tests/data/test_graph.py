from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from atft_gat_fan.config.schema import GraphConfig
from atft_gat_fan.data.graph import Graph, build_graph, refresh_days
from atft_gat_fan.types import Neighbours

NUM_DAYS, NUM_STOCKS = 120, 24
CONFIG = GraphConfig(lookback=30, min_periods=15, num_neighbours=5, threshold=0.3)


def trading_days(num_days: int, start: str = "2020-01-01") -> np.ndarray:
    return np.busday_offset(start, np.arange(num_days), roll="forward").astype("datetime64[D]")


def sector_returns(num_days: int = NUM_DAYS, num_stocks: int = NUM_STOCKS, *, missing: float = 0.1, own: float = 0.8):
    """Returns of stocks in three sectors that move together, and the sectors; the last stock is listed late."""
    rng = np.random.default_rng(0)
    sector = np.arange(num_stocks) % 3
    returns = 0.01 * (rng.normal(size=(num_days, 3))[:, sector] + own * rng.standard_t(5, (num_days, num_stocks)))
    returns[rng.random(returns.shape) < missing] = np.nan
    returns[: num_days // 2, -1] = np.nan
    return returns.astype(np.float32), sector.astype(np.int64) + 1


@dataclass(frozen=True)
class Panel:
    """A graph, and who was there."""

    graph: Graph
    present: np.ndarray

    def at(self, days: np.ndarray, stocks: np.ndarray | None = None) -> Neighbours:
        stocks = np.arange(self.present.shape[1]) if stocks is None else stocks
        return self.graph.at(days, stocks, self.present[np.ix_(days, stocks)])


def build(returns, days, static, config, present=None) -> Panel:
    present = ~np.isnan(returns) if present is None else present
    return Panel(build_graph(returns, days, static, config, present=present), present)


def lists(graph: Panel, day: int, stocks: np.ndarray | None = None) -> list[dict[int, float]]:
    """Per stock its neighbours and their correlation, without itself."""
    found = graph.at(np.array([day]), stocks)
    rows = zip(found.index[0], found.mask[0], found.edge[0, :, :, 0], strict=True)
    return [dict(zip(i[m][1:].tolist(), e[m][1:].tolist(), strict=True)) for i, m, e in rows]


def is_same(graph: Panel, other: Panel, day: int) -> bool:
    left, right = graph.at(np.array([day])), other.at(np.array([day]))
    return all(torch.equal(getattr(left, name), getattr(right, name)) for name in ("index", "mask", "edge"))


def plain_lists(returns: np.ndarray, start: int, day: int, config: GraphConfig) -> list[dict[int, float]]:
    """The definition, with pandas: lists made on day `start`, as of `day`; a stock is present where it has a return."""
    window = pd.DataFrame(returns[max(0, start - config.lookback + 1) : start + 1].astype(np.float64))
    shrunk = window.corr(min_periods=config.min_periods) * (1 - config.shrinkage)
    at_start, today = (set(np.flatnonzero(~np.isnan(returns[d]))) for d in (start, day))
    found = []
    for stock in range(returns.shape[1]):
        others = shrunk[stock].drop(stock)
        others = others[(others.abs() >= config.threshold) & others.index.isin(at_start)]
        strongest = others[others.abs().sort_values(ascending=False).index][: config.num_neighbours - 1]
        here = stock in at_start & today
        found.append({other: value for other, value in strongest.items() if here and other in today})
    return found


@pytest.mark.parametrize("config", [CONFIG, GraphConfig(), CONFIG.model_copy(update={"threshold": 0.0})])
@pytest.mark.parametrize("missing", [0.0, 0.1])
def test_lists_are_those_of_the_plain_definition(config, missing):
    returns, static = sector_returns(missing=missing)
    days = trading_days(NUM_DAYS)
    graph = build(returns, days, static, config)
    starts = refresh_days(days, config.refresh_days)
    num_edges = 0
    for day in range(0, NUM_DAYS, 3):
        expected = plain_lists(returns, starts[starts <= day][-1], day, config)
        for found, plain in zip(lists(graph, day), expected, strict=True):
            assert list(found) == list(plain), "neighbours, strongest first"
            assert found == pytest.approx(plain, abs=1e-6)
            num_edges += len(found)
    assert num_edges > 100


def test_slot_0_is_the_stock_itself_and_padding_repeats_it():
    returns, static = sector_returns()
    static[:12:3] = 0  # unknown: in nobody's sector
    graph = build(returns, trading_days(NUM_DAYS), static, CONFIG)
    found = graph.at(np.arange(NUM_DAYS))
    own = torch.arange(NUM_STOCKS)[:, None].expand_as(found.index)
    assert torch.equal(found.index[..., 0], own[..., 0].expand(NUM_DAYS, -1))
    assert found.mask[..., 0].all()
    assert (found.edge[..., 0, :] == 1).all()
    assert torch.equal(found.index[~found.mask], own.expand_as(found.index)[~found.mask])
    assert (found.edge[~found.mask] == 0).all()
    assert not found.mask[..., 1:].all()
    assert found.mask[..., 1:].any()
    sector = torch.from_numpy(static)
    same_sector = (sector[found.index] == sector[own]) & (sector[own] > 0)
    edges = found.mask.clone()
    edges[..., 0] = False
    assert torch.equal(found.edge[..., 1][edges], same_sector[edges].float())
    assert 0 < same_sector[edges].sum() < edges.sum()


@settings(max_examples=15, deadline=None)
@given(day=st.integers(20, NUM_DAYS - 2), seed=st.integers(0, 1000), same_sector=st.booleans())
def test_what_happens_after_a_day_leaves_the_graph_up_to_it_as_it_was(day, seed, same_sector):
    config = CONFIG.model_copy(update={"same_sector": same_sector})
    returns, static = sector_returns()
    rng = np.random.default_rng(seed)
    present = ~np.isnan(returns)
    later, later_present = returns.copy(), present.copy()
    later[day + 1 :] = rng.choice([np.nan, 0.0, 0.5, -0.3], later[day + 1 :].shape)
    later_present[day + 1 :] = rng.random(later[day + 1 :].shape) < 0.5
    before = build(returns, trading_days(NUM_DAYS), static, config, present=present)
    after = build(later, trading_days(NUM_DAYS), static, config, present=later_present)
    assert all(is_same(before, after, t) for t in range(day + 1))
    assert not is_same(before, after, NUM_DAYS - 1)


def test_independent_noise_has_hardly_any_neighbours():
    rng = np.random.default_rng(0)
    returns = rng.standard_t(5, (260, 100)).astype(np.float32)
    graph = build(returns, trading_days(260), np.zeros(100, np.int64), GraphConfig())
    edges = graph.at(np.arange(60, 260)).mask[..., 1:]
    assert edges.float().mean() < 0.01
    assert edges.sum(-1).float().mean() < 0.1


def test_stocks_that_move_together_find_each_other():
    returns, sector = sector_returns(200, 30, missing=0.0, own=0.4)
    graph = build(returns, trading_days(200), np.zeros(30, np.int64), GraphConfig(num_neighbours=6))
    for stock, found in enumerate(lists(graph, 99)[:-1]):
        assert len(found) == 5
        assert all(sector[other] == sector[stock] for other in found)


def test_stocks_that_are_absent_have_themselves_alone_and_are_nobodys_neighbour():
    returns, static = sector_returns(missing=0.0)
    present = np.ones(returns.shape, bool)
    days = trading_days(NUM_DAYS)
    refresh = int(refresh_days(days, CONFIG.refresh_days)[12])
    present[refresh + 1, 4] = False  # absent between two refreshes
    present[refresh, 7] = False  # absent on the very day of the refresh
    graph = build(returns, days, static, CONFIG, present=present)
    for day, absent in ((refresh + 1, 4), (refresh, 7), (refresh + 1, 7)):
        found = lists(graph, day)
        assert found[absent] == {}
        assert not any(absent in others for others in found)
    assert any(4 in others for others in lists(graph, refresh))


def test_permuting_the_stocks_permutes_the_graph():
    returns, static = sector_returns()
    order = np.random.default_rng(1).permutation(NUM_STOCKS)
    days = trading_days(NUM_DAYS)
    graph, permuted = (build(r, days, s, CONFIG) for r, s in ((returns, static), (returns[:, order], static[order])))
    for day in (40, 77, 119):
        original = lists(graph, day)
        for place, found in enumerate(lists(permuted, day)):
            renamed = {int(order[other]): value for other, value in found.items()}
            assert renamed == pytest.approx(original[order[place]], abs=1e-6)


def test_ties_go_to_the_first_stock():
    rng = np.random.default_rng(0)
    returns = np.repeat(rng.normal(size=(60, 1)), 6, axis=1).astype(np.float32)
    config = GraphConfig(lookback=30, min_periods=15, num_neighbours=3)
    graph = build(returns, trading_days(60), np.zeros(6, np.int64), config)
    assert [list(found) for found in lists(graph, 59)] == [[1, 2], [0, 2], [0, 1], [0, 1], [0, 1], [0, 1]]


def test_same_sector_fills_the_slots_that_are_left():
    returns, static = sector_returns()
    static[[5, 8, 11]] = 0  # unknown: in nobody's sector
    config = CONFIG.model_copy(update={"threshold": 0.62, "num_neighbours": 7})
    days = trading_days(NUM_DAYS)
    plain, filled = (
        build(returns, days, static, config.model_copy(update={"same_sector": fill})) for fill in (False, True)
    )
    for day in refresh_days(days, config.refresh_days):
        present = ~np.isnan(returns[day])
        for stock, (fewer, more) in enumerate(zip(lists(plain, day), lists(filled, day), strict=True)):
            assert list(more)[: len(fewer)] == list(fewer), "correlated neighbours come first"
            candidates = set(np.flatnonzero(present & (static == static[stock]) & (static > 0))) - {stock, *fewer}
            added = set(more) - set(fewer)
            assert added <= candidates
            assert len(added) == (min(6 - len(fewer), len(candidates)) if present[stock] else 0)
    assert any(lists(plain, 100))


def test_a_subset_of_the_stocks_keeps_the_neighbours_among_it():
    returns, static = sector_returns()
    graph = build(returns, trading_days(NUM_DAYS), static, CONFIG)
    stocks = np.array([0, 3, 4, 6, 9, 10, 15, 21, 23])
    num_lost = 0
    for day in (50, 119):
        whole, part = lists(graph, day), lists(graph, day, stocks)
        assert len(part) == len(stocks)
        for place, stock in enumerate(stocks):
            kept = {other: value for other, value in whole[stock].items() if other in stocks}
            assert {int(stocks[other]): value for other, value in part[place].items()} == kept
            num_lost += len(whole[stock]) - len(kept)
    assert num_lost > 0


def test_refreshes_depend_on_dates_not_on_where_the_panel_begins():
    days = trading_days(NUM_DAYS)
    starts = refresh_days(days, 5)
    assert_array_equal(np.diff(starts)[1:-1], 5)
    returns, static = sector_returns()
    graph = build(returns, days, static, CONFIG)
    for begin in (1, 3, 33):
        assert set(days[begin:][refresh_days(days[begin:], 5)][1:]) <= set(days[starts])
        later = build(returns[begin:], days[begin:], static, CONFIG)
        for day in range(begin + CONFIG.lookback + 4, NUM_DAYS):
            assert lists(graph, day) == lists(later, day - begin)


def test_refreshes_follow_weekdays_through_holidays():
    days = np.delete(trading_days(40), [7, 8, 9, 21])
    starts = refresh_days(days, 5)
    elapsed = np.busday_count("1970-01-01", days)
    assert starts[0] == 0
    assert_array_equal(np.isin(np.arange(1, 36), starts), elapsed[1:] // 5 != elapsed[:-1] // 5)


def test_recent_days_count_more_with_a_half_life():
    rng = np.random.default_rng(0)
    common, own = rng.normal(size=(60, 1)), rng.normal(size=(60, 2))
    returns = np.where(np.arange(60)[:, None] < 45, own, common + 0.3 * own).astype(np.float32)
    config = GraphConfig(threshold=0.0, refresh_days=1)
    strength = [
        lists(build(returns, trading_days(60), np.zeros(2, np.int64), c), 59)[0][1]
        for c in (config, config.model_copy(update={"halflife": 8.0}))
    ]
    assert strength[1] > strength[0] + 0.2
