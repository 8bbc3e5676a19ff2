"""Which days of a panel are to be predicted."""

from dataclasses import dataclass
from datetime import date

import numpy as np
from jaxtyping import Int64, Shaped
from numpy.typing import NDArray

from atft_gat_fan.data.store import first_predictable
from atft_gat_fan.errors import DataError, Problem


@dataclass(frozen=True)
class AskedDays:
    """The days from `first` to `last`, both included, None for no bound; or the `newest` that the panel has."""

    first: date | None = None
    last: date | None = None
    newest: bool = False

    @property
    def everything(self) -> bool:
        return self.first is None and self.last is None and not self.newest

    def among(
        self, days: Shaped[NDArray[np.datetime64], " days"], window: int, source: str
    ) -> Int64[NDArray[np.int64], " chosen"]:
        """Positions of the asked-for days that have a whole window: increasing, at least one.

        `days` are those of the panel, increasing; of a range, days without rows or a whole window are left out. Raises
        DataError, naming the nearest days that can be had, where nothing remains; `source` is what it calls the panel.
        """
        asked = self.positions(days)
        if len(asked) and asked[-1] >= first_predictable(window):
            return asked[asked >= first_predictable(window)]
        raise DataError(self._no_window(days, window) if len(asked) else self._no_rows(days), source=source)

    def positions(self, days: Shaped[NDArray[np.datetime64], " days"]) -> Int64[NDArray[np.int64], " asked"]:
        """Of the asked-for days that have rows, with a whole window or not."""
        if self.newest:
            return np.arange(len(days))[-1:]
        low = 0 if self.first is None else np.searchsorted(days, np.datetime64(self.first))
        high = len(days) if self.last is None else np.searchsorted(days, np.datetime64(self.last), side="right")
        return np.arange(low, high)

    def __str__(self) -> str:
        if self.newest:
            return "the newest day"
        if self.first is not None and self.first == self.last:
            return f"{self.first} ({self.first:%A})"
        bounds = [f"from {self.first}" if self.first else "", f"to {self.last}" if self.last else ""]
        return f"days {' '.join(filter(None, bounds))}" if any(bounds) else "days"

    def _no_rows(self, days: Shaped[NDArray[np.datetime64], " days"]) -> Problem:
        if not len(days):
            return Problem("expected rows, found none", mend="give a panel with rows")
        near = []
        if self.first is not None and np.datetime64(self.first) > days[0]:
            near.append(days[np.searchsorted(days, np.datetime64(self.first)) - 1])
        if self.last is not None and np.datetime64(self.last) < days[-1]:
            near.append(days[np.searchsorted(days, np.datetime64(self.last), side="right")])
        return Problem(
            f"expected rows of {self}, found none",
            where=f"days {days[0]} to {days[-1]}",
            mend=f"ask for {' or '.join(map(str, near))}, nearest of the days that there are",
        )

    def _no_window(self, days: Shaped[NDArray[np.datetime64], " days"], window: int) -> Problem:
        enough = len(days) > first_predictable(window)
        mend = "give a panel that begins earlier"
        return Problem(
            f"expected {first_predictable(window)} days of the panel before {self}, found {self.positions(days)[-1]}",
            where=f"days {days[0]} to {days[-1]}",
            mend=f"ask for {days[first_predictable(window)]} or later, or {mend}" if enough else mend,
        )
