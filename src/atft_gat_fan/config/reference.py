"""The reference of every key, written from the schema.

python -m atft_gat_fan.config.reference docs/configuration.md
"""

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from atft_gat_fan.config.schema import Config

INTRODUCTION = """\
# Configuration

Every key, as `atft train` takes it: `atft train optimizer.lr=0.002 data.horizons=[1,5]`. `configs/atft/config.yaml` and
the files it names are laid over these defaults; `atft train --dry-run` prints what comes out. A key that is not here is
refused with the nearest name. Returns are fractions, never percent; days are trading days; shares lie between 0 and 1.

Written by `make docs` from `src/atft_gat_fan/config/schema.py` and the sections it joins, and compared with them by the
tests: edit those files.
"""
COLUMNS = ("key", "type", "default", "meaning")


def reference() -> str:
    """Markdown: one table a section of the configuration, one line a key with type, default, unit and meaning."""
    return "\n".join([INTRODUCTION, *_section(Config, "")])


def _section(section: type[BaseModel], prefix: str) -> Iterator[str]:
    """The section's own keys as a table, then the sections inside it."""
    properties: Mapping[str, Mapping[str, Any]] = section.model_json_schema()["properties"]
    inner = {name: kind for name, field in section.model_fields.items() if (kind := _as_section(field.annotation))}
    lines = [
        f"| `{prefix}{name}` | {_kind(schema)} | `{json.dumps(schema['default'])}` | {_prose(schema['description'])} |"
        for name, schema in properties.items()
        if name not in inner
    ]
    if lines:
        yield f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}"
        yield "\n".join(lines) + "\n"
    for name, kind in inner.items():
        yield f"{'#' * (2 + prefix.count('.'))} {prefix}{name}\n"
        if about := section.model_fields[name].description or _own_words(kind):
            yield f"{' '.join(about.split())}\n"
        yield from _section(kind, f"{prefix}{name}.")


def _as_section(annotation: Any) -> type[BaseModel] | None:
    return annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None


def _own_words(section: type[BaseModel]) -> str | None:
    """A section's docstring; a class without one would have its parent's here."""
    return section.__dict__.get("__doc__")


def _kind(schema: Mapping[str, Any]) -> str:
    """The values a key takes, in words."""
    if "anyOf" in schema:
        return " or ".join(_kind(branch) for branch in schema["anyOf"])
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if "const" in schema:
        return f"`{schema['const']}`"
    match schema["type"]:
        case "array" if "prefixItems" in schema:
            return f"list of {len(schema['prefixItems'])}: {_kind(schema['prefixItems'][0])}"
        case "array":
            return f"list of {_kind(schema['items'])}"
        case "integer" | "number":
            return " ".join([schema["type"], *_bounds(schema)])
        case "string":
            return str(schema.get("format", "text"))
    return str(schema["type"])


def _bounds(schema: Mapping[str, Any]) -> Iterator[str]:
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    bounds = [f"{sign} {schema[name]}" for name, sign in signs.items() if name in schema]
    if bounds:
        yield ", ".join(bounds)


def _prose(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(reference())
