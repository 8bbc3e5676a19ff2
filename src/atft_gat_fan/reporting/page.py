"""One self-contained HTML page: templates in, a string out. No scripts, no addresses, nothing to download."""

from dataclasses import dataclass
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup


@dataclass(frozen=True)
class Chart:
    """A figure of the page. `title` says what one sees; where `svg` is None, `note` says why there is nothing to see.

    `wide` charts take the whole width, others half of it. `svg` must come from `reporting.figures`: it is the
    one thing that is not escaped.
    """

    title: str
    note: str = ""
    svg: str | None = None
    wide: bool = True


@dataclass(frozen=True)
class Fact:
    """A line of a list of facts, or a tile with a small `detail` under its value."""

    name: str
    value: str
    detail: str = ""


Row = tuple[str, ...]


@dataclass(frozen=True)
class Table:
    """`columns` name the cells of each row, the first of which names the row."""

    title: str
    note: str
    columns: Row
    rows: tuple[Row, ...]


def render(template: str, **context: Any) -> str:
    """The named template of `reporting/templates`, everything in `context` escaped."""
    return _environment().get_template(template).render(**context)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("atft_gat_fan.reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["svg"] = Markup
    return environment
