"""Keys of nested settings that are not the same in all runs."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Json = Mapping[str, Any]


@dataclass(frozen=True)
class Differing:
    """A key whose value is not the same in all runs; `values` in the order of the runs, None: it has no such key."""

    key: str
    values: tuple[Any, ...]


def differing(mappings: Sequence[Json]) -> Iterator[Differing]:
    """Dotted keys, in order of appearance, whose values are not equal in all of the nested mappings."""
    flat = [dict(_flat(mapping)) for mapping in mappings]
    for key in dict.fromkeys(key for each in flat for key in each):
        values = tuple(each.get(key) for each in flat)
        if any(value != values[0] for value in values[1:]):
            yield Differing(key, values)


def _flat(values: Json, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
