"""Conditions of --fail-on are read by name, and what was not measured has failed."""

from dataclasses import replace

import pytest

from atft_gat_fan.errors import ConfigError
from atft_gat_fan.monitoring.gates import check_gate, parse_gate
from atft_gat_fan.monitoring.result import MonitorResult
from tests.monitoring.examples import alarmed, healthy

RESULT = healthy()


def checked(expression: str, result: MonitorResult = RESULT):
    return check_gate(parse_gate(expression), result)


def largest(family, window, statistic):
    return max(getattr(getattr(shift, window), statistic).value for shift in RESULT.families[family].shifts)


def test_psi_is_the_largest_of_all_families_and_of_one_where_that_is_named() -> None:
    assert checked("psi>0").measured == max(largest(family, "long", "psi") for family in RESULT.families)
    assert checked("predictions.psi>0").measured == largest("predictions", "long", "psi")
    assert checked("raw_features.ks_short>0").measured == largest("raw_features", "short", "ks")


def test_other_measures_are_those_of_the_newest_day_or_of_the_run() -> None:
    coverage = next(number for number in RESULT.stability if number.name == "coverage")
    assert checked("coverage<0.9").measured == coverage.daily[-1]
    assert checked("rank_ic_1d<0").measured == RESULT.rank_ic["1d"].mean
    assert checked("rank_ic_t_5d<0").measured == RESULT.rank_ic["5d"].t
    assert checked("cusum_1d>5").measured == RESULT.rank_ic["1d"].cusum[-1]
    assert checked("memory_trend>0.01").measured == RESULT.memory.slope
    assert checked("stocks<500").measured == RESULT.stocks[-1]
    assert checked("rank_correlation_1d<0.5").measured is not None


def test_a_condition_that_is_true_has_failed() -> None:
    assert not checked("alarms>0").failed
    assert checked("alarms>0", alarmed()).failed
    assert checked("psi>-1").failed
    assert not checked("stocks<0").failed


def test_what_was_not_measured_has_failed() -> None:
    unknown = replace(RESULT, rank_ic={})
    gate = checked("rank_ic_1d<0", unknown)
    assert (gate.measured, gate.failed) == (None, True)


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("psi", "expected .*measure>number"),
        ("pssi>0.25", "did you mean psi"),
        ("prediction.psi>0.25", "did you mean predictions"),
        ("predictions.coverage<1", "expected one of psi"),
        ("psi>1.2.3", "expected a number after >"),
        ("rank_ic>0", "rank_ic_1d"),
    ],
)
def test_something_else_is_refused_with_what_there_is(expression: str, message: str) -> None:
    with pytest.raises(ConfigError, match=f"--fail-on .*{message}"):
        parse_gate(expression)
