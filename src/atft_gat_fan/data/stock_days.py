"""Stock-days as rows of a table, for learners that see one day at a time: what they learn from, and what they score.

Read a few days at a time; only the rows that are asked for are in memory.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray

from atft_gat_fan.data.normalizer import Normalizer
from atft_gat_fan.data.store import Store
from atft_gat_fan.errors import DataError

LabelTransform = Callable[[NDArray[np.float32]], NDArray[np.floating]]
"""Labels [days, stocks, horizons] -> what is regressed on, within the day; NaN stays NaN."""

DAYS_AT_A_TIME = 64
NO_TRAINING_LABELS = "no training day has features and labels; widen the training period (split.train_end)"


class UnlabelledError(DataError):
    """Days that nothing can be learned from."""


class StockDayPanel(Protocol):
    """A panel read a few days at a time; days and stocks are positions."""

    @property
    def num_stocks(self) -> int: ...

    @property
    def num_features(self) -> int: ...

    @property
    def num_horizons(self) -> int: ...

    def features(
        self, day: int, stocks: Int[NDArray[np.int64], " chosen"]
    ) -> Float[NDArray[np.float32], "chosen features"]:
        """Of some of a day's present stocks, normalised over the training days; missing = 0 or NaN."""

    def column(self, name: str, days: slice) -> NDArray[Any]:
        """`labels` [days, stocks, horizons], raw forward returns; `returns` [days, stocks], trailing one-day returns
        (both fractions, NaN = unknown); `present` [days, stocks]."""


class StoredStockDays:
    """A store as a `StockDayPanel`: normalised day by day, in the same way whatever a network's switches are.

    Raises DataError where the store lacks a feature of the normaliser.
    """

    def __init__(self, store: Store, normalizer: Normalizer) -> None:
        self._store, self._normalizer = store, normalizer.aligned_to(store.feature_names)

    @property
    def num_stocks(self) -> int:
        return len(self._store.codes)

    @property
    def num_features(self) -> int:
        return len(self._normalizer.feature_names)

    @property
    def num_horizons(self) -> int:
        return len(self._store.horizons)

    def features(
        self, day: int, stocks: Int[NDArray[np.int64], " chosen"]
    ) -> Float[NDArray[np.float32], "chosen features"]:
        block = self._store.block(day, 1, 1)
        return self._normalizer.apply(block.features[0].take(np.searchsorted(block.stocks, stocks), axis=0))

    def column(self, name: str, days: slice) -> NDArray[Any]:
        return self._store.column(name, days)


@dataclass(frozen=True)
class Rows:
    """Stock-days, by panel position, in order of day and stock."""

    day: NDArray[np.int64]
    stock: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class LabelledRows:
    """What a learner is given. `target` is NaN where a label is unknown, and known at least once for each horizon."""

    rows: Rows
    features: Float[NDArray[np.float32], "rows features"]
    target: Float[NDArray[np.floating], "rows horizons"]

    def of_horizon(
        self, horizon: int
    ) -> tuple[Float[NDArray[np.float32], "known features"], Float[NDArray[np.floating], " known"]]:
        """Features and target of the rows whose label at the horizon (a position) is known."""
        target = self.target[:, horizon]
        known = np.isfinite(target)
        return (self.features if known.all() else self.features[known]), target[known]


def labelled_rows(
    panel: StockDayPanel,
    days: Int[NDArray[np.int64], " days"],
    max_rows: int,
    transform: LabelTransform,
    alive: Callable[[], None],
) -> LabelledRows:
    """Present stock-days with any label on the newest of `days` that fit into `max_rows` (at least one day).

    Nothing of other days is read. `alive` is called now and then and may raise to stop the work. Raises UnlabelledError
    where some horizon has no label on these days.
    """
    rows = _newest_labelled(panel, days, max_rows)
    features = gather(panel, rows, alive)
    target = _targets(panel, rows, transform)
    if not np.isfinite(target).any(axis=0).all():
        raise UnlabelledError(NO_TRAINING_LABELS)
    return LabelledRows(rows, features, target)


def rows_where(days: Int[NDArray[np.int64], " days"], mask: NDArray[np.bool_]) -> Rows:
    """Of the stock-days of a mask [days, stocks]."""
    day, stock = np.nonzero(mask)
    return Rows(days[day], stock)


def gather(panel: StockDayPanel, rows: Rows, alive: Callable[[], None]) -> Float[NDArray[np.float32], "rows features"]:
    """Features of the rows; missing = 0, the training mean."""
    features = np.empty((len(rows.day), panel.num_features), np.float32)
    edges = np.flatnonzero(np.diff(rows.day, prepend=-1, append=-1))
    for start, stop in pairwise(edges):
        alive()
        features[start:stop] = panel.features(int(rows.day[start]), rows.stock[start:stop])
    features[~np.isfinite(features)] = 0.0
    return features


def column_of(panel: StockDayPanel, name: str, days: Int[NDArray[np.int64], " days"]) -> NDArray[Any]:
    """A column over some increasing days, which need not follow each other."""
    period = panel.column(name, slice(int(days[0]), int(days[-1]) + 1))
    chosen: NDArray[Any] = period[days - days[0]]
    return chosen


def _newest_labelled(panel: StockDayPanel, days: NDArray[np.int64], max_rows: int) -> Rows:
    parts: list[Rows] = []
    left = max_rows
    for stop in range(len(days), 0, -DAYS_AT_A_TIME):
        stretch = days[max(0, stop - DAYS_AT_A_TIME) : stop]
        mask = column_of(panel, "present", stretch) & np.isfinite(column_of(panel, "labels", stretch)).any(axis=2)
        stretch, mask = stretch[mask.any(axis=1)], mask[mask.any(axis=1)]
        newest_first = np.cumsum(mask.sum(axis=1)[::-1])
        fitting = int(np.searchsorted(newest_first, left, side="right"))
        kept = max(fitting, 0 if parts else min(1, len(stretch)))
        if kept:
            parts.append(rows_where(stretch[-kept:], mask[-kept:]))
            left -= len(parts[-1].day)
        if fitting < len(stretch):
            break
    if not parts:
        raise UnlabelledError(NO_TRAINING_LABELS)
    parts.reverse()
    return Rows(np.concatenate([part.day for part in parts]), np.concatenate([part.stock for part in parts]))


def _targets(panel: StockDayPanel, rows: Rows, transform: LabelTransform) -> NDArray[np.floating]:
    """What is regressed on, [rows, horizons]: whole days are transformed, a stretch at a time."""
    first_row = np.unique(rows.day, return_index=True)[1]
    edges = [*first_row[::DAYS_AT_A_TIME], len(rows.day)]
    parts = []
    for start, stop in pairwise(edges):
        chosen, day = np.unique(rows.day[start:stop], return_inverse=True)
        parts.append(np.asarray(transform(column_of(panel, "labels", chosen)))[day, rows.stock[start:stop]])
    return np.concatenate(parts)
