"""`key=value` arguments in Hydra's grammar: parsed, applied, multiplied out."""

from collections.abc import Sequence
from itertools import product
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, Quote, QuotedString
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from atft_gat_fan.config.names import unknown_key
from atft_gat_fan.errors import ConfigError

CONFIG_ARGUMENT = "config="


def parse(argument: str) -> Override:
    """One argument. Raises ConfigError when it is not in the grammar or sets one of Hydra's own keys."""
    try:
        override = OverridesParser.create().parse_override(argument)
    except (HydraException, ValueError, RecursionError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(
            f"cannot read {argument!r:.200}: expected key=value, ~key or group=option, found {reason}; put quotes "
            f"around a value with spaces, commas, brackets or letters outside ASCII in it: key='\"a, b\"'"
        ) from error
    if not override.key_or_group:
        raise ConfigError(f"cannot read {argument!r}: expected key=value, found no key")
    if override.key_or_group.split(".")[0].split("/")[0] == "hydra":
        raise ConfigError(f"{argument!r} sets Hydra itself: only its grammar is used here; leave it out")
    return override


def quoted(text: str) -> str:
    """Text as the grammar reads it back, whatever characters it holds."""
    return QuotedString(text, Quote.single).with_quotes()


def assignment(key: str, text: str) -> str:
    """The argument that sets `key` to `text`."""
    return f"{key}={quoted(text)}"


def apply(override: Override, config: DictConfig) -> None:
    """Set or delete one key of `config` in place. A deleted key goes back to its default."""
    key = override.key_or_group
    if override.is_sweep_override():
        raise ConfigError(
            f"{override.input_line} has several values: add -m to run one after another, or [..] for a list"
        )
    if override.is_delete():
        _delete(override, config)
        return
    try:
        OmegaConf.update(config, key, override.value(), merge=True, force_add=True)
    except OmegaConfBaseException as error:
        raise ConfigError(f"{override.input_line}: {str(error).splitlines()[0]}") from error


def _delete(override: Override, config: DictConfig) -> None:
    key, expected = override.key_or_group, override.value()
    section, _, last = key.rpartition(".")
    parent: Any = OmegaConf.select(config, section) if section else config
    if not isinstance(parent, DictConfig) or last not in list(parent):
        raise ConfigError(f"{override.input_line}: {unknown_key(key)}")
    if expected is not None and OmegaConf.select(config, key) != expected:
        raise ConfigError(
            f"{override.input_line}: expected {expected!r} to delete, found {OmegaConf.select(config, key)!r}"
        )
    del parent[last]


def expand_sweep(arguments: Sequence[str]) -> list[list[str]]:
    """Argument lists of a sweep: every combination of `a=1,2`, `choice(..)`, `range(..)`, the last varying fastest."""
    return [list(combination) for combination in product(*map(_choices, arguments))]


def _choices(argument: str) -> list[str]:
    if argument.startswith(CONFIG_ARGUMENT):
        return [f"{CONFIG_ARGUMENT}{name}" for name in argument.removeprefix(CONFIG_ARGUMENT).split(",")]
    override = parse(argument)
    if not override.is_sweep_override():
        return [argument]
    try:
        return [f"{override.get_key_element()}={value}" for value in override.sweep_string_iterator()]
    except HydraException as error:
        raise ConfigError(
            f"{argument}: expected values to enumerate, as a=1,2 or a=range(1,4) (atft search takes intervals); {error}"
        ) from error
