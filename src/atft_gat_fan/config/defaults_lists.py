"""The files that a defaults list leads to, each looked at before Hydra reads it.

Hydra's own reading has no bounds, and a file may set Hydra itself, whose search path can import packages.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from atft_gat_fan.config.yaml_files import read_yaml
from atft_gat_fan.errors import ConfigError


def require_plain(file: Path, folders: Sequence[Path], groups: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """The content of `file`; it and all that it, or one of `groups` (name, options), chooses in `folders` are plain.

    Raises ConfigError for a file that is not, naming it, and for one outside of `folders`.
    """
    content = _read(file)
    waiting = [(file, "", {"defaults": [*_entries(file, content), *({group: value} for group, value in groups)]})]
    seen = {file.resolve()}
    while waiting:
        source, group, content_of_source = waiting.pop()
        for name in _names(source, content_of_source):
            for candidate in {f"{group}/{name}".lstrip("/"), name.lstrip("/")}:
                for folder in folders:
                    path = folder / f"{candidate}.yaml"
                    if path.is_file() and path.resolve() not in seen:
                        seen.add(path.resolve())
                        waiting.append((path, candidate.rpartition("/")[0], _read(path)))
    return content


def _read(file: Path) -> dict[str, Any]:
    content = read_yaml(file)
    if "hydra" in content:
        raise ConfigError(
            f"{file}: sets Hydra itself under `hydra:`; only its grammar is used here, remove the section"
        )
    return content


def _entries(file: Path, content: dict[str, Any]) -> list[Any]:
    entries = content.get("defaults", [])
    if not isinstance(entries, list):
        raise ConfigError(f"{file}: expected a list of files under `defaults`, found {entries!r:.80}")
    return entries


def _names(file: Path, content: dict[str, Any]) -> Iterator[str]:
    """Each entry of the defaults list without Hydra's words for how it is merged: `optional group@package: option`."""
    for entry in _entries(file, content):
        pairs = entry.items() if isinstance(entry, dict) else [("", entry)]
        for group, options in pairs:
            for option in options if isinstance(options, list) else [options]:
                name = f"{_bare(str(group))}/{_bare(str(option))}" if group else _bare(str(option))
                if ".." in name.split("/") or "${" in name or "://" in name:
                    raise ConfigError(
                        f"{file}: expected options by their names under `defaults`, found {name!r:.80}; "
                        "put the file beside this one, or below, and name it"
                    )
                yield name.removesuffix(".yaml")


def _bare(name: str) -> str:
    return name.split("@")[0].removeprefix("optional ").removeprefix("override ").strip()
