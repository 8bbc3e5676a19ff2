"""What moved, since when; and what is missing."""

import numpy as np
import pytest

from atft_gat_fan.config.schema import MonitorConfig
from atft_gat_fan.monitoring.alarms import alarms_of
from atft_gat_fan.monitoring.memory import judge_memory
from atft_gat_fan.monitoring.result import MemoryReading
from atft_gat_fan.monitoring.shift import judge_shift, largest_psi
from tests.monitoring.healthy_days import Market, bins_of

CONFIG = MonitorConfig(days=20, num_resamples=200)
READING = MemoryReading("2026-01-05T07:00:00+00:00", 1, 1)


@pytest.fixture(scope="module")
def market():
    return Market.healthy(1, 180, num_features=4, num_stocks=40)


@pytest.fixture(scope="module")
def reference(market):
    return market.observed(slice(0, 120))


def observed(market, reference, **changes):
    return market.with_(**changes).observed(slice(120, 180), bins_of(reference))


def of(found, name):
    return next(shift for shift in found["raw_features"].shifts if shift.name == name)


def test_what_moved_stands_first_and_says_since_when(market, reference) -> None:
    features = market.features.copy()
    features[170:, :, 2] += 3.0
    now = observed(market, reference, features=features)
    found = judge_shift(reference, now, CONFIG)
    shifted = found["raw_features"].shifts[0]
    assert (shifted.name, shifted.alarm) == ("f2", True)
    assert now.days[50] <= shifted.since <= now.days[52]
    assert shifted.short.wasserstein.value == pytest.approx(3, rel=0.25)
    assert shifted.excess[-1] > 1
    assert shifted.excess[45] < 1
    assert sum(shifted.distribution.now) == pytest.approx(1)
    assert largest_psi(found) == shifted.long.psi.value
    alarms = alarms_of(found, (), {}, judge_memory((), READING, CONFIG))
    assert alarms[0].name == "f2"
    assert "f2" in alarms[0].sentence


def test_what_is_to_come_changes_no_day_before(market, reference) -> None:
    features = market.features.copy()
    features[150:] *= 7.0
    one, other = (
        judge_shift(reference, observed(market, reference, features=values), CONFIG)["raw_features"]
        for values in (market.features, features)
    )
    before, after = ({shift.name: shift.excess for shift in found.shifts} for found in (one, other))
    for name, excess in before.items():
        assert excess[:30] == after[name][:30]
        assert excess[30:] != after[name][30:]


def test_a_feature_that_is_gone_alarms_by_what_is_missing(market, reference) -> None:
    features = market.features.copy()
    features[175:, :, 1] = np.nan
    found = judge_shift(reference, observed(market, reference, features=features), CONFIG)
    gone = of(found, "f1")
    assert gone.alarm
    assert gone.nan_share == pytest.approx(5 / 20)
    assert gone.reference_nan_share == 0
    assert gone.short.psi.value is None
    assert not of(found, "f0").alarm
    alarms = alarms_of(found, (), {}, judge_memory((), READING, CONFIG))
    assert [alarm.statistic for alarm in alarms] == ["nan_share"]


def test_a_window_that_is_not_full_has_no_statistic_and_a_short_panel_a_short_window(market, reference) -> None:
    found = of(judge_shift(reference, observed(market, reference), CONFIG), "f0")
    assert found.psi[:19] == (None,) * 19
    assert None not in found.psi[19:]
    few = market.observed(slice(120, 123), bins_of(reference))
    assert of(judge_shift(reference, few, CONFIG), "f0").long.psi.value is not None


def test_a_family_that_cannot_be_compared_says_why(market, reference) -> None:
    found = judge_shift(reference, observed(market, reference), CONFIG)
    assert list(found) == ["raw_features", "standardised_features", "predictions"]
    assert found["standardised_features"].unavailable == "nothing is standardised within the day"
