"""A long panel in one CSV file (plain, gzip or Zstandard), in any encoding, with numbers and dates as written.

Everything is read as text first, and one pass that streams decides what each column is: guessing types from a sample
misses the column that turns fractional late, and guessing from the whole file takes the whole file into memory.
"""

import csv
import re
from collections.abc import Iterator
from pathlib import Path

import polars as pl

from atft_gat_fan.config.csv_section import CsvConfig
from atft_gat_fan.config.schema import ColumnsConfig
from atft_gat_fan.data.sources.base import Source, fingerprint_bytes, fingerprint_files
from atft_gat_fan.data.sources.csv_columns import (
    ROW,
    Misplaced,
    Reading,
    boolean,
    date_of,
    number,
    read_columns,
)
from atft_gat_fan.data.sources.csv_text import encoding_hint, plain_text
from atft_gat_fan.errors import DataError, Problem

ISO = r"^\s*\d{4}-\d{2}-\d{2}([T ].*)?$"
DATE_FORMATS = {r"^\s*\d{8}\s*$": "%Y%m%d", r"^\s*\d{4}/\d{1,2}/\d{1,2}\s*$": "%Y/%m/%d"}
"""Ways to write a date that can mean one thing alone, besides ISO."""


def open_csv(path: Path, columns: ColumnsConfig, form: CsvConfig) -> Source:
    """Open a CSV file with a header line. Reads it once, in bounded memory, to decide what each column is.

    The code and the static category stay text, because `0050` is not 50; the date is parsed. A column is of numbers
    (Float64) or booleans where all its values are; else it is text. An empty field is missing. A compressed file and
    one that is not UTF-8 are first written out as plain UTF-8 into the folder for temporary files.

    Raises DataError, naming file, line and column: not readable as CSV, not in that encoding, a line with too many
    fields, a date that is none, a price that is no number, a column of numbers with something else between them.
    """
    text = plain_text(path, form.encoding)
    try:
        lines = pl.scan_csv(text, separator=form.separator, infer_schema=False)
        _refuse_repeated_names(path, text, form)
        date_format = _date_format(lines, path, columns, form)
        reading = read_columns(lines.with_row_index(ROW), date_format, columns, form)
    except (pl.exceptions.PolarsError, OSError, UnicodeDecodeError) as error:
        raise DataError(_unreadable(path, text, form, error)) from error
    if reading.problems:
        raise DataError([_located(path, problem) for problem in reading.problems])
    return Source(
        frame=_typed(lines, reading, date_format, columns, form),
        name=path.name.split(".")[0] or "panel",
        identity=str(path.resolve()),
        fingerprint=fingerprint_bytes(
            [fingerprint_files(path.parent, [path]).encode(), form.model_dump_json().encode()]
        ),
        columns=columns,
        place=lambda row: f"{path}, line {row + 2}",
    )


def _typed(
    lines: pl.LazyFrame, reading: Reading, date_format: str | None, columns: ColumnsConfig, form: CsvConfig
) -> pl.LazyFrame:
    typed = {name: number(name, form) for name in reading.numbers}
    typed |= {name: boolean(name, form) for name in reading.booleans}
    if date_format is not None:
        typed[columns.date] = date_of(columns.date, date_format)
    return lines.with_columns(expression.alias(name) for name, expression in typed.items())


def _date_format(lines: pl.LazyFrame, path: Path, columns: ColumnsConfig, form: CsvConfig) -> str | None:
    """How the dates are written; None where they are ISO, or there is no such column, which others refuse.

    Raises DataError where the first one can mean several days, and nobody has said which.
    """
    if columns.date not in lines.collect_schema().names() or form.date_format is not None:
        return form.date_format
    given = pl.col(columns.date).str.strip_chars()
    first = lines.with_row_index(ROW).filter(given != "").select(ROW, given).head(1).collect(engine="streaming")
    if first.is_empty() or re.match(ISO, first[columns.date].item()):
        return None
    for pattern, date_format in DATE_FORMATS.items():
        if re.match(pattern, first[columns.date].item()):
            return date_format
    raise DataError(
        Problem(
            f"expected dates as 2015-12-31, 20151231 or 2015/12/31, found {first[columns.date].item()!r}",
            where=f"{path}, line {first[ROW].item() + 2}, column {columns.date}",
            mend="say how they are written, as in data.csv.date_format='%d/%m/%Y'",
        )
    )


def _located(path: Path, problem: Misplaced) -> Problem:
    more = f" and {problem.num_values - 1:,} more" if problem.num_values > 1 else ""
    dates = problem.expected != "numbers"
    return Problem(
        f"expected {problem.expected}, found {problem.value!r}{more}",
        where=f"{path}, line {problem.row + 2}, column {problem.column}",
        mend="correct data.csv.date_format, or the file"
        if dates
        else "leave the field empty where the value is unknown, name the word for it in data.csv.null_values, or set "
        "data.csv.decimal and data.csv.thousands",
    )


def _fields(text: Path, form: CsvConfig) -> Iterator[list[str]]:
    with text.open(encoding="utf-8-sig", newline="") as file:
        yield from csv.reader(file, delimiter=form.separator)


def _refuse_repeated_names(path: Path, text: Path, form: CsvConfig) -> None:
    names = next(_fields(text, form), [])
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise DataError(
            Problem(
                f"expected each column once, found {', '.join(map(repr, repeated))} repeated",
                where=f"{path}, line 1",
                mend="rename or drop the others",
            )
        )


def _unreadable(path: Path, text: Path, form: CsvConfig, error: Exception) -> Problem:
    said = str(error).splitlines()[0]
    if isinstance(error, UnicodeDecodeError) or "utf-8" in said:
        return Problem(
            f"expected text in {form.encoding}, found other bytes",
            where=f"{path}, line {_first_undecodable(text)}",
            mend=encoding_hint(form.encoding),
        )
    lines = _fields(text, form)
    width = len(next(lines, []))
    for line, fields in enumerate(lines, 2):
        if len(fields) > width:
            return Problem(
                f"expected {width} fields as in the header, found {len(fields)}",
                where=f"{path}, line {line}",
                mend="quote fields that have the separator in them, or set data.csv.separator",
            )
    return Problem(
        f"expected a CSV file with a header line, could not read it as one: {said}",
        where=str(path),
        mend="mend the file, or convert it to Parquet",
    )


def _first_undecodable(text: Path) -> int:
    with text.open("rb") as file:
        for number_of_line, line in enumerate(file, 1):
            try:
                line.decode()
            except UnicodeDecodeError:
                return number_of_line
    return 1
