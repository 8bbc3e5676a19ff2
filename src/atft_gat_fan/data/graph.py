"""Who moves with whom, as of each day: neighbours by correlation of past returns alone."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from jaxtyping import Bool, Float32, Int64, Shaped

from atft_gat_fan.config.schema import GraphConfig
from atft_gat_fan.data.list_cache import ListCache, lists_key
from atft_gat_fan.data.neighbour_lists import NeighbourLists, neighbour_lists
from atft_gat_fan.types import NUM_EDGE_FEATURES, Neighbours

EPOCH = np.datetime64("1970-01-01", "D")

Progress = Callable[[str, float], None]
"""Called with what is being done and the share of the work that is behind."""


class ReturnsPanel(Protocol):
    """What a graph reads, as of a `Store`: `returns`, fractions, NaN = unknown, and who is `present`."""

    @property
    def days(self) -> Shaped[np.ndarray, " days"]: ...

    def column(self, name: str, days: slice) -> Shaped[np.ndarray, "days stocks"]: ...


class Graph:
    """Neighbour lists as of any day of a panel, refreshed on a fixed grid of dates. Stocks are positions in the panel.

    The lists of a day are those of its newest refresh, made of the `lookback` days up to that one, of the stocks
    present on it. They are computed when first asked for, or by `prepare`, and never again: not in this process,
    nor in another that shares the cache, nor when the panel has gained days or stocks. Threads may share a graph.
    """

    def __init__(
        self,
        panel: ReturnsPanel,
        static: Int64[np.ndarray, " stocks"],
        config: GraphConfig,
        cache: ListCache,
        progress: Progress,
    ) -> None:
        self._panel, self._static, self._config = panel, static, config
        self._cache, self._progress = cache, progress
        starts = refresh_days(panel.days, config.refresh_days)
        self._refresh_of = starts[np.searchsorted(starts, np.arange(len(panel.days)), side="right") - 1]
        self._keys: dict[int, str] = {}

    def prepare(self, days: Int64[np.ndarray, " chosen"]) -> None:
        """Compute what the cache lacks of the lists of `days` (panel positions), telling the progress."""
        refreshes = np.unique(self._refresh_of[days]).tolist()
        for done, refresh in enumerate(refreshes):
            self._progress("neighbour graph", done / len(refreshes))
            self._lists(refresh)
        self._progress("neighbour graph", 1.0)

    def at(
        self,
        days: Int64[np.ndarray, " batch"],
        stocks: Int64[np.ndarray, " subset"],
        present: Bool[np.ndarray, "batch subset"],
    ) -> Neighbours:
        """Neighbours as of `days` (panel positions), of `stocks` (positions in the panel) as positions among these.

        A neighbour that is not `present` that day, or not among `stocks`, is masked out; so are all of a stock that
        is not present. Edge features: shrunk correlation and same known static category; 1, 1 for the stock itself.
        """
        refreshes, of_day = np.unique(self._refresh_of[days], return_inverse=True)
        own, category = np.arange(len(stocks)), self._static[stocks]
        position = np.full(len(self._static), -1)
        position[stocks] = own
        index = np.full((len(refreshes), len(stocks), self._config.num_neighbours), -1)
        correlation = np.zeros(index.shape, np.float32)
        for place, refresh in enumerate(refreshes.tolist()):
            members, lists = self._lists(refresh)
            local = position[members]
            rows = np.flatnonzero(local >= 0)
            listed = lists.index[rows]
            index[place, local[rows], 1:] = np.where(listed >= 0, local[listed], -1)
            correlation[place, local[rows], 1:] = lists.correlation[rows]
        same = (category.take(np.maximum(index, 0)) == category[:, None]) & (category > 0)[:, None]
        index[..., 0] = own
        correlation[..., 0] = same[..., 0] = True

        index = index[of_day]
        # One flat take: indexing [days, stocks] by pairs costs several times as much.
        flat = np.maximum(index, 0) + (np.arange(len(days)) * len(stocks))[:, None, None]
        mask = (index >= 0) & present.reshape(-1).take(flat) & present[..., None]
        mask[..., 0] = True
        edge = np.empty((*mask.shape, NUM_EDGE_FEATURES), np.float32)
        np.multiply(correlation[of_day], mask, out=edge[..., 0])
        np.logical_and(same[of_day], mask, out=edge[..., 1])
        return Neighbours(
            index=torch.from_numpy(np.where(mask, index, own[:, None])),
            mask=torch.from_numpy(mask),
            edge=torch.from_numpy(edge),
        )

    def _lists(self, refresh: int) -> tuple[Int64[np.ndarray, " members"], NeighbourLists]:
        """The stocks present on the day of a refresh (panel positions), and their neighbours among each other."""
        members = np.flatnonzero(self._panel.column("present", slice(refresh, refresh + 1))[0])
        static = self._static[members]

        def lookback() -> Float32[np.ndarray, "lookback members"]:
            days = slice(max(0, refresh - self._config.lookback + 1), refresh + 1)
            return self._panel.column("returns", days)[:, members]

        if refresh not in self._keys:
            self._keys[refresh] = lists_key(lookback(), static, self._config)
        lists = self._cache.find(
            self._keys[refresh],
            len(members),
            self._config.num_neighbours - 1,
            lambda: neighbour_lists(lookback(), static, self._config),
        )
        return members, lists


@dataclass(frozen=True, eq=False)
class _ArrayPanel:
    days: Shaped[np.ndarray, " days"]
    returns: Float32[np.ndarray, "days stocks"]
    present: Bool[np.ndarray, "days stocks"]

    def column(self, name: str, days: slice) -> Shaped[np.ndarray, "days stocks"]:
        values: np.ndarray = getattr(self, name)[days]
        return values


def build_graph(
    returns: Float32[np.ndarray, "days stocks"],
    days: Shaped[np.ndarray, " days"],
    static: Int64[np.ndarray, " stocks"],
    config: GraphConfig,
    *,
    present: Bool[np.ndarray, "days stocks"] | None = None,
) -> Graph:
    """The graph of a panel in memory, with all of its lists.

    `returns` are trailing one-day returns, fractions, NaN = unknown; `days` datetime64[D]; `static` 0 = unknown;
    `present` which stocks each day holds (default: those with a return).
    """
    panel = _ArrayPanel(days, returns, ~np.isnan(returns) if present is None else present)
    graph = Graph(panel, static, config, ListCache(None), lambda stage, share: None)
    graph.prepare(np.arange(len(days)))
    return graph


def cached_graph(
    panel: ReturnsPanel, static: Int64[np.ndarray, " stocks"], config: GraphConfig, cache: Path, progress: Progress
) -> Graph:
    """The graph of a store, whose lists are kept in files below `cache`. Nothing is computed before it is needed."""
    return Graph(panel, static, config, ListCache(cache / "graphs"), progress)


def refresh_days(days: Shaped[np.ndarray, " days"], every: int) -> Int64[np.ndarray, " refreshes"]:
    """Positions of the days that begin a new stretch of `every` weekdays, counted from 1970, and of the first day.

    The grid depends on the dates alone, so a panel that begins later has its refreshes on the same days.
    """
    stretch = np.busday_count(EPOCH, days) // every
    return np.flatnonzero(np.diff(stretch, prepend=stretch[0] - 1))
