"""The neighbours of every stock on one day: the strongest correlations of the days up to it."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from threading import Lock

import numpy as np
import torch
from jaxtyping import Float32, Int32, Int64
from threadpoolctl import ThreadpoolController

from atft_gat_fan.config.schema import GraphConfig
from atft_gat_fan.data.correlation import PairwiseCorrelation

_BLAS_LIMIT = Lock()


@dataclass(frozen=True, eq=False)
class NeighbourLists:
    """Of each stock its neighbours, strongest first, as positions among the stocks (-1: none), without itself.

    `correlation` is shrunk; 0 where there is no neighbour or none is known.
    """

    index: Int32[np.ndarray, "stocks slots"]
    correlation: Float32[np.ndarray, "stocks slots"]


def neighbour_lists(
    lookback: Float32[np.ndarray, "days stocks"], static: Int64[np.ndarray, " stocks"], config: GraphConfig
) -> NeighbourLists:
    """Lists from the returns of the lookback, oldest first: fractions, NaN = unknown. `static` 0 = unknown category.

    The pairwise-complete correlation is shrunk towards 0, and the `num_neighbours - 1` strongest of at least
    `threshold` in absolute value become neighbours, ties to the first; `same_sector` fills what remains of the slots.

    Every refresh is computed afresh. Updating cross-moments instead (the days that enter, less those that leave) saves
    most of the products, but all pairs' sums must be read and written: at 60 days that is never faster and takes twice
    as long at 4,000 stocks, holding 488 MiB (`benchmarks/graph.py`). Such sums also drift, and depend on where they
    began.

    Rows are computed in chunks by `torch.get_num_threads()` threads, each product by one: the bits are the same for
    any number of them.
    """
    shape = (lookback.shape[1], config.num_neighbours - 1)
    lists = NeighbourLists(np.full(shape, -1, np.int32), np.zeros(shape, np.float32))
    enough = (~np.isnan(lookback)).sum(axis=0) >= config.min_periods
    active = np.flatnonzero(enough | (config.same_sector & (static > 0)))
    if not shape[1] or len(active) < 2:
        return lists
    ages = np.arange(len(lookback))[::-1]
    weights = np.ones(len(lookback)) if config.halflife is None else 0.5 ** (ages / config.halflife)
    correlation = PairwiseCorrelation(np.ascontiguousarray(lookback[:, active]), weights, config.min_periods)
    chunks, categories = correlation.chunks(), static[active]

    def choose(rows: Int64[np.ndarray, " rows"]) -> None:
        shrunk = (correlation.rows(rows) * (1 - config.shrinkage)).astype(np.float32)
        chosen = _chosen(shrunk, rows, categories, config)
        found, slots = np.nonzero(chosen >= 0)
        columns = chosen[found, slots]
        lists.index[active[rows[found]], slots] = active[columns]
        lists.correlation[active[rows[found]], slots] = shrunk[found, columns]

    # A product split over threads would wait for them at each chunk, and its bits could depend on how many there are.
    with _BLAS_LIMIT, _blas().limit(limits=1), ThreadPoolExecutor(min(torch.get_num_threads(), len(chunks))) as pool:
        for _ in pool.map(choose, chunks):
            pass
    return lists


@cache
def _blas() -> ThreadpoolController:
    return ThreadpoolController().select(user_api="blas")


def _chosen(
    shrunk: Float32[np.ndarray, "rows stocks"],
    rows: Int64[np.ndarray, " rows"],
    static: Int64[np.ndarray, " stocks"],
    config: GraphConfig,
) -> Int64[np.ndarray, "rows slots"]:
    """Of each of some rows the columns that pass the threshold, then those of its category. Unknown becomes 0."""
    strength = np.abs(shrunk)
    passes = strength >= np.float32(config.threshold)
    np.copyto(shrunk, 0.0, where=np.isnan(shrunk))
    np.copyto(strength, 0.0, where=np.isnan(strength))
    places = np.arange(len(rows))
    passes[places, rows] = False
    allowed = passes
    if config.same_sector:
        allowed = passes | ((static == static[rows, None]) & (static[rows, None] > 0))
        allowed[places, rows] = False
    # Strengths lie in [0, 1]: two down is below all that pass, four down below all that may be chosen.
    score = strength - np.float32(2) * ~passes - np.float32(2) * ~allowed
    return _highest(score, np.float32(-2.5), config.num_neighbours - 1)


def _highest(
    score: Float32[np.ndarray, "rows stocks"], above: np.float32, num_slots: int
) -> Int64[np.ndarray, "rows slots"]:
    """Of each row the columns with the highest scores above a bound, highest first, ties to the first (-1: none)."""
    num_rows, num_stocks = score.shape
    taken = min(num_slots, num_stocks)
    least = np.partition(score, num_stocks - taken, axis=1)[:, num_stocks - taken, None]
    places = np.flatnonzero((score >= least) & (score > above))
    rows, columns = np.divmod(places, num_stocks)
    order = np.lexsort((columns, -score.reshape(-1)[places], rows))
    rows, columns = rows[order], columns[order]
    slots = np.arange(len(rows)) - np.searchsorted(rows, rows)
    kept = slots < num_slots
    chosen = np.full((num_rows, num_slots), -1)
    chosen[rows[kept], slots[kept]] = columns[kept]
    return chosen
