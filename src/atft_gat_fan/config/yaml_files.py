"""YAML files as plain values: data only, and no larger in memory than they look."""

import os
import stat
from collections import defaultdict
from io import StringIO
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from atft_gat_fan.errors import ConfigError

MOST_BYTES = 1 << 20
MOST_VALUES = 20_000
MOST_LEVELS = 50


def read_yaml(path: Path) -> dict[str, Any]:
    """One YAML file as it is, plain; no tag in it makes anything but text, numbers, lists and mappings.

    Raises ConfigError where it is not readable, not YAML, not a mapping, or written to fill the memory.
    """
    try:
        text = _read(path)
        _require_small(text)
        content = OmegaConf.load(StringIO(text))
    except (OSError, ValueError, OverflowError, yaml.YAMLError, OmegaConfBaseException) as error:
        raise ConfigError(f"{path}: expected a readable YAML file, found {error}") from error
    if not isinstance(content, DictConfig):
        raise ConfigError(f"{path}: expected keys and values, found a list")
    return plain(content)


def plain(config: DictConfig, resolve: bool = False) -> dict[str, Any]:
    """The nested plain values of `config`."""
    values = OmegaConf.to_container(config, resolve=resolve)
    assert isinstance(values, dict)
    return {str(key): value for key, value in values.items()}


def _read(path: Path) -> str:
    # Opening a pipe would wait for its writer. Links are for the user to set: it is the user who names the file.
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise ValueError("something that is no plain file")
        if found.st_size > MOST_BYTES:
            raise ValueError(f"{found.st_size} bytes where {MOST_BYTES} are the most")
        return file.read(MOST_BYTES).decode()


def _require_small(text: str) -> None:
    """Raises ValueError where values, with every alias counted as what it stands for, are too many or nested deeply."""
    sizes: dict[str | None, int] = defaultdict(int)
    opened: list[str | None] = []
    """The anchors, if any, of the collections around."""
    total = 0
    for event in yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
        if isinstance(event, yaml.CollectionEndEvent):
            opened.pop()
        if not isinstance(event, yaml.NodeEvent):
            continue
        if isinstance(event, yaml.AliasEvent):
            if event.anchor in opened:
                raise ValueError(f"*{event.anchor} inside of what it stands for")
            own, size = None, sizes[event.anchor]
        else:
            own, size = event.anchor, 1
        for anchor in {*opened, own}:
            sizes[anchor] += size
        total += size
        if isinstance(event, yaml.CollectionStartEvent):
            opened.append(own)
        if total > MOST_VALUES or len(opened) > MOST_LEVELS:
            raise ValueError(
                f"more than {MOST_VALUES} values, its aliases written out, or more than {MOST_LEVELS} levels of them"
            )
