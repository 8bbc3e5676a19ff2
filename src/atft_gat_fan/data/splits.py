"""Which panel days train, validate and test: global dates, with a purge so that no label reaches into the next part."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
from jaxtyping import Int
from numpy import ndarray

from atft_gat_fan.config.schema import DataConfig, SplitConfig
from atft_gat_fan.errors import DataError, Problem


@dataclass(frozen=True)
class Split:
    """Positions of panel days, ascending. `purge + embargo` days are missing before `valid` and before `test`."""

    train: Int[ndarray, " train_days"]
    valid: Int[ndarray, " valid_days"]
    test: Int[ndarray, " test_days"]
    purge: int
    embargo: int


def usable_days(days: ndarray, config: DataConfig) -> range:
    """Positions of the panel days (datetime64[D], ascending) to split: in data.start .. data.end, with a whole window.

    A store also holds warm-up days before `data.start`: they feed features and windows and are never in a split.
    """
    first = 0 if config.start is None else int(np.searchsorted(days, np.datetime64(config.start)))
    stop = len(days) if config.end is None else int(np.searchsorted(days, np.datetime64(config.end), side="right"))
    return range(max(first, config.window - 1), stop)


def least_purge(horizons: Sequence[int]) -> int:
    """The label of day t is known on day t + h; one day more, so that it is not even traded on."""
    return max(horizons) + 1


def split_days(days: ndarray, config: SplitConfig, horizons: Sequence[int], usable: range | None = None) -> Split:
    """Split panel days (datetime64[D], ascending) at dates, or by default at shares of the usable days.

    The purge (at least max(horizons) + 1 panel days) and the embargo are taken from the end of the earlier part, so
    that a label of a kept day uses days before the next part alone. `usable` (default: all) are the positions to
    split, of which those before `train_start` and after `test_end` are left out.

    Raises DataError, with the dates and what to change, where a part is left empty.
    """
    usable = _within(range(len(days)) if usable is None else usable, days, config)
    purge = max(least_purge(horizons), config.purge or 0)
    valid_start, test_start = _boundaries(days, config, usable)
    split = cut(usable.start, valid_start, test_start, usable.stop, purge, config.embargo)
    parts = {"training": split.train, "validation": split.valid, "test": split.test}
    bounds = (usable.start, valid_start, test_start, usable.stop)
    problems = [
        _empty(name, days, bounds[i], bounds[i + 1], purge + config.embargo if i < 2 else 0)
        for i, (name, part) in enumerate(parts.items())
        if not len(part)
    ]
    if problems:
        raise DataError(problems, source="split")
    return split


def cut(first: int, valid_start: int, test_start: int, stop: int, purge: int, embargo: int) -> Split:
    """The days from `first` to before `stop` in three parts, purge and embargo off the ends of the first two."""
    return Split(
        train=np.arange(first, valid_start - purge - embargo, dtype=np.int64),
        valid=np.arange(valid_start, test_start - purge - embargo, dtype=np.int64),
        test=np.arange(test_start, stop, dtype=np.int64),
        purge=purge,
        embargo=embargo,
    )


def _within(usable: range, days: ndarray, config: SplitConfig) -> range:
    first, stop = usable.start, usable.stop
    if config.train_start is not None:
        first = max(first, int(np.searchsorted(days, np.datetime64(config.train_start))))
    if config.test_end is not None:
        stop = min(stop, int(np.searchsorted(days, np.datetime64(config.test_end), side="right")))
    return range(first, max(first, stop))


def _boundaries(days: ndarray, config: SplitConfig, usable: range) -> tuple[int, int]:
    """First validation and first test position. Where one date is missing, what the other leaves is shared out."""

    def after(day: date) -> int:
        return min(max(int(np.searchsorted(days, np.datetime64(day), side="right")), usable.start), usable.stop)

    train, valid = config.train_fraction, config.valid_fraction
    if config.train_end is None:
        if config.valid_end is None:
            return usable.start + round(train * len(usable)), usable.start + round((train + valid) * len(usable))
        test_start = after(config.valid_end)
        return usable.start + round(train / (train + valid) * (test_start - usable.start)), test_start
    valid_start = after(config.train_end)
    if config.valid_end is None:
        return valid_start, valid_start + round(valid / (1 - train) * (usable.stop - valid_start))
    return valid_start, after(config.valid_end)


def _empty(name: str, days: ndarray, first: int, stop: int, removed: int) -> Problem:
    count = max(stop - first, 0)
    found = f"{count} days ({days[first]} to {days[stop - 1]})" if count else "none"
    taken = f", of which purge and embargo take {removed}" if removed else ""
    return Problem(
        f"expected {name} days, found {found}{taken}",
        where=f"panel days {days[0]} to {days[-1]}" if len(days) else "an empty panel",
        mend="move split.train_end and split.valid_end, shorten data.horizons, or use a longer panel",
    )
