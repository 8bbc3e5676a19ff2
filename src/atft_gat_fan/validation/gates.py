"""Conditions on what was measured, for schedulers: `rank_ic_1d>=0`, `huber_loss.time_ratio<=1.1`."""

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from atft_gat_fan.config.names import did_you_mean
from atft_gat_fan.errors import ConfigError
from atft_gat_fan.validation.arms import ALL, SWITCHES
from atft_gat_fan.validation.result import GateResult, ImprovementResult

_GATE = re.compile(
    r"^(?:(?P<arm>\w+)\.)?(?P<what>\w+)\s*(?P<sign>>=|<=|>|<)\s*(?P<limit>[-+]?[\d.]+(?:[eE][-+]?\d+)?)$"
)
_RANK_IC = re.compile(r"^rank_ic_(?P<horizon>\d+d)(?P<bound>_low|_high|_p)?$")
_SIGNS: dict[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}
_MEASURES: dict[str, Callable[[ImprovementResult], float | None]] = {
    "divergence_rate": lambda result: result.divergence.rate,
    "divergence_change": lambda result: result.divergence.change,
    "memory_ratio": lambda result: result.memory.ratio,
    "time_ratio": lambda result: result.time.ratio,
}


@dataclass(frozen=True)
class Gate:
    """`arm` None: `all`, or the one improvement that was compared."""

    expression: str
    arm: str | None
    what: str
    sign: str
    limit: float


def parse_gate(text: str) -> Gate:
    """Raises ConfigError, with the grammar and the nearest name, for something else."""
    match = _GATE.match(text.strip())
    measures = ["rank_ic_1d", "rank_ic_1d_low", "rank_ic_1d_high", "rank_ic_1d_p", *_MEASURES]
    if match is None:
        raise ConfigError(f"--gate {text!r}: expected [improvement.]measure>=number, for instance 'rank_ic_1d>=0'")
    arm, what = match["arm"], match["what"]
    if arm is not None and arm not in (*SWITCHES, ALL):
        known = [*SWITCHES, ALL]
        hint = did_you_mean(arm, known)
        raise ConfigError(f"--gate {text!r}: expected one of {', '.join(known)} before the point, found {arm}{hint}")
    if what not in _MEASURES and not _RANK_IC.match(what):
        raise ConfigError(
            f"--gate {text!r}: expected one of {', '.join(measures)} (any horizon), found {what}"
            f"{did_you_mean(what, measures)}"
        )
    try:
        limit = float(match["limit"])
    except ValueError as error:
        raise ConfigError(
            f"--gate {text!r}: expected a number after {match['sign']}, found {match['limit']}"
        ) from error
    return Gate(text.strip(), arm, what, match["sign"], limit)


def check_gate(gate: Gate, improvements: Mapping[str, ImprovementResult]) -> GateResult:
    """Whether it held; not, where what it asks for was not measured."""
    name = gate.arm or (ALL if ALL in improvements or len(improvements) != 1 else next(iter(improvements)))
    measured = _measured(gate.what, improvements[name]) if name in improvements else None
    held = measured is not None and _SIGNS[gate.sign](measured, gate.limit)
    return GateResult(gate.expression, measured, held)


def _measured(what: str, result: ImprovementResult) -> float | None:
    rank_ic = _RANK_IC.match(what)
    if rank_ic is None:
        return _MEASURES[what](result)
    delta = result.delta_rank_ic.get(rank_ic["horizon"])
    if delta is None:
        return None
    return {None: delta.mean, "_low": delta.low, "_high": delta.high, "_p": delta.p}[rank_ic["bound"]]
