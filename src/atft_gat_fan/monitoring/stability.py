"""Are days like the day before, are all stocks there, is anything missing, and is the graph the same?

Each number is judged by its mean over the short window. Healthy means come from the reference days: stretches of as
many consecutive days, and how far those means lie from the mean of all. A bound is c of their standard deviations away,
c from Student's t with as many degrees as there are separate stretches, for all numbers and sides together
(Bonferroni): stretches that were seen are too few to show the tail.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from scipy.stats import t as student_t

from atft_gat_fan.config.schema import MonitorConfig
from atft_gat_fan.monitoring.observations import (
    GRAPH_DEGREE,
    NAN_SHARE,
    RANK_CORRELATION,
    SCORED_SHARE,
    Observations,
)
from atft_gat_fan.monitoring.result import StabilityResult
from atft_gat_fan.monitoring.windows import number, numbers, rolling_means, since
from atft_gat_fan.statistics.cusum import long_run_deviation

COVERAGE = "coverage"
SHARE_OF_RATE = 0.1
"""Of the false alarms that these numbers may raise together."""
TITLES = {
    COVERAGE: "Stocks scored, as a share of the reference's mean number",
    SCORED_SHARE: "Stocks scored, as a share of those present",
    NAN_SHARE: "Missing inputs of the model, as a share of all",
    GRAPH_DEGREE: "Neighbours of a stock, itself not counted",
}


@dataclass(frozen=True)
class _Side:
    """Which deviations are alarms, and the least one that matters."""

    low: bool
    high: bool
    least: float


SIDES = {
    COVERAGE: _Side(low=True, high=False, least=0.05),  # new listings are no fault
    SCORED_SHARE: _Side(low=True, high=False, least=0.02),
    NAN_SHARE: _Side(low=False, high=True, least=0.02),
    GRAPH_DEGREE: _Side(low=True, high=True, least=0.5),
    RANK_CORRELATION: _Side(low=True, high=True, least=0.02),  # too alike: yesterday's data again
}


def judge_stability(reference: Observations, now: Observations, config: MonitorConfig) -> tuple[StabilityResult, ...]:
    """The numbers of each day; what is not known of either side says why."""
    before, after = ({COVERAGE: _coverage(each, reference), **each.numbers} for each in (reference, now))
    names = [name for name in after if name in before]
    num_sides = sum(_side(name).low + _side(name).high for name in names)
    window = min(config.short_days, len(now.days))
    rate = SHARE_OF_RATE * config.false_alarm_rate / max(num_sides, 1)
    judged = [_judged(name, before[name], after[name], now.days, window, rate) for name in names]
    missing = {**reference.missing_numbers, **now.missing_numbers}
    return (*judged, *(_unknown(name, why) for name, why in missing.items() if name not in names))


def _coverage(observations: Observations, reference: Observations) -> Float[NDArray[np.float64], " days"]:
    usual = float(reference.stocks.mean())
    return observations.stocks / usual if usual > 0 else np.full(len(observations.stocks), np.nan)


def _side(name: str) -> _Side:
    return SIDES[RANK_CORRELATION if name.startswith(RANK_CORRELATION) else name]


def _judged(
    name: str,
    before: Float[NDArray[np.float64], " days"],
    after: Float[NDArray[np.float64], " days"],
    days: tuple[str, ...],
    window: int,
    rate: float,
) -> StabilityResult:
    side, means = _side(name), rolling_means(after, window)
    known = before[np.isfinite(before)]
    unavailable = None
    low = high = middle = np.nan
    if len(known):
        middle, reach = float(known.mean()), max(side.least, _reach(before, window, rate))
        low, high = (middle - reach if side.low else -np.inf), (middle + reach if side.high else np.inf)
    else:
        unavailable = "not known of any reference day"
    alarm = (means < low) | (means > high)
    return StabilityResult(
        name=name,
        title=title(name),
        daily=numbers(after),
        value=number(means[-1]),
        reference=number(middle),
        low=number(low),
        high=number(high),
        alarm=bool(alarm[-1]),
        since=since(alarm, days),
        unavailable=unavailable,
    )


def _reach(before: Float[NDArray[np.float64], " days"], window: int, rate: float) -> float:
    """How far from the reference's mean that of a window may lie."""
    means = rolling_means(before, window)[window - 1 :]
    means = means[np.isfinite(means)]
    if len(means) < 2:
        return 0.0
    num_days = int(np.isfinite(before).sum())
    degrees = max(2, num_days // (2 * window) - 1)
    # The mean of all is itself a sample, of days that resemble each other.
    own_error = np.nan_to_num(long_run_deviation(before, 4 * window)) / np.sqrt(num_days)
    spread = float(np.sqrt(means.var(ddof=1) + own_error**2))
    return float(student_t.isf(rate, degrees)) * spread


def title(name: str) -> str:
    """In words."""
    if name.startswith(RANK_CORRELATION):
        horizon = name.removeprefix(f"{RANK_CORRELATION}_")
        return f"Rank correlation of the scores at {horizon} with those of the day before"
    return TITLES[name]


def _unknown(name: str, why: str) -> StabilityResult:
    return StabilityResult(name, title(name), (), None, None, None, None, alarm=False, since=None, unavailable=why)
