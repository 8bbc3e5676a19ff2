"""The names of the configuration's keys, and the nearest one to a name it does not have."""

from collections.abc import Iterable, Iterator
from difflib import SequenceMatcher

from pydantic import BaseModel

from atft_gat_fan.config.schema import Config


def known_keys(section: type[BaseModel] = Config, prefix: str = "") -> Iterator[str]:
    """Dotted names of all sections and keys, parents first."""
    for name, field in section.model_fields.items():
        yield f"{prefix}{name}"
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from known_keys(field.annotation, f"{prefix}{name}.")


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name most like `name`, or None when nothing is.

    The last parts count most, because a key is often right and just its section wrong (`lr` for `optimizer.lr`);
    the sections half as much, and the whole names where all that ties.
    """
    section, _, last = name.rpartition(".")

    def likeness(candidate: str) -> tuple[float, float]:
        its_section, _, its_last = candidate.rpartition(".")
        return _ratio(last, its_last) + 0.5 * _ratio(section, its_section), _ratio(name, candidate)

    alike = [candidate for candidate in known if _ratio(last, candidate.rpartition(".")[2]) >= 0.6]
    return max(alike, key=likeness, default=None)


def _ratio(one: str, other: str) -> float:
    return SequenceMatcher(None, one, other).ratio()


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`; did you mean X?`, or nothing."""
    best = nearest(name, known)
    return f"; did you mean {best}?" if best else ""


def unknown_key(name: str) -> str:
    """What to tell a user who wrote a key that the configuration does not have."""
    return f"unknown key {name}{did_you_mean(name, known_keys())}"
