"""Does the model still rank? RankIC of the days whose labels have matured, with its CUSUM against the validation's."""

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from atft_gat_fan.config.schema import MonitorConfig
from atft_gat_fan.monitoring.observations import Observations
from atft_gat_fan.monitoring.result import RankIcResult
from atft_gat_fan.monitoring.windows import number, numbers
from atft_gat_fan.statistics.bootstrap import mean_block_length
from atft_gat_fan.statistics.cusum import calibrated_threshold, long_run_deviation, lower_cusum
from atft_gat_fan.statistics.hac import automatic_lags, newey_west

SHARE_OF_RATE = 0.25
"""Of the false alarms that the CUSUMs of all horizons may raise together."""
SEED = 1
NORMAL_95 = 1.96


def judge_rank_ic(reference: Observations, now: Observations, config: MonitorConfig) -> dict[str, RankIcResult]:
    """Of each horizon; days of `now` that are not after the reference's are left out: those chose the weights."""
    horizons = [name for name in reference.rank_ic if name in now.rank_ic]
    after = np.array([day > reference.days[-1] for day in now.days], dtype=bool)
    lags = {name: automatic_lags(len(reference.days), _days(name)) for name in horizons}
    known = [name for name in horizons if np.isfinite(reference.rank_ic[name]).any()]
    threshold = np.nan
    if known:
        threshold = calibrated_threshold(
            np.stack([reference.rank_ic[name] for name in known], axis=1),
            tuple(lags[name] for name in known),
            allowance=config.rank_ic_drop / 2,
            rate=SHARE_OF_RATE * config.false_alarm_rate,
            block_length=max(mean_block_length(_days(name)) for name in known),
            num_resamples=max(100, config.num_resamples // 4),
            seed=SEED,
        )
    return {
        name: _judged(name, reference.rank_ic[name], now, after, lags[name], threshold, config) for name in horizons
    }


def _days(horizon: str) -> int:
    return int(horizon.removesuffix("d"))


def _judged(
    name: str,
    before: Float[NDArray[np.float64], " days"],
    now: Observations,
    after: NDArray[np.bool_],
    lags: int,
    threshold: float,
    config: MonitorConfig,
) -> RankIcResult:
    matured = np.flatnonzero(np.isfinite(now.rank_ic[name]) & after)[-config.rank_ic_days :]
    daily, days = now.rank_ic[name][matured], tuple(now.days[position] for position in matured.tolist())
    known = before[np.isfinite(before)]
    mean = float(known.mean()) if len(known) else np.nan
    deviation = long_run_deviation(before, lags)
    inference = newey_west(daily, automatic_lags(len(daily), _days(name))) if len(daily) else newey_west(daily, 0)
    judged = bool(np.isfinite(threshold) and deviation > 0)
    sums = np.full(len(daily), np.nan)
    if judged:
        sums = lower_cusum(daily, mean, deviation, allowance=config.rank_ic_drop / 2, threshold=threshold)
    raised = tuple(days[position] for position in np.flatnonzero(sums > threshold).tolist())
    recent = [day for day in raised if day in days[-config.short_days :]]
    half = NORMAL_95 * inference.standard_error
    return RankIcResult(
        days=days,
        daily=numbers(daily),
        mean=number(inference.mean),
        standard_error=number(inference.standard_error),
        t=number(inference.t),
        low=number(inference.mean - half),
        high=number(inference.mean + half),
        reference_mean=number(mean),
        reference_deviation=number(deviation),
        cusum=numbers(sums),
        cusum_threshold=number(threshold),
        raised=raised,
        alarm=bool(recent),
        since=recent[0] if recent else None,
        unavailable=_why(len(daily), judged),
    )


def _why(num_days: int, judged: bool) -> str | None:
    if not num_days:
        return "no label has matured yet on a day after the reference"
    return None if judged else "too few reference days have a RankIC: no CUSUM"
