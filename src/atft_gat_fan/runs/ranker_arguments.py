"""The facade's parameters as arguments of `load_config`: Python values in, Hydra's grammar out."""

import math
from collections.abc import Mapping
from datetime import date
from numbers import Integral, Real
from os import PathLike
from typing import Any

from atft_gat_fan.config.overrides import quoted
from atft_gat_fan.errors import ConfigError

KEYS = {
    "model": "model",
    "horizons": "data.horizons",
    "seed": "seed",
    "train_end": "split.train_end",
    "valid_end": "split.valid_end",
    "max_epochs": "train.max_epochs",
    "batch_size": "batch_size",
    "num_threads": "run.num_threads",
}
"""Parameters, and the configuration's names for them (`model`: an option of the group)."""
OWN = {
    "data.source": "the panel is what `fit` is given",
    "run.dir": "give run_dir",
    "config": "give config",
}
"""What has a place of its own."""


def arguments(parameters: Mapping[str, Any]) -> list[str]:
    """Command-line arguments for `config`, the parameters of `KEYS` that are not None, and `overrides`.

    Raises ConfigError for a key that is given twice or has another place, and a value that is no configuration's.
    """
    overrides = parameters["overrides"] or {}
    if not isinstance(overrides, Mapping):
        raise ConfigError(
            f"overrides: expected a mapping such as {{'optimizer.lr': 0.002}}, found {type(overrides).__name__}"
        )
    given = {key: parameters[name] for name, key in KEYS.items() if parameters[name] is not None}
    for key in overrides:
        if key in OWN:
            raise ConfigError(f"overrides: {key} cannot be set here; {OWN[key]}")
        if key in given:
            name = next(name for name, known in KEYS.items() if known == key)
            raise ConfigError(f"expected {key} once, found it as {name} and in overrides; leave one out")
    whole = [] if parameters["config"] is None else [f"config={parameters['config']}"]
    return [*whole, *(f"{key}={_text(value, key)}" for key, value in {**given, **overrides}.items())]


def _text(value: Any, key: str) -> str:
    """A value in Hydra's grammar."""
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case Integral():
            return str(int(value))
        case Real():
            return str(float(value)) if math.isfinite(value) else f"'{float(value)}'"
        case str() | PathLike() | date():
            return quoted(str(value))
        case Mapping():
            return "{" + ",".join(f"{name}:{_text(inner, f'{key}.{name}')}" for name, inner in value.items()) + "}"
        case list() | tuple():
            return "[" + ",".join(_text(inner, key) for inner in value) + "]"
    raise ConfigError(
        f"{key}: expected a number, text, a date, a list or a mapping, found {type(value).__name__} {value!r:.80}"
    )
