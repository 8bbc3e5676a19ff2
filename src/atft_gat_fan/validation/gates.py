"""Conditions on what was measured, for schedulers: `rank_ic_1d>=0`, `huber_loss.time_ratio<=1.1`."""

import re
from collections.abc import Callable, Mapping

from atft_gat_fan.config.conditions import Condition, parse_condition
from atft_gat_fan.config.names import did_you_mean
from atft_gat_fan.errors import ConfigError
from atft_gat_fan.validation.arms import ALL, SWITCHES
from atft_gat_fan.validation.result import GateResult, ImprovementResult

GRAMMAR = "[improvement.]measure>=number, for instance 'rank_ic_1d>=0'"
_RANK_IC = re.compile(r"^rank_ic_(?P<horizon>\d+d)(?P<bound>_low|_high|_p)?$")
_MEASURES: dict[str, Callable[[ImprovementResult], float | None]] = {
    "divergence_rate": lambda result: result.divergence.rate,
    "divergence_change": lambda result: result.divergence.change,
    "memory_ratio": lambda result: result.memory.ratio,
    "time_ratio": lambda result: result.time.ratio,
}


def parse_gate(text: str) -> Condition:
    """The scope is an improvement; without one `all` is meant, or the one that was compared.

    Raises ConfigError, with the grammar and the nearest name, for something else.
    """
    gate = parse_condition(text, "--gate", GRAMMAR)
    measures = ["rank_ic_1d", "rank_ic_1d_low", "rank_ic_1d_high", "rank_ic_1d_p", *_MEASURES]
    arm, what = gate.scope, gate.what
    if arm is not None and arm not in (*SWITCHES, ALL):
        known = [*SWITCHES, ALL]
        hint = did_you_mean(arm, known)
        raise ConfigError(f"--gate {text!r}: expected one of {', '.join(known)} before the point, found {arm}{hint}")
    if what not in _MEASURES and not _RANK_IC.match(what):
        raise ConfigError(
            f"--gate {text!r}: expected one of {', '.join(measures)} (any horizon), found {what}"
            f"{did_you_mean(what, measures)}"
        )
    return gate


def check_gate(gate: Condition, improvements: Mapping[str, ImprovementResult]) -> GateResult:
    """Whether it held; not, where what it asks for was not measured."""
    name = gate.scope or (ALL if ALL in improvements or len(improvements) != 1 else next(iter(improvements)))
    measured = _measured(gate.what, improvements[name]) if name in improvements else None
    held = measured is not None and gate.holds(measured)
    return GateResult(gate.expression, measured, held)


def _measured(what: str, result: ImprovementResult) -> float | None:
    rank_ic = _RANK_IC.match(what)
    if rank_ic is None:
        return _MEASURES[what](result)
    delta = result.delta_rank_ic.get(rank_ic["horizon"])
    if delta is None:
        return None
    return {None: delta.mean, "_low": delta.low, "_high": delta.high, "_p": delta.p}[rank_ic["bound"]]
