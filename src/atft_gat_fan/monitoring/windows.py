"""Windows that end on each day, and since when something has been so."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float
from numpy.typing import NDArray


def rolling_sums(
    daily: Float[NDArray[np.float64], "days *rest"], window: int
) -> Float[NDArray[np.float64], "ends *rest"]:
    """Sums over the `window` days up to each day that has as many: one fewer than `window` days are lost."""
    summed = np.cumsum(daily, axis=0)
    sums: NDArray[np.float64] = summed[window - 1 :].copy()
    sums[1:] -= summed[:-window]
    return sums


def rolling_means(daily: Float[NDArray[np.float64], " days"], window: int) -> Float[NDArray[np.float64], " days"]:
    """Means of the known values of the `window` days up to each day; NaN where none of them is known."""
    known = np.isfinite(daily)
    padded = np.concatenate([np.zeros(window - 1), np.where(known, daily, 0.0)])
    counted = np.concatenate([np.zeros(window - 1), known])
    total, count = rolling_sums(padded, window), rolling_sums(counted, window)
    means: Float[NDArray[np.float64], " days"] = np.full(len(daily), np.nan)
    np.divide(total, count, out=means, where=count > 0.5)
    return means


def since(alarm: Bool[NDArray[np.bool_], " days"], days: Sequence[str]) -> str | None:
    """First day of the unbroken stretch of alarm that ends on the newest day; None where that is none."""
    if not len(alarm) or not alarm[-1]:
        return None
    quiet = np.flatnonzero(~alarm)
    return days[int(quiet[-1]) + 1 if len(quiet) else 0]


def number(value: float) -> float | None:
    """A JSON number: NaN and infinities become null."""
    return float(value) if np.isfinite(value) else None


def numbers(values: Float[NDArray[np.floating], " n"]) -> tuple[float | None, ...]:
    return tuple(number(value) for value in values.tolist())
