"""Have features or predictions moved away from the reference days?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from numpy.typing import NDArray

from atft_gat_fan.config.schema import MonitorConfig
from atft_gat_fan.monitoring.daily_histograms import DailyHistograms
from atft_gat_fan.monitoring.observations import Observations
from atft_gat_fan.monitoring.result import (
    TITLES,
    Distribution,
    Family,
    FamilyResult,
    Measured,
    ShiftResult,
    WindowShift,
)
from atft_gat_fan.monitoring.windows import number, numbers, rolling_sums, since
from atft_gat_fan.statistics.shift_thresholds import (
    STATISTICS,
    Histograms,
    calibrated_thresholds,
    shift_statistics,
)

TOGETHER: tuple[tuple[tuple[Family, ...], float], ...] = (
    (("raw_features", "standardised_features"), 0.15),
    (("predictions",), 0.25),
)
"""Families whose thresholds are calibrated together, predictions apart because few should not pay for many; and the
share of all false alarms that they may raise (`docs/monitoring.md` has how the rate is shared out)."""
DRAWN = 12
"""Names of a family whose distribution is shown."""
SEED = 0
MORE_MISSING = 0.05
"""Share of missing values beyond that of the worst reference day, from which on it is an alarm."""

Statistics = Float[NDArray[np.float64], "days windows names 3"]


@dataclass(frozen=True, eq=False)
class _Found:
    """Statistics of each monitored day (NaN before a window is full), and their thresholds."""

    statistics: Statistics
    thresholds: Float[NDArray[np.float64], "windows names 3"]
    nan_share: Float[NDArray[np.float64], "days names"]
    """Of the short window."""
    nan_threshold: Float[NDArray[np.float64], " names"]

    @property
    def any_alarm(self) -> Bool[NDArray[np.bool_], "days names"]:
        return self.alarm.any(axis=(1, 3)) | (self.nan_share > self.nan_threshold)

    @property
    def alarm(self) -> Bool[NDArray[np.bool_], "days windows names 3"]:
        return self.statistics > self.thresholds

    @property
    def excess(self) -> Float[NDArray[np.float64], "days names"]:
        """The largest of each day over its threshold; NaN where there is none."""
        over = np.where(np.isfinite(self.statistics), self.statistics / self.thresholds, -np.inf).max(axis=(1, 3))
        over = np.fmax(over, self.nan_share / self.nan_threshold)
        return np.where(np.isfinite(over), over, np.nan)


def judge_shift(reference: Observations, now: Observations, config: MonitorConfig) -> dict[Family, FamilyResult]:
    """Every family of the reference; one that cannot be compared says why. `now` has at least one day."""
    long_days = min(config.days, len(now.days))
    windows = (long_days, min(config.short_days, long_days))
    results: dict[Family, FamilyResult] = {}
    for group, share in TOGETHER:
        comparable = {family: _comparable(family, reference, now) for family in group}
        families = [family for family in group if comparable[family] is None]
        for family, found in _measured(families, reference, now, windows, share, config).items():
            results[family] = _family(
                family, found, reference.families[family], now.families[family], now.days, windows[0]
            )
        for family in group:
            if (why := comparable[family]) is not None:
                results[family] = FamilyResult(TITLES[family], (), why)
    return {family: results[family] for family in TITLES}


def _comparable(family: Family, reference: Observations, now: Observations) -> str | None:
    """Why a family cannot be compared, None where it can."""
    if family not in reference.families:
        return reference.unavailable.get(family, "the reference has none")
    if family not in now.families:
        return now.unavailable.get(family, "the monitored days have none")
    return None


def _measured(
    families: Sequence[Family],
    reference: Observations,
    now: Observations,
    windows: tuple[int, int],
    share: float,
    config: MonitorConfig,
) -> Mapping[Family, _Found]:
    if not families:
        return {}
    counted = [reference.families[family].as_histograms() for family in families]
    together = Histograms(
        np.concatenate([each.counts for each in counted], axis=1),
        np.concatenate([each.edges for each in counted]),
        np.concatenate([each.deviation for each in counted]),
    )
    thresholds = calibrated_thresholds(
        together,
        windows,
        rate=share * config.false_alarm_rate,
        block_length=config.block_days,
        num_resamples=config.num_resamples,
        seed=SEED,
    )
    found, first = {}, 0
    for family, each in zip(families, counted, strict=True):
        names = slice(first, first + len(each.edges))
        first = names.stop
        nan_share, nan_threshold = _missing(reference.families[family], now.families[family], windows[1])
        statistics = _rolling(each, now.families[family], windows)
        found[family] = _Found(statistics, thresholds[:, names], nan_share, nan_threshold)
    return found


def _missing(
    reference: DailyHistograms, now: DailyHistograms, window: int
) -> tuple[Float[NDArray[np.float64], "days names"], Float[NDArray[np.float64], " names"]]:
    """Share of missing values of each short window, NaN before the first, and the largest that is no alarm."""
    worst_day = np.nan_to_num(
        np.array([reference.nan_share(slice(day, day + 1)) for day in range(len(reference.counts))])
    )
    share = np.full(now.missing.shape, np.nan)
    missing = rolling_sums(now.missing.astype(np.float64), window)
    known = rolling_sums(now.counts.sum(axis=2, dtype=np.float64), window)
    share[window - 1 :] = np.divide(
        missing, missing + known, out=np.full(missing.shape, np.nan), where=missing + known > 0
    )
    return share, worst_day.max(axis=0) + MORE_MISSING


def _rolling(reference: Histograms, now: DailyHistograms, windows: tuple[int, int]) -> Statistics:
    daily = now.counts.astype(np.float64)
    pooled = reference.counts.sum(axis=0, dtype=np.float64)
    statistics = np.full((len(daily), len(windows), len(pooled), len(STATISTICS)), np.nan)
    for position, window in enumerate(windows):
        sums = rolling_sums(daily, window)
        statistics[window - 1 :, position] = shift_statistics(
            np.broadcast_to(pooled, sums.shape), sums, reference.edges, reference.deviation
        )
    return statistics


def _family(
    family: Family,
    found: _Found,
    reference: DailyHistograms,
    now: DailyHistograms,
    days: tuple[str, ...],
    long_days: int,
) -> FamilyResult:
    excess, alarm = found.excess, found.alarm
    newest = slice(len(days) - long_days, None)
    nan_share, reference_nan_share = now.nan_share(newest), reference.nan_share()
    order = np.argsort(-np.nan_to_num(excess[-1], nan=-1.0), kind="stable")

    def window(position: int, name: int) -> WindowShift:
        return WindowShift(
            *(
                Measured(
                    number(found.statistics[-1, position, name, statistic]),
                    number(found.thresholds[position, name, statistic]),
                    bool(alarm[-1, position, name, statistic]),
                    since(alarm[:, position, name, statistic], days),
                )
                for statistic in range(len(STATISTICS))
            )
        )

    shifts = []
    for place, name in enumerate(order.tolist()):
        any_alarm = found.any_alarm[:, name]
        shifts.append(
            ShiftResult(
                name=reference.names[name],
                long=window(0, name),
                short=window(1, name),
                nan_share=number(nan_share[name]),
                reference_nan_share=number(reference_nan_share[name]),
                alarm=bool(any_alarm[-1]),
                since=since(any_alarm, days),
                excess=numbers(excess[:, name]),
                psi=numbers(found.statistics[:, 0, name, 0]),
                nan_threshold=number(found.nan_threshold[name]),
                distribution=_distribution(reference, now, newest, name) if place < DRAWN else None,
            )
        )
    return FamilyResult(TITLES[family], tuple(shifts))


def _distribution(reference: DailyHistograms, now: DailyHistograms, newest: slice, name: int) -> Distribution | None:
    before, after = reference.counts[:, name].sum(axis=0), now.counts[newest, name].sum(axis=0)
    if not (before.sum() and after.sum()):
        return None
    return Distribution(
        tuple(reference.bins.edges[name].tolist()),
        tuple((before / before.sum()).tolist()),
        tuple((after / after.sum()).tolist()),
    )


def largest_psi(families: Mapping[Family, FamilyResult]) -> float | None:
    """Of the long window, over all names of all families."""
    known = [
        shift.long.psi.value
        for family in families.values()
        for shift in family.shifts
        if shift.long.psi.value is not None
    ]
    return max(known, default=None)
