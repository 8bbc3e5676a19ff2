"""The tree of YAML files and the command line, composed by Hydra into one plain mapping."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import hydra
import yaml
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException, MissingConfigException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from atft_gat_fan.config.defaults_lists import require_plain
from atft_gat_fan.config.names import did_you_mean
from atft_gat_fan.config.overrides import CONFIG_ARGUMENT, apply, parse, quoted
from atft_gat_fan.config.schema import Config
from atft_gat_fan.config.yaml_files import plain, read_yaml
from atft_gat_fan.errors import ConfigError

PRIMARY = "config.yaml"
REQUIRED = "???"
CHECKOUT = Path(__file__).parents[3]
PACKAGE = Path(__file__).parents[1]


def config_tree() -> Path:
    """The tree of YAML files: `configs/atft` of the current folder, else of the checkout, else the packaged copy."""
    folders = [folder / "configs" / "atft" for folder in (Path.cwd(), CHECKOUT, PACKAGE)]
    for folder in folders:
        if (folder / PRIMARY).is_file():
            return folder.resolve()
    looked = ", ".join(str(folder) for folder in folders)
    raise ConfigError(f"expected {PRIMARY} in one of {looked}, found none; install atft-gat-fan again")


def compose(arguments: Sequence[str]) -> dict[str, Any]:
    """Nested plain values of the tree under `arguments` (see `load.load_config`), every key of the schema present.

    Raises ConfigError: unknown files or options, arguments out of the grammar, references to nothing, missing values.
    """
    tree = config_tree()
    chosen = [argument.removeprefix(CONFIG_ARGUMENT) for argument in arguments if argument.startswith(CONFIG_ARGUMENT)]
    if len(chosen) > 1:
        raise ConfigError(f"expected config= once, found {len(chosen)}: {', '.join(chosen)}; name one, then set keys")
    overrides = [parse(argument) for argument in arguments if not argument.startswith(CONFIG_ARGUMENT)]
    groups = [override for override in overrides if _chooses_option(override, tree)]
    primary, overlay = tree / PRIMARY, _find(chosen[0], tree) if chosen else None
    if overlay is not None and _is_whole(overlay, tree):
        primary, overlay = overlay, None

    config = OmegaConf.create(Config().model_dump(mode="json"))
    _lay(_compose_file(primary, tree, groups), config)
    if overlay is not None:
        _lay(_compose_file(overlay, tree, ()), config)
    for override in overrides:
        if override not in groups:
            apply(override, config)
    return _resolve(config)


def _find(name: str, tree: Path) -> Path:
    """The file that `config=name` means."""
    inner = re.sub(r"^(configs/)?(atft/)?", "", name)
    for candidate in (Path(name), tree / inner, tree / f"{inner}.yaml", Path(f"{name}.yaml")):
        if candidate.suffix == ".yaml" and candidate.is_file():
            return candidate.resolve()
    known = sorted(file.relative_to(tree).with_suffix("").as_posix() for file in tree.rglob("*.yaml"))
    hint = did_you_mean(name.removesuffix(".yaml"), known)
    raise ConfigError(f"config={name}: expected a .yaml file or one of {', '.join(known)}; found neither{hint}")


def _is_whole(file: Path, tree: Path) -> bool:
    """Whether a file composes a configuration of its own: it has a defaults list, and is no option of a group."""
    is_option = file.is_relative_to(tree) and file.parent != tree
    return not is_option and "defaults" in read_yaml(file)


def _chooses_option(override: Override, tree: Path) -> bool:
    """Whether `data=nasdaq` is meant, and not `data.source=…` or `data={source: …}`."""
    names_option = override.value() is None or isinstance(override.value(), str | list)
    return names_option and (tree / override.key_or_group).is_dir()


def _compose_file(file: Path, tree: Path, groups: Sequence[Override]) -> DictConfig:
    inside = file.is_relative_to(tree)
    folder = tree if inside else file.parent
    content = require_plain(file, (folder, tree), [(o.key_or_group, o.value()) for o in groups])
    arguments = [_group_argument(override, _listed_groups(content)) for override in groups]
    if not inside:  # its defaults list may name options of the tree
        arguments.append(f"hydra.searchpath=[{quoted(f'file://{tree}')}]")
    try:
        with hydra.initialize_config_dir(str(folder), job_name="atft", version_base="1.3"):
            composed = hydra.compose(file.relative_to(folder).with_suffix("").as_posix(), arguments)
    except MissingConfigException as error:
        raise ConfigError(_unknown_option(error)) from error
    except (HydraException, OmegaConfBaseException, yaml.YAMLError, ValueError) as error:
        raise ConfigError(f"{file} cannot be composed with {' '.join(arguments) or 'its defaults'}: {error}") from error
    # The schema knows which keys exist, and says so better.
    OmegaConf.set_struct(composed, None)
    return composed


def _listed_groups(content: dict[str, Any]) -> set[str]:
    entries = content.get("defaults")
    if not isinstance(entries, list):
        return set()
    return {group for entry in entries if isinstance(entry, dict) for group in entry}


def _group_argument(override: Override, listed: set[str]) -> str:
    """Hydra takes `+group=option` only for unlisted groups, and `group=null` never; here they do as they say."""
    if override.value() is None:
        return f"~{override.key_or_group}"
    line = str(override.input_line)
    return line.lstrip("+") if override.key_or_group in listed else line


def _unknown_option(error: MissingConfigException) -> str:
    if not error.options:
        return str(error).split("\nConfig search path")[0].strip()
    group, _, option = str(error.missing_cfg_file).rpartition("/")
    hint = did_you_mean(option, error.options)
    return f"unknown option {group}={option}; expected one of {', '.join(error.options)}{hint}"


def _lay(layer: DictConfig, config: DictConfig) -> None:
    """Merge `layer` over `config`, in place. What the layer requires is open again, even where `config` has a value."""
    config.merge_with(layer)
    for key in _required(layer):
        OmegaConf.update(config, key, REQUIRED)


def _required(config: DictConfig) -> list[str]:
    return [path for path, text in _texts(plain(config)) if text == REQUIRED]


def _resolve(config: DictConfig) -> dict[str, Any]:
    for path, text in _texts(plain(config)):
        if "${" in re.sub(r"\$\{[\w.]+\}", "", text):
            # Resolvers such as oc.env would make the result depend on more than the files and the command.
            raise ConfigError(
                f"{path}: expected at most references to other keys, as ${{model.hidden_size}}, found {text!r}"
            )
    required = _required(config)
    if required:
        raise ConfigError(f"{', '.join(required)} must be given here: {' '.join(f'{key}=…' for key in required)}")
    try:
        return plain(config, resolve=True)
    except OmegaConfBaseException as error:
        raise ConfigError(f"{error.full_key}: {str(error).splitlines()[0]}") from error


def _texts(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _texts(inner, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner, path)
    elif isinstance(value, str):
        yield path, value
