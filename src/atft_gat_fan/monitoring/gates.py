"""Conditions of `--fail-on`, for schedulers: `psi>0.25`, `predictions.psi>0.1`, `coverage<0.9`, `alarms>0`."""

import re
from collections.abc import Callable, Mapping
from typing import get_args

from atft_gat_fan.config.conditions import Condition, parse_condition
from atft_gat_fan.config.names import did_you_mean
from atft_gat_fan.errors import ConfigError
from atft_gat_fan.monitoring.result import Family, GateResult, MonitorResult, ShiftResult

OPTION = "--fail-on"
GRAMMAR = "[family.]measure>number, for instance 'psi>0.25' or 'coverage<0.9'"
FAMILIES = get_args(Family)
_SHIFTS: Mapping[str, Callable[[ShiftResult], float | None]] = {
    "psi": lambda shift: shift.long.psi.value,
    "ks": lambda shift: shift.long.ks.value,
    "wasserstein": lambda shift: shift.long.wasserstein.value,
    "psi_short": lambda shift: shift.short.psi.value,
    "ks_short": lambda shift: shift.short.ks.value,
    "wasserstein_short": lambda shift: shift.short.wasserstein.value,
}
"""Largest over all names, of one family where it is named before a point."""
_OTHERS: Mapping[str, Callable[[MonitorResult], float | None]] = {
    "alarms": lambda result: float(len(result.alarms)),
    "memory_trend": lambda result: result.memory.slope,
    "stocks": lambda result: float(result.stocks[-1]) if result.stocks else None,
    **{
        name: lambda result, name=name: _newest(result, name)  # type: ignore[misc]
        for name in ("coverage", "scored_share", "nan_share", "graph_degree")
    },
}
_OF_HORIZON = re.compile(r"^(?P<what>rank_ic|rank_ic_t|cusum|rank_correlation)_(?P<horizon>\d+d)$")
_EXAMPLES = ("rank_ic_1d", "rank_ic_t_1d", "cusum_1d", "rank_correlation_1d")


def parse_gate(text: str) -> Condition:
    """Raises ConfigError, with the grammar and the nearest name, for something else."""
    gate = parse_condition(text, OPTION, GRAMMAR)
    if gate.scope is not None and gate.scope not in FAMILIES:
        raise ConfigError(
            f"{OPTION} {text!r}: expected one of {', '.join(FAMILIES)} before the point, found {gate.scope}"
            f"{did_you_mean(gate.scope, FAMILIES)}"
        )
    measures = [*_SHIFTS, *([] if gate.scope else [*_OTHERS, *_EXAMPLES])]
    if gate.what not in measures and (gate.scope or not _OF_HORIZON.match(gate.what)):
        horizons = "" if gate.scope else " (any horizon)"
        raise ConfigError(
            f"{OPTION} {text!r}: expected one of {', '.join(measures)}{horizons}, found {gate.what}"
            f"{did_you_mean(gate.what, measures)}"
        )
    return gate


def check_gate(gate: Condition, result: MonitorResult) -> GateResult:
    """Whether it failed: where the condition is true, and where what it asks for was not measured."""
    measured = _measured(gate, result)
    return GateResult(gate.expression, measured, measured is None or gate.holds(measured))


def _measured(gate: Condition, result: MonitorResult) -> float | None:
    if gate.what in _SHIFTS:
        families = [result.families[gate.scope]] if gate.scope else list(result.families.values())  # type: ignore[index]
        values = [_SHIFTS[gate.what](shift) for family in families for shift in family.shifts]
        return max((value for value in values if value is not None), default=None)
    if gate.what in _OTHERS:
        return _OTHERS[gate.what](result)
    match = _OF_HORIZON.match(gate.what)
    assert match is not None, "a gate is checked after it was parsed"
    if match["what"] == "rank_correlation":
        return _newest(result, gate.what)
    realised = result.rank_ic.get(match["horizon"])
    if realised is None:
        return None
    if match["what"] == "cusum":
        return realised.cusum[-1] if realised.cusum else None
    return realised.mean if match["what"] == "rank_ic" else realised.t


def _newest(result: MonitorResult, name: str) -> float | None:
    """A number of the newest day."""
    found = next((number for number in result.stability if number.name == name), None)
    return found.daily[-1] if found is not None and found.daily else None
