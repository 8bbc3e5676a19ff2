"""What each column of a CSV file is, decided from all its values in one pass, and what stands in the wrong place."""

from dataclasses import dataclass
from typing import NamedTuple

import polars as pl

from atft_gat_fan.config.csv_section import CsvConfig
from atft_gat_fan.config.schema import ColumnsConfig

ROW = "__line__"
BLANKS = r"[\u{a0}\u{202f}]"
"""Spaces that do not break, which spreadsheets put between thousands."""


class Misplaced(NamedTuple):
    """A value that is not what its column is: row of the data (0 is the first), column, value, how many."""

    row: int
    column: str
    value: str
    expected: str
    num_values: int


@dataclass(frozen=True)
class Reading:
    """Columns by what they are; all others are text."""

    numbers: tuple[str, ...]
    booleans: tuple[str, ...]
    problems: tuple[Misplaced, ...]


def number(name: str, form: CsvConfig) -> pl.Expr:
    """The column's text as Float64; null where it is missing or no number."""
    text = _given(name, form)
    if form.thousands is None and form.decimal == ".":
        return text.cast(pl.Float64, strict=False)
    point = r"\." if form.decimal == "." else ","
    group = "" if form.thousands is None else rf"|\d{{1,3}}(?:{_escaped(form.thousands)}\d{{3}})+"
    if form.thousands == " ":
        text = text.str.replace_all(BLANKS, " ")
    # Grouped by threes or not at all: 1,23 is no 123.
    fits = text.str.contains(rf"^[+-]?(?:\d+{group})?(?:{point}\d*)?(?:[eE][+-]?\d+)?$")
    if form.thousands is not None:
        text = text.str.replace_all(form.thousands, "", literal=True)
    if form.decimal == ",":
        text = text.str.replace_all(",", ".", literal=True)
    return pl.when(fits).then(text.cast(pl.Float64, strict=False))


def boolean(name: str, form: CsvConfig) -> pl.Expr:
    """The column's text as booleans; null where it is missing or neither true nor false."""
    text = _given(name, form).str.to_lowercase()
    return pl.when(text == "true").then(True).when(text == "false").then(False)


def date_of(name: str, date_format: str) -> pl.Expr:
    """The column's text as dates; null where it is missing or no date of that format."""
    return pl.col(name).str.strip_chars().str.to_date(date_format, strict=False)


def read_columns(lines: pl.LazyFrame, date_format: str | None, columns: ColumnsConfig, form: CsvConfig) -> Reading:
    """Decide what the columns of `lines` (text, and their row number ROW) are.

    Of text where most values are numbers the others are misplaced, and so is whatever is no number among prices and
    volume; a column with fewer numbers is one of text.
    """
    names = [name for name in lines.collect_schema().names() if name != ROW]
    as_text = {columns.code, columns.static, columns.date}
    free = [name for name in names if name not in as_text]
    dated = [columns.date] if date_format is not None and columns.date in names else []
    wanted = [expression for name in free for expression in _counts(name, form)]
    wanted += [expression for name in dated for expression in _bad(name, date_of(name, str(date_format)), _text(name))]
    # Every column is looked at: a field too many behind the last one that is would be passed over.
    wanted += [pl.col(name).count().alias(f"all {name}") for name in names]
    found = lines.select(wanted).collect(engine="streaming").row(0, named=True)
    prices = {columns.open, columns.high, columns.low, columns.close, columns.adj_close, columns.volume}
    numbers, booleans = [], []
    problems = [_misplaced(found, name, f"dates as {date_format}") for name in dated if found[f"bad {name}"]]
    for name in free:
        given, bad = found[f"given {name}"], found[f"bad {name}"]
        if not bad:
            numbers.append(name)
        elif found[f"booleans {name}"] == given:
            booleans.append(name)
        elif name in prices or 2 * bad < given:
            problems.append(_misplaced(found, name, "numbers"))
    return Reading(tuple(numbers), tuple(booleans), tuple(problems))


def _counts(name: str, form: CsvConfig) -> list[pl.Expr]:
    given = _given(name, form)
    return [
        given.count().alias(f"given {name}"),
        boolean(name, form).count().alias(f"booleans {name}"),
        *_bad(name, number(name, form), given),
    ]


def _bad(name: str, value: pl.Expr, given: pl.Expr) -> list[pl.Expr]:
    """How many given values have no value, and the first of them with its row."""
    bad = given.is_not_null() & value.is_null()
    return [
        bad.sum().alias(f"bad {name}"),
        pl.col(ROW).filter(bad).min().alias(f"row {name}"),
        pl.col(name).filter(bad).first().alias(f"value {name}"),
    ]


def _misplaced(found: dict[str, object], name: str, expected: str) -> Misplaced:
    return Misplaced(
        row=int(str(found[f"row {name}"])),
        column=name,
        value=str(found[f"value {name}"]),
        expected=expected,
        num_values=int(str(found[f"bad {name}"])),
    )


def _given(name: str, form: CsvConfig) -> pl.Expr:
    """The column's text without blanks around it; null where it is empty or a word for missing."""
    text = pl.col(name).str.strip_chars()
    return pl.when(~text.is_in(["", *form.null_values])).then(text)


def _text(name: str) -> pl.Expr:
    text = pl.col(name).str.strip_chars()
    return pl.when(text != "").then(text)


def _escaped(sign: str) -> str:
    return rf"\{sign}" if sign == "." else sign
