"""What the monitor must see, how soon, and how seldom it may be wrong; on made-up days that move together."""

from dataclasses import dataclass
from functools import cache

import numpy as np
import pytest

from atft_gat_fan.config.schema import MonitorConfig
from atft_gat_fan.monitoring.realised import judge_rank_ic
from atft_gat_fan.monitoring.shift import judge_shift
from atft_gat_fan.monitoring.stability import judge_stability
from atft_gat_fan.monitoring.windows import rolling_means
from tests.monitoring.healthy_days import RANK_IC, Market, bins_of

pytestmark = pytest.mark.slow
REFERENCE_DAYS, HEALTHY_DAYS = 250, 1000
MARKETS = 6
CALM = 5
"""Features, the first so many, whose daily mean moves by up to 0.1 and whose spread by up to 6 %."""
CONFIG = MonitorConfig(rank_ic_days=HEALTHY_DAYS)
MATURED = 60


@dataclass
class Case:
    market: Market
    reference: object

    def observed(self, num_days, **changes):
        """The reference's market for `num_days` days more, with other values from the reference's end on."""
        market = self.market.with_(**changes)
        days = slice(REFERENCE_DAYS, REFERENCE_DAYS + num_days)
        return market.observed(days, bins_of(self.reference))


@cache
def case(seed):
    market = Market.healthy(seed, REFERENCE_DAYS + HEALTHY_DAYS)
    return Case(market, market.observed(slice(0, REFERENCE_DAYS)))


def shift_alarms(found, now):
    excess = [[value or 0.0 for value in shift.excess] for family in found.values() for shift in family.shifts]
    return (np.array(excess) > 1).any(axis=0)


def stability_alarms(found, now):
    alarm = np.zeros(len(now.days), bool)
    for number in found:
        means = rolling_means(np.array(number.daily, dtype=float), CONFIG.short_days)
        alarm |= means < (-np.inf if number.low is None else number.low)
        alarm |= means > (np.inf if number.high is None else number.high)
    return alarm


def rank_ic_alarms(found, now):
    raised = {day for result in found.values() for day in result.raised}
    return np.array([day in raised for day in now.days])


def test_healthy_days_alarm_on_at_most_one_in_a_hundred() -> None:
    """All features, statistics, windows, numbers and horizons together; RankIC's are counted when they are raised."""
    shares = []
    for seed in range(MARKETS):
        healthy = case(seed)
        now = healthy.observed(HEALTHY_DAYS)
        alarm = shift_alarms(judge_shift(healthy.reference, now, CONFIG), now)
        alarm |= stability_alarms(judge_stability(healthy.reference, now, CONFIG), now)
        alarm |= rank_ic_alarms(judge_rank_ic(healthy.reference, now, CONFIG), now)
        shares.append(float(alarm.mean()))
    print(f"\nhealthy days with an alarm, each of {MARKETS} markets: {np.round(shares, 4)}, mean {np.mean(shares):.4f}")
    assert np.mean(shares) <= 0.01


@pytest.mark.parametrize("kind", ["feature", "prediction"])
def test_drift_alarms_within_five_days(kind) -> None:
    seen = []
    for seed in range(MARKETS):
        drifted, start = case(seed), REFERENCE_DAYS + 60
        if kind == "feature":
            for feature in range(CALM):
                values = drifted.market.features.copy()
                values[start:, :, feature] *= 1.5
                found = judge_shift(drifted.reference, drifted.observed(65, features=values), CONFIG)["raw_features"]
                seen.append(any(shift.name == f"f{feature}" and shift.alarm for shift in found.shifts))
        else:
            spread = drifted.market.predictions[:REFERENCE_DAYS].std(axis=(0, 1))
            values = drifted.market.predictions.copy()
            values[start:] += 0.25 * spread
            found = judge_shift(drifted.reference, drifted.observed(65, predictions=values), CONFIG)["predictions"]
            seen.append(any(shift.alarm for shift in found.shifts))
    print(f"\n{kind}: {np.mean(seen):.0%} of {len(seen)} drifts seen within 5 days")
    assert np.mean(seen) >= 0.9


def test_a_rank_ic_that_is_gone_alarms_within_sixty_matured_days() -> None:
    seen = []
    for seed in range(16):
        market = Market.healthy(seed, REFERENCE_DAYS + 120, num_features=1, num_stocks=4)
        reference = market.observed(slice(0, REFERENCE_DAYS))
        gone = {name: series.copy() for name, series in market.rank_ic.items()}
        for series in gone.values():
            series[-MATURED:] -= RANK_IC
        now = market.with_(rank_ic=gone).observed(slice(REFERENCE_DAYS, REFERENCE_DAYS + 120), bins_of(reference))
        found = judge_rank_ic(reference, now, MonitorConfig())
        seen.append(any(day >= now.days[-MATURED] for result in found.values() for day in result.raised))
    print(f"\nRankIC 0.05 to 0: {np.mean(seen):.0%} of {len(seen)} seen within {MATURED} matured days")
    assert np.mean(seen) >= 0.7
