"""Long frames as one flat array: each stock's days in a row, blanks in between.

Row order "date, code" is good for storing and standardising; trailing windows and forward returns want a stock's
consecutive panel days next to each other. `Timelines` lays the rows of a frame out that way: every *listing* (a
stock's unbroken stay in the panel) covers all panel days from its first to its last row, days without a row are NaN,
and `blank` NaN slots stand before each listing. Shifting the flat array by k ≤ blank slots is then shifting by k
panel days, and never reaches into another listing.
"""

from dataclasses import dataclass

import numpy as np
import polars as pl
from jaxtyping import Float, Int
from numpy import ndarray


@dataclass(frozen=True)
class Timelines:
    """Where each row of a frame lies in the flat array of `size` slots."""

    slot: Int[ndarray, " rows"]
    day: Int[ndarray, " rows"]
    """Position of the row's date among the panel days."""
    listing: Int[ndarray, " rows"]
    size: int
    num_days: int

    @classmethod
    def of(cls, frame: pl.DataFrame, *, blank: int, max_gap: int | None = None) -> "Timelines":
        """Lay out a frame with columns `date` and `code`, in any row order, no (date, code) twice.

        A stock away for more than `max_gap` panel days starts a new listing when it is back; None: never.
        """
        day = frame["date"].rank("dense").to_numpy().astype(np.int64) - 1
        code = frame["code"].rank("dense").to_numpy()
        order = np.lexsort((day, code))
        days_on = np.diff(day[order], prepend=0)
        starts = np.diff(code[order], prepend=0) != 0  # dense ranks start at 1, so the first row starts a listing
        if max_gap is not None:
            starts |= days_on > max_gap + 1
        slot, listing = np.empty_like(day), np.empty_like(day)
        slot[order] = np.cumsum(np.where(starts, blank + 1, days_on)) - 1
        listing[order] = np.cumsum(starts) - 1
        size = int(slot.max()) + 1 + blank if len(slot) else 0
        return cls(slot, day, listing, size, int(day.max()) + 1 if len(day) else 0)

    def spread(self, values: Float[ndarray, " rows"] | pl.Series) -> Float[ndarray, " slots"]:
        """The rows' values in their slots, float64; missing and absent ones NaN."""
        flat = np.full(self.size, np.nan)
        flat[self.slot] = values.cast(pl.Float64).to_numpy() if isinstance(values, pl.Series) else values
        return flat

    def gather(self, flat: Float[ndarray, " slots"]) -> Float[ndarray, " rows"]:
        """Back to the rows' order."""
        values: Float[ndarray, " rows"] = flat[self.slot]
        return values

    def day_means(self, flat: Float[ndarray, " slots"]) -> Float[ndarray, " days"]:
        """The mean over all known values of each panel day, equally weighted; NaN where there is none."""
        values = self.gather(flat)
        known = np.isfinite(values)
        count = np.bincount(self.day[known], minlength=self.num_days)
        total = np.bincount(self.day[known], weights=values[known], minlength=self.num_days)
        means: Float[ndarray, " days"] = np.divide(total, count, out=np.full(self.num_days, np.nan), where=count > 0)
        return means

    def day_mean(self, flat: Float[ndarray, " slots"]) -> Float[ndarray, " slots"]:
        """Each row's slot gets the mean of its day; other slots NaN."""
        return self.spread(self.day_means(flat)[self.day])


def lag(flat: Float[ndarray, " slots"], days: int, missing: float = np.nan) -> Float[ndarray, " slots"]:
    """The value `days` panel days earlier (later if negative), `missing` beyond the ends."""
    moved = np.full_like(flat, missing)
    if abs(days) >= len(flat):
        return moved
    if days >= 0:
        moved[days:] = flat[: len(flat) - days]
    else:
        moved[:days] = flat[-days:]
    return moved


def last_known(flat: Float[ndarray, " slots"], max_gap: int) -> Float[ndarray, " slots"]:
    """Missing values replaced by the last known one of at most `max_gap` days before."""
    filled = flat.copy()
    for days in range(1, max_gap + 1):
        missing = np.isnan(filled)
        filled[missing] = lag(flat, days)[missing]
    return filled
