"""Which stocks of a day are liquid: one definition for the metrics and for losses that favour them."""

import numpy as np
from jaxtyping import Bool, Float, Int64
from numpy.typing import NDArray

from atft_gat_fan.data.store import Store
from atft_gat_fan.errors import ConfigError

DAYS_AT_A_TIME = 64


def liquid_half(
    dollar_volume: Float[NDArray[np.floating], "days stocks"], present: Bool[NDArray[np.bool_], "days stocks"]
) -> Bool[NDArray[np.bool_], "days stocks"]:
    """Upper half of each day's present stocks by dollar volume, the median included.

    `dollar_volume` is the median of the last 20 days, known as of the day; a stock of unknown volume (NaN) is not
    liquid and does not move the median. On a day without any volume no stock is.
    """
    known = present & np.isfinite(dollar_volume)
    days_with_volume = known.any(axis=1)
    volume = np.where(known, dollar_volume, np.nan)
    median = np.full((len(volume), 1), np.inf)
    if days_with_volume.any():
        median[days_with_volume, 0] = np.nanmedian(volume[days_with_volume], axis=1)
    liquid: NDArray[np.bool_] = known & (np.where(known, volume, -np.inf) >= median)
    return liquid


def require_dollar_volume(store: Store, days: Int64[np.ndarray, " days"], key: str) -> None:
    """ConfigError where no stock's dollar volume is known on any of `days`, for which the configured `key` asks."""
    stretches = (days[start : start + DAYS_AT_A_TIME] for start in range(0, len(days), DAYS_AT_A_TIME))
    periods = (slice(int(stretch[0]), int(stretch[-1]) + 1) for stretch in stretches)
    if not any(np.isfinite(store.column("dollar_volume", period)).any() for period in periods):
        raise ConfigError(
            f"{key} expects dollar volumes, found none on the training days {store.days[days[0]]} to "
            f"{store.days[days[-1]]}; give a panel with Close and Volume (data.columns.volume), or leave it at 1"
        )
