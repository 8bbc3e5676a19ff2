"""Who moves with whom, as of each day: neighbours by correlation of past returns alone."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float32, Int32, Int64, Shaped

from atft_gat_fan.config.schema import GraphConfig
from atft_gat_fan.data.correlation import pairwise_correlation
from atft_gat_fan.types import NUM_EDGE_FEATURES, Neighbours

EPOCH = np.datetime64("1970-01-01", "D")


@dataclass(frozen=True, eq=False)
class Graph:
    """Neighbour lists of R refreshes, and which of them holds on each of T days. Stocks are positions in a store.

    A slot that repeats its own stock is padding, except slot 0, the self-loop. Correlations are shrunk.
    """

    index: Int32[np.ndarray, "refreshes stocks neighbours"]
    correlation: Float32[np.ndarray, "refreshes stocks neighbours"]
    refresh: Int64[np.ndarray, " days"]
    static: Int64[np.ndarray, " stocks"]

    def at(
        self,
        days: Int64[np.ndarray, " batch"],
        stocks: Int64[np.ndarray, " subset"],
        present: Bool[np.ndarray, "batch subset"],
    ) -> Neighbours:
        """Neighbours as of `days` (panel positions), of `stocks` (positions in the store) as positions among these.

        A neighbour that is not `present` that day, or not among `stocks`, is masked out; so are all of a stock that
        is not present. Edge features: shrunk correlation and same known static category; 1, 1 for the stock itself.
        """
        index = self.index[self.refresh[days]].take(stocks, axis=1)
        correlation = self.correlation[self.refresh[days]].take(stocks, axis=1)
        position = np.full(len(self.static), -1)
        position[stocks] = own = np.arange(len(stocks))
        local = position.take(index)
        # One flat take: indexing [days, stocks] by pairs costs several times as much.
        flat = np.maximum(local, 0) + (np.arange(len(days)) * len(stocks))[:, None, None]
        mask = (local >= 0) & (local != own[:, None]) & present.reshape(-1).take(flat) & present[..., None]
        same = (self.static.take(index) == self.static[stocks][:, None]) & (self.static[stocks] > 0)[:, None]
        mask[..., 0] = same[..., 0] = True
        edge = np.empty((*mask.shape, NUM_EDGE_FEATURES), np.float32)
        np.multiply(correlation, mask, out=edge[..., 0])
        np.logical_and(same, mask, out=edge[..., 1])
        return Neighbours(
            index=torch.from_numpy(np.where(mask, local, own[:, None]).astype(np.int64)),
            mask=torch.from_numpy(mask),
            edge=torch.from_numpy(edge),
        )


def build_graph(
    returns: Float32[np.ndarray, "days stocks"],
    days: Shaped[np.ndarray, " days"],
    static: Int64[np.ndarray, " stocks"],
    config: GraphConfig,
    *,
    present: Bool[np.ndarray, "days stocks"] | None = None,
) -> Graph:
    """Correlation graph of a panel, refreshed on a fixed grid of dates; the lists of day t know returns up to t only.

    `returns` are trailing one-day returns, fractions, NaN = unknown; `days` datetime64[D]; `static` 0 = unknown;
    `present` which stocks each day holds (default: those with a return). At a refresh, the pairwise-complete
    correlation of the last `lookback` days is shrunk towards 0, and the `num_neighbours - 1` strongest of at least
    `threshold` in absolute value become neighbours, ties to the first; `same_sector` fills what remains of the slots.
    """
    present = ~np.isnan(returns) if present is None else present
    starts = refresh_days(days, config.refresh_days)
    shape = (len(starts), returns.shape[1], config.num_neighbours)
    index = np.broadcast_to(np.arange(shape[1], dtype=np.int32)[:, None], shape).copy()
    correlation = np.zeros(shape, np.float32)
    correlation[..., 0] = 1.0
    for refresh, day in enumerate(starts):
        lookback = returns[max(0, day - config.lookback + 1) : day + 1]
        enough = (~np.isnan(lookback)).sum(axis=0) >= config.min_periods
        active = np.flatnonzero(present[day] & (enough | (config.same_sector & (static > 0))))
        chosen, strength = _neighbours(lookback[:, active], static[active], config)
        rows, slots = np.nonzero(chosen >= 0)
        index[refresh, active[rows], slots + 1] = active[chosen[rows, slots]]
        correlation[refresh, active[rows], slots + 1] = strength[rows, slots]
    return Graph(index, correlation, np.searchsorted(starts, np.arange(len(days)), side="right") - 1, static)


def refresh_days(days: Shaped[np.ndarray, " days"], every: int) -> Int64[np.ndarray, " refreshes"]:
    """Positions of the days that begin a new stretch of `every` weekdays, counted from 1970, and of the first day.

    The grid depends on the dates alone, so a panel that begins later has its refreshes on the same days.
    """
    stretch = np.busday_count(EPOCH, days) // every
    return np.flatnonzero(np.diff(stretch, prepend=stretch[0] - 1))


def _neighbours(
    lookback: Float32[np.ndarray, "lookback stocks"], static: Int64[np.ndarray, " stocks"], config: GraphConfig
) -> tuple[Int64[np.ndarray, "stocks slots"], Float32[np.ndarray, "stocks slots"]]:
    """Neighbours of each stock, first the strongest (-1: none), and their shrunk correlation (0 where unknown)."""
    ages = np.arange(len(lookback))[::-1]
    weights = np.ones(len(lookback)) if config.halflife is None else 0.5 ** (ages / config.halflife)
    correlation = pairwise_correlation(lookback, weights, config.min_periods)
    shrunk = (correlation * (1 - config.shrinkage)).astype(np.float32)
    passes = np.abs(shrunk) >= np.float32(config.threshold)
    shrunk[np.isnan(shrunk)] = 0.0
    fills = (static == static[:, None]) & (static > 0) if config.same_sector else np.zeros_like(passes)
    np.fill_diagonal(passes, False)
    np.fill_diagonal(fills, False)
    chosen = _strongest(np.abs(shrunk), passes, fills, config.num_neighbours - 1)
    return chosen, np.take_along_axis(shrunk, np.maximum(chosen, 0), axis=1)


def _strongest(
    strength: Float32[np.ndarray, "stocks stocks2"],
    passes: Bool[np.ndarray, "stocks stocks2"],
    fills: Bool[np.ndarray, "stocks stocks2"],
    num_slots: int,
) -> Int64[np.ndarray, "stocks slots"]:
    """Of each row the columns that pass, then those that fill: by falling strength, ties to the first (-1: none)."""
    num_stocks = len(strength)
    chosen = np.full((num_stocks, num_slots), -1)
    taken = min(num_slots, num_stocks)
    if not taken:
        return chosen
    # Strengths lie in [0, 1]: two down is below all that pass, four down below all that may be chosen.
    score = strength - np.float32(2) * ~passes - np.float32(2) * ~(passes | fills)
    least = np.partition(score, num_stocks - taken, axis=1)[:, num_stocks - taken, None]
    rows, columns = np.nonzero(score >= np.maximum(least, np.float32(-2)))
    order = np.lexsort((columns, -score[rows, columns], rows))
    rows, columns = rows[order], columns[order]
    slots = np.arange(len(rows)) - np.searchsorted(rows, rows)
    kept = slots < num_slots
    chosen[rows[kept], slots[kept]] = columns[kept]
    return chosen
