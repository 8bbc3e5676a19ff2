"""Text in, the frozen `Config` or an explained error out; and the way back to text.

    load_config(["config=atft/train/production", "data=nasdaq", "optimizer.lr=0.002"])

composes the tree of YAML files (`config.compose`); `from_mapping` takes nested values as they are.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from pydantic import ValidationError
from pydantic_core import ErrorDetails, PydanticSerializationError, to_jsonable_python

from atft_gat_fan.config.compose import compose
from atft_gat_fan.config.names import unknown_key
from atft_gat_fan.config.overrides import apply, parse
from atft_gat_fan.config.schema import Config
from atft_gat_fan.config.yaml_files import plain, read_yaml
from atft_gat_fan.errors import ConfigError

# Where a run lies, whether it starts over and when it pauses, and what it is compared with: not what it computes.
PLACES: dict[str, Any] = {
    "run": {"dir", "root", "fresh", "stop_after"},
    "data": {"cache", "remote"},
    "distributed": True,
    "validation": True,
    "monitor": True,
    "walkforward": True,
    "trials": True,
    "search": True,
}


def load_config(overrides: Sequence[str] = ()) -> Config:
    """The configuration of `configs/atft/config.yaml` under command-line arguments in Hydra's grammar.

    `config=X` lays a file over it at the root: a name in the tree (`atft/train/production`, with or without
    `.yaml`), or a path; a file with its own `defaults` list stands in for `config.yaml`. `data=nasdaq` chooses an
    option of a group; `key=value`, `+key=value` and `++key=value` alike set any key of the schema, `~key` puts it back
    to its default. Groups first, then X, then keys.

    Raises ConfigError: unknown file, option or key (with the nearest name), wrong values, a required value missing.
    """
    return from_mapping(compose(overrides))


def read_config(path: Path) -> Config:
    """A resolved configuration as `to_yaml` wrote it, by itself: nothing is composed with it."""
    return from_mapping(read_yaml(path))


def from_mapping(mapping: Mapping[str, Any]) -> Config:
    """Validate nested plain values; sections and keys left out have their defaults.

    A section given as `{...}`, a set that holds Ellipsis, counts as left out: the migration memo writes so.
    Values are taken strictly (no text for numbers, no numbers for booleans), dates as `date` or ISO text.

    Raises ConfigError with every unknown key and every wrong value, each by its dotted path.
    """
    if isinstance(mapping, DictConfig):
        mapping = plain(mapping, resolve=True)
    given = {key: value for key, value in mapping.items() if not (isinstance(value, set) and value == {...})}
    try:
        values = to_jsonable_python(given)
        text = json.dumps(values)
    except (PydanticSerializationError, ValueError, RecursionError) as error:
        raise ConfigError(f"expected numbers, text, lists and mappings in a configuration: {error}") from error
    for path in _key_paths(values):
        if path.endswith("_target_"):
            raise ConfigError(f"{path}: a configuration names no code to run here; remove the key")
    try:
        # JSON is the strict mode of pydantic that still takes lists for tuples and text for dates.
        return Config.model_validate_json(text, strict=True)
    except ValidationError as error:
        raise ConfigError(_explain(error.errors(include_url=False), values)) from error


def overridden(config: Config, arguments: Sequence[str]) -> Config:
    """The configuration with `key=value` arguments laid over it; groups and files are not chosen here.

    Raises ConfigError as `load_config`.
    """
    values = OmegaConf.create(config.model_dump(mode="json"))
    for argument in arguments:
        apply(parse(argument), values)
    return from_mapping(plain(values))


def to_yaml(config: Config) -> str:
    """Every key with its value; `read_config` makes an equal configuration of it."""
    return OmegaConf.to_yaml(OmegaConf.create(config.model_dump(mode="json")))


def run_folder(config: Config) -> Path:
    """`run.dir`; by default `run.root`/`run.name`-<eight digits of the SHA-256 of every key that is not a place>."""
    if config.run.dir is not None:
        return Path(config.run.dir)
    text = json.dumps(config.model_dump(mode="json", exclude=PLACES), sort_keys=True)
    return Path(config.run.root) / f"{config.run.name}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def _key_paths(value: Any, prefix: str = "") -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield f"{prefix}{key}"
            yield from _key_paths(inner, f"{prefix}{key}.")
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _key_paths(inner, f"{prefix}{index}.")


def _explain(problems: Sequence[ErrorDetails], given: Mapping[str, Any]) -> str:
    lines: list[str] = []
    expected: dict[str, list[str]] = {}
    found: dict[str, Any] = {}
    for problem in problems:
        path, value = _locate(problem["loc"], given)
        if problem["type"] == "extra_forbidden":
            lines.append(unknown_key(path))
        elif problem["type"] == "value_error":  # the schema's own rules: they name what was found themselves
            rule = problem["msg"].removeprefix("Value error, ")
            lines.append(f"{path}: {rule}" if path else rule)
        else:
            expected.setdefault(path, []).append(_expectation(problem))
            found[path] = value
    for path, alternatives in expected.items():
        line = f"{path}: expected {' or '.join(dict.fromkeys(alternatives))}, found {json.dumps(found[path]):.200}"
        quoted = f"; put it in quotes: {path}='\"{found[path]}\"'" if alternatives == ["a valid string"] else ""
        lines.append(line + quoted)
    if len(lines) == 1:
        return lines[0]
    return "\n".join([f"{len(lines)} problems", *(f"  {number}. {line}" for number, line in enumerate(lines, 1))])


def _locate(location: tuple[int | str, ...], given: Any) -> tuple[str, Any]:
    """Dotted path and value of a problem. Pydantic's names of union branches are not in the input, and are left out."""
    path = []
    for part in location:
        inside = part in given if isinstance(given, dict) else isinstance(given, list) and part in range(len(given))
        if inside:
            given = given[part]
            path.append(str(part))
    return ".".join(path), given


def _expectation(problem: ErrorDetails) -> str:
    match problem["type"]:
        case "model_type":
            return "a section with keys of its own"
        case "tuple_type":
            return "a list"
        case "date_type" | "date_parsing":
            return "a date such as 2012-01-31"
        case "missing":  # an entry of a tuple of fixed length
            return f"a list of at least {int(problem['loc'][-1]) + 1} values"
        case "string_pattern_mismatch":
            return f"text that matches {problem['ctx']['pattern']}"
    return problem["msg"].removeprefix("Input should be ")
