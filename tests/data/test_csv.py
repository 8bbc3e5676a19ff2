"""CSV panels as vendors, spreadsheets and Japanese Windows write them; what is wrong is named by line and column."""

import gzip
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from pydantic import ValidationError

from atft_gat_fan.config.csv_section import CsvConfig
from atft_gat_fan.config.schema import ColumnsConfig, DataConfig
from atft_gat_fan.data.panel import check_panel
from atft_gat_fan.data.sources import open_source
from atft_gat_fan.errors import DataError, StorageError

PANEL = pl.DataFrame(
    {
        "Date": [date(2020, 1, 6), date(2020, 1, 7), date(2020, 1, 6), date(2020, 1, 7)],
        "Code": ["0050", "0050", "13010", "13010"],
        "Close": [1234567.5, 2.0, None, -4.25e-3],
        "業種": ["銀行業", "銀行業", "水産・農林業", "水産・農林業"],
    }
)
LINES = ["2020-01-06,0050,1234567.5,銀行業", "2020-01-07,0050,2,銀行業", "2020-01-06,13010,,水産・農林業"]
LAST = "2020-01-07,13010,-4.25e-3,水産・農林業"
PLAIN = "\n".join(["Date,Code,Close,業種", *LINES, LAST, ""])


def config(path: Path, columns: dict[str, Any] | None = None, **form: Any) -> DataConfig:
    columns = {"static": "業種", **(columns or {})}
    return DataConfig(source=str(path), columns=ColumnsConfig(**columns), csv=CsvConfig(**form))


def read(path: Path, columns: dict[str, Any] | None = None, **form: Any) -> pl.DataFrame:
    frame = open_source(config(path, columns, **form)).frame.collect()
    if frame.schema["Date"] == pl.String:  # ISO is left to the panel
        frame = frame.with_columns(pl.col("Date").str.to_date())
    return frame


def refused(path: Path, columns: dict[str, Any] | None = None, **form: Any) -> str:
    with pytest.raises(DataError) as caught:
        read(path, columns, **form)
    return str(caught.value)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp932", "shift_jis", "euc_jp", "utf-16"])
@pytest.mark.parametrize("name", ["panel.csv", "panel.csv.gz", "panel.csv.zst"])
def test_encodings_and_compressions_hold_the_same_panel(tmp_path: Path, encoding: str, name: str) -> None:
    content = PLAIN.encode(encoding)
    if name.endswith(".gz"):
        content = gzip.compress(content)
    if name.endswith(".zst"):
        content = pa.compress(content, codec="zstd", asbytes=True)
    (tmp_path / name).write_bytes(content)
    assert read(tmp_path / name, encoding=encoding).equals(PANEL)


@pytest.mark.parametrize(
    ("date_format", "stated"),
    [("%Y-%m-%d", None), ("%Y%m%d", None), ("%Y/%m/%d", None), ("%d/%m/%Y", "%d/%m/%Y"), ("%b %d %Y", "%b %d %Y")],
)
def test_dates_are_read_as_they_are_written(tmp_path: Path, date_format: str, stated: str | None) -> None:
    PANEL.with_columns(pl.col("Date").dt.to_string(date_format)).write_csv(tmp_path / "panel.csv")
    assert read(tmp_path / "panel.csv", date_format=stated).equals(PANEL)


def test_a_date_without_zeros_is_one(tmp_path: Path) -> None:
    (tmp_path / "panel.csv").write_text(PLAIN.replace("2020-01-0", "2020/1/"))
    assert read(tmp_path / "panel.csv").equals(PANEL)


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("1,234,567.5", {"thousands": ",", "separator": ";"}),
        ("1.234.567,5", {"thousands": ".", "decimal": ",", "separator": ";"}),
        ("1 234 567,5", {"thousands": " ", "decimal": ",", "separator": "tab"}),
        ("1\u202f234\u00a0567,5", {"thousands": " ", "decimal": ",", "separator": ";"}),
        ("1'234'567.5", {"thousands": "'", "separator": "|"}),
        ("1234567,50", {"decimal": ",", "separator": ";"}),
        (" +1234567.5 ", {"separator": ";"}),
    ],
)
def test_numbers_are_read_as_they_are_written(tmp_path: Path, text: str, form: dict[str, str]) -> None:
    separator = "\t" if form["separator"] == "tab" else form["separator"]
    small = "-4.25e-3".replace(".", form.get("decimal", "."))
    content = PLAIN.replace(",", separator).replace("1234567.5", text).replace("-4.25e-3", small)
    (tmp_path / "panel.csv").write_text(content)
    assert read(tmp_path / "panel.csv", **form).equals(PANEL)


def test_a_quoted_field_may_hold_the_separator(tmp_path: Path) -> None:
    (tmp_path / "panel.csv").write_text(PLAIN.replace("1234567.5", '"1,234,567.5"').replace("銀行業", '"銀,行""業"'))
    frame = read(tmp_path / "panel.csv", thousands=",")
    assert frame["Close"].to_list() == PANEL["Close"].to_list()
    assert frame["業種"][0] == '銀,行"業'


@pytest.mark.parametrize("number", ["1,23", "12,34,567.5", "1,234,56", "1.234,5"])
def test_thousands_that_are_none_are_refused_and_not_guessed(tmp_path: Path, number: str) -> None:
    (tmp_path / "panel.csv").write_text(PLAIN.replace(",", ";").replace("1234567.5", number))
    message = refused(tmp_path / "panel.csv", thousands=",", separator=";")
    assert f"expected numbers, found '{number}'" in message
    assert "panel.csv, line 2, column Close" in message


def test_a_point_is_no_decimal_comma(tmp_path: Path) -> None:
    (tmp_path / "panel.csv").write_text(PLAIN.replace(",", ";"))
    assert "line 2, column Close" in refused(tmp_path / "panel.csv", decimal=",", separator=";")


def test_words_for_missing_are_missing_but_not_among_names(tmp_path: Path) -> None:
    (tmp_path / "panel.csv").write_text(PLAIN.replace(",,", ",N/A,").replace("0050", "NA").replace("銀行業", "-"))
    frame = read(tmp_path / "panel.csv")
    assert frame["Close"].to_list() == PANEL["Close"].to_list()
    assert frame["Code"].to_list() == ["NA", "NA", "13010", "13010"]  # National Bank of Canada
    assert frame["業種"][0] == "-"
    (tmp_path / "panel.csv").write_text(PLAIN.replace(",,", ",#N/A,"))
    assert "line 4, column Close" in refused(tmp_path / "panel.csv")
    assert read(tmp_path / "panel.csv", null_values=("#N/A",)).equals(PANEL)


def test_every_misplaced_value_is_named_in_one_report(tmp_path: Path) -> None:
    frame = pl.DataFrame(
        {
            "Date": ["2020-01-06"] * 5,
            "Code": ["a", "b", "c", "d", "e"],
            "Close": ["1", "2", "x", "y", "5"],
            "factor": ["0.5", "?", "0.25", "1", "2"],
            "name": ["one", "two", "3", "four", "five"],
            "Volume": ["some", "any", "all", "1", "no"],
        }
    )
    frame.write_csv(tmp_path / "panel.csv")
    message = refused(tmp_path / "panel.csv")
    assert "3 problems" in message
    assert "expected numbers, found 'x' and 1 more" in message
    assert "line 4, column Close" in message
    assert "found '?'" in message
    assert "line 3, column factor" in message
    assert "line 2, column Volume" in message
    frame.drop("Close", "Volume", "factor").write_csv(tmp_path / "panel.csv")
    assert read(tmp_path / "panel.csv").schema["name"] == pl.String


def test_masks_are_booleans_and_late_fractions_numbers(tmp_path: Path) -> None:
    rows = [f"2020-01-06,{i},{i},{'true' if i % 2 else 'False'}" for i in range(20_000)]
    (tmp_path / "panel.csv").write_text("\n".join(["Date,Code,Close,is_Close_valid", *rows, "2020-01-06,x,0.5,"]))
    frame = read(tmp_path / "panel.csv")
    assert frame["Close"][-1] == 0.5
    assert frame.schema["is_Close_valid"] == pl.Boolean
    assert frame["is_Close_valid"].sum() == 10_000
    assert frame["is_Close_valid"][-1] is None


@pytest.mark.parametrize("found", ["06/01/2020", "01/06/20", "6 Jan 2020", "43836"])
def test_dates_that_could_mean_another_day_are_refused(tmp_path: Path, found: str) -> None:
    (tmp_path / "panel.csv").write_text(PLAIN.replace("2020-01-06", found))
    message = refused(tmp_path / "panel.csv")
    assert f"found '{found}'" in message
    assert "line 2, column Date" in message
    assert "data.csv.date_format" in message


def test_a_date_of_another_format_is_named(tmp_path: Path) -> None:
    (tmp_path / "panel.csv").write_text(PLAIN.replace("2020-01-06", "06/01/2020").replace("2020-01-07", "01/13/2020"))
    message = refused(tmp_path / "panel.csv", date_format="%d/%m/%Y")
    assert "expected dates as %d/%m/%Y, found '01/13/2020' and 1 more" in message
    assert "line 3, column Date" in message


def test_bytes_of_another_encoding_are_named_by_line(tmp_path: Path) -> None:
    (tmp_path / "panel.csv").write_bytes((PLAIN.replace("業種", "x") + LAST).encode("cp932"))
    message = refused(tmp_path / "panel.csv", {"static": None})
    assert "panel.csv, line 2" in message
    assert "data.csv.encoding, such as to cp932" in message
    (tmp_path / "panel.csv.gz").write_bytes(gzip.compress((tmp_path / "panel.csv").read_bytes()))
    assert "panel.csv.gz, line 2" in refused(tmp_path / "panel.csv.gz", {"static": None})


def test_a_line_of_too_many_fields_is_named(tmp_path: Path) -> None:
    (tmp_path / "panel.csv").write_text(PLAIN.replace("2,銀行業", "2,000,銀行業"))
    message = refused(tmp_path / "panel.csv")
    assert "expected 4 fields as in the header, found 5" in message
    assert "line 3" in message


def test_a_repeated_column_is_named(tmp_path: Path) -> None:
    (tmp_path / "panel.csv").write_text(PLAIN.replace("業種", "Close"))
    assert "'Close' repeated" in refused(tmp_path / "panel.csv")


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_a_cut_off_archive_is_refused(tmp_path: Path, suffix: str) -> None:
    content = (PLAIN + LAST * 1000).encode()
    packed = gzip.compress(content) if suffix == ".gz" else pa.compress(content, codec="zstd", asbytes=True)
    (tmp_path / f"panel.csv{suffix}").write_bytes(packed[: len(packed) // 2])
    assert f"panel.csv{suffix}" in refused(tmp_path / f"panel.csv{suffix}")


def test_no_room_for_the_plain_text_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "panel.csv.gz").write_bytes(gzip.compress(PLAIN.encode()))

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("atft_gat_fan.data.sources.csv_text._transcode", full)
    with pytest.raises(StorageError, match="No space left on device; free space there, or set TMPDIR"):
        read(tmp_path / "panel.csv.gz")


def test_the_fingerprint_is_also_of_how_it_is_read(tmp_path: Path) -> None:
    (tmp_path / "panel.csv").write_text(PLAIN)
    plain = open_source(config(tmp_path / "panel.csv"))
    assert plain.fingerprint == open_source(config(tmp_path / "panel.csv")).fingerprint
    other = open_source(config(tmp_path / "panel.csv", null_values=("?",)))
    assert other.fingerprint != plain.fingerprint


def test_columns_go_by_the_names_they_are_given(tmp_path: Path) -> None:
    (tmp_path / "panel.csv").write_bytes(
        "日付;銘柄コード;終値\n2020/01/06;0050;1.234,5\n2020/01/07;0050;1.240\n".encode("cp932")
    )
    named = {"date": "日付", "code": "銘柄コード", "close": "終値", "static": None}
    form = {"encoding": "cp932", "separator": ";", "decimal": ",", "thousands": "."}
    report = check_panel(config(tmp_path / "panel.csv", named, **form), lambda share: None)
    assert not report.problems
    assert (report.facts["first_day"], report.facts["last_day"]) == ("2020-01-06", "2020-01-07")
    frame = open_source(config(tmp_path / "panel.csv", named, **form)).frame.collect()
    assert frame["終値"].to_list() == [1234.5, 1240.0]
    assert frame["銘柄コード"].to_list() == ["0050", "0050"]


@pytest.mark.parametrize(
    "form",
    [
        {"separator": "ab"}, {"separator": ""}, {"separator": "1"}, {"encoding": "klingon"}, {"encoding": "base64"},
        {"decimal": ","}, {"decimal": ",", "thousands": ",", "separator": ";"}, {"date_format": "dd/mm/yyyy"},
    ],
)  # fmt: skip
def test_what_contradicts_is_refused(form: dict[str, str]) -> None:
    with pytest.raises(ValidationError, match=r"expected|at least 1"):
        CsvConfig(**form)
