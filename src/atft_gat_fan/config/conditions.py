"""Conditions on what was measured, as options give them to schedulers: `rank_ic_1d>=0`, `predictions.psi>0.25`."""

import operator
import re
from collections.abc import Callable
from dataclasses import dataclass

from atft_gat_fan.errors import ConfigError

_CONDITION = re.compile(
    r"^(?:(?P<scope>\w+)\.)?(?P<what>\w+)\s*(?P<sign>>=|<=|>|<)\s*(?P<limit>[-+]?[\d.]+(?:[eE][-+]?\d+)?)$"
)
_SIGNS: dict[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}


@dataclass(frozen=True)
class Condition:
    """`what` `sign` `limit`, of a `scope` where one is named before a point."""

    expression: str
    scope: str | None
    what: str
    sign: str
    limit: float

    def holds(self, measured: float) -> bool:
        return _SIGNS[self.sign](measured, self.limit)


def parse_condition(text: str, option: str, grammar: str) -> Condition:
    """Of the command line's `option`; names are not looked at.

    Raises ConfigError, with the `grammar`, for something else.
    """
    match = _CONDITION.match(text.strip())
    if match is None:
        raise ConfigError(f"{option} {text!r}: expected {grammar}")
    try:
        limit = float(match["limit"])
    except ValueError as error:
        raise ConfigError(
            f"{option} {text!r}: expected a number after {match['sign']}, found {match['limit']}"
        ) from error
    return Condition(text.strip(), match["scope"], match["what"], match["sign"], limit)
