"""Folds: the same cut of the panel's days again and again, each tested on days that no earlier one has seen."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Shaped
from numpy.typing import NDArray

from atft_gat_fan.data.splits import Split, cut
from atft_gat_fan.errors import DataError, Problem

DAYS_A_YEAR = 365.2425
"""Of the Gregorian calendar."""

Days = Shaped[NDArray[np.datetime64], " days"]


@dataclass(frozen=True)
class Fold:
    """Where a fold is cut, in ISO dates: first or last days of its parts before purge and embargo are taken off.

    A run of the configuration keys `overrides` has exactly the fold's days.
    """

    train_start: str
    train_end: str
    valid_end: str
    test_start: str
    test_end: str

    @classmethod
    def of(cls, days: Days, split: Split) -> "Fold":
        """`days` are those that the positions of `split` count, datetime64[D]."""
        return cls(
            train_start=str(days[split.train[0]]),
            train_end=str(days[split.valid[0] - 1]),
            valid_end=str(days[split.test[0] - 1]),
            test_start=str(days[split.test[0]]),
            test_end=str(days[split.test[-1]]),
        )

    @property
    def overrides(self) -> tuple[str, ...]:
        return (
            f"split.train_start={self.train_start}",
            f"split.train_end={self.train_end}",
            f"split.valid_end={self.valid_end}",
            f"split.test_end={self.test_end}",
        )


def length_in_days(span: int | float | str, days: Days) -> int:
    """A span in trading days: a number of them, a share of `days` (rounded down), or months or years as `6m`, `2y`.

    A year has as many trading days as `days` (datetime64[D], ascending) have on average, so that folds are equally long
    whatever holidays lie in them.
    """
    if isinstance(span, int):
        return span
    if isinstance(span, float):
        return int(span * len(days))
    if len(days) < 2:
        return 0
    a_year = (len(days) - 1) / float((days[-1] - days[0]) / np.timedelta64(1, "D")) * DAYS_A_YEAR
    return round(a_year * int(span[:-1]) / (12 if span.endswith("m") else 1))


def walk_forward(
    days: Days,
    *,
    first_train_days: int,
    valid_days: int,
    test_days: int,
    purge: int,
    embargo: int,
    expanding: bool,
    usable: range | None = None,
) -> list[Split]:
    """Folds that move `test_days` at a time; each trains on what lies before its validation and test days.

    `days` are the panel's (datetime64[D], ascending), `usable` (default: all) the positions to walk over. Training days
    begin with them (`expanding`) or move along. Day counts are taken before purge and embargo, which come off the end
    of training and validation. Every day after the first validation is tested once: a rest of at least half of
    `test_days` by a fold of its own, a shorter one by the last fold.

    Raises DataError when not one fold fits or purge and embargo leave a part empty.
    """
    usable = range(len(days)) if usable is None else usable
    needed = first_train_days + valid_days + test_days
    if len(usable) < needed or min(first_train_days, valid_days) <= purge + embargo or test_days < 1:
        raise DataError(
            Problem(
                f"expected {needed} days ({first_train_days} to train, {valid_days} to validate, {test_days} to test), "
                f"the first two parts longer than purge + embargo = {purge + embargo}, found {len(usable)} days",
                where=f"{days[usable[0]]} to {days[usable[-1]]}" if len(usable) else "no days",
                mend="change walkforward.first_train_days, valid_days and test_days, or use a longer panel",
            ),
            source="walk-forward",
        )
    starts = list(range(usable.start + first_train_days + valid_days, usable.stop, test_days))
    if len(starts) > 1 and 2 * (usable.stop - starts[-1]) < test_days:
        starts.pop()
    return [
        cut(
            usable.start if expanding else start - valid_days - first_train_days,
            start - valid_days,
            start,
            stop,
            purge,
            embargo,
        )
        for start, stop in pairwise([*starts, usable.stop])
    ]
