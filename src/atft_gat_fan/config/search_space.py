"""A search space in Hydra's sweep grammar: `a=1,2`, `choice(…)`, `range(…)`, `interval(…)`, `tag(log, …)`."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from hydra.core.override_parser.types import ChoiceSweep, IntervalSweep, Override, RangeSweep
from hydra.errors import HydraException

from atft_gat_fan.config.load import PLACES
from atft_gat_fan.config.overrides import CONFIG_ARGUMENT, parse
from atft_gat_fan.errors import ConfigError

TAGS = {"log", "int"}
KEPT = {*PLACES, "evaluation", "split"}
"""Sections that all trials share: places and what is measured; other days or horizons would be another question."""


@dataclass(frozen=True)
class Choice:
    """One of several values, each as it stands on a command line."""

    key: str
    values: tuple[str, ...]


@dataclass(frozen=True)
class Numbers:
    """From `low` to `high`, both included; `step` None: every number between."""

    key: str
    low: float
    high: float
    whole: bool
    log: bool
    step: float | None = None


@dataclass(frozen=True)
class Space:
    """What a search varies, and the arguments that all its trials have."""

    parameters: tuple[Choice | Numbers, ...]
    varied: tuple[str, ...]
    """The arguments of `parameters`, as they were given."""
    fixed: tuple[str, ...]

    def arguments(self, drawn: dict[str, str | float]) -> list[str]:
        """The command line of what was drawn, by key."""
        return [
            f"{each.key}={drawn[each.key] if isinstance(each, Choice) else _text(drawn[each.key], each.whole)}"
            for each in self.parameters
        ]


def read_space(arguments: Sequence[str]) -> Space:
    """Raises ConfigError for arguments out of the grammar, nothing to vary, and what cannot be searched over."""
    parameters: list[Choice | Numbers] = []
    varied: list[str] = []
    fixed: list[str] = []
    for argument in arguments:
        if argument.startswith(CONFIG_ARGUMENT):
            fixed.append(argument)
            continue
        override = parse(argument)
        if override.is_sweep_override():
            parameters.append(_parameter(argument, override))
            varied.append(argument)
        else:
            fixed.append(argument)
    if not parameters:
        raise ConfigError(
            "expected something to search over, found none, as 'optimizer.lr=tag(log,interval(1e-4,1e-2))' or "
            "'model.hidden_size=choice(32,64)'"
        )
    keys = [each.key for each in parameters]
    if len(set(keys)) < len(keys):
        raise ConfigError(f"expected each key once, found {', '.join(keys)}")
    return Space(tuple(parameters), tuple(varied), tuple(fixed))


def _parameter(argument: str, override: Override) -> Choice | Numbers:
    key, value = override.get_key_element(), override.value()
    if override.key_or_group.split(".")[0].split("/")[0] in KEPT:
        raise ConfigError(
            f"{argument}: expected keys of the model or its training, found one that all trials must share, as they "
            "are judged on the same days; set it to one value"
        )
    tags: set[str] = getattr(value, "tags", set())
    if not tags <= TAGS or getattr(value, "shuffle", False):
        raise ConfigError(f"{argument}: expected no other tags than log and int and no shuffle: what is next is drawn")
    if isinstance(value, ChoiceSweep) and not tags:
        return Choice(key, tuple(_enumerated(argument, override)))
    if isinstance(value, RangeSweep):
        return _steps(argument, key, override, "log" in tags)
    if isinstance(value, IntervalSweep):
        low, high = float(value.start or 0), float(value.end or 0)
        whole = "int" in tags or (isinstance(value.start, int) and isinstance(value.end, int))
        return _checked(argument, Numbers(key, low, high, whole, "log" in tags))
    raise ConfigError(f"{argument}: expected choice(..), range(..) or interval(..), numbers alone with tags")


def _steps(argument: str, key: str, override: Override, log: bool) -> Numbers:
    """`range(a, b)` ends before b, as everywhere in the grammar."""
    values = [float(each) for each in _enumerated(argument, override)]
    if len(values) < 2:
        raise ConfigError(f"{argument}: expected at least two values, found {len(values)}")
    low, high, step = min(values), max(values), abs(values[1] - values[0])
    whole = all(value == int(value) for value in values)
    if log and not (whole and step == 1):
        raise ConfigError(f"{argument}: expected steps of 1 on a logarithmic scale, found {step:g}; take interval(..)")
    return _checked(argument, Numbers(key, low, high, whole, log, None if log else step))


def _checked(argument: str, numbers: Numbers) -> Numbers:
    finite = math.isfinite(numbers.low) and math.isfinite(numbers.high)
    if not (finite and numbers.low < numbers.high and (numbers.low > 0 or not numbers.log)):
        scale = " above 0" if numbers.log else ""
        raise ConfigError(f"{argument}: expected low < high{scale}, got {numbers.low:g} and {numbers.high:g}")
    if numbers.whole and not (numbers.low.is_integer() and numbers.high.is_integer()):
        raise ConfigError(f"{argument}: expected whole bounds, got {numbers.low:g} and {numbers.high:g}")
    return numbers


def _enumerated(argument: str, override: Override) -> list[str]:
    try:
        return list(override.sweep_string_iterator())
    except HydraException as error:
        raise ConfigError(f"{argument}: expected values to enumerate; {error}") from error


def _text(value: str | float, whole: bool) -> str:
    return str(int(value)) if whole else repr(float(value))
