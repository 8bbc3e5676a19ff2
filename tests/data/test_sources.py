"""Sources open what is there, and name the file at fault."""

import gzip
import os
from datetime import date
from pathlib import Path

import polars as pl
import pytest

from atft_gat_fan.config.schema import ColumnsConfig, DataConfig, SyntheticConfig
from atft_gat_fan.data.sources import open_source
from atft_gat_fan.errors import DataError

PANEL = pl.DataFrame(
    {
        "Date": [date(2020, 1, 1), date(2020, 1, 2)] * 2,
        "Code": ["0050", "0050", "1301", "1301"],
        "Close": [1.0, 2.0, 3.0, 4.5],
    }
)


def opened(path: Path | str, **columns: str) -> pl.DataFrame:
    return open_source(DataConfig(source=str(path), columns=ColumnsConfig(**columns))).frame.collect()


def refused(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        opened(path)
    return str(caught.value)


def test_a_parquet_file_is_read_as_it_is(tmp_path: Path) -> None:
    PANEL.write_parquet(tmp_path / "panel.parquet")
    assert opened(tmp_path / "panel.parquet").equals(PANEL)


def test_a_directory_is_one_panel_hidden_files_aside(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    PANEL[:1].write_parquet(tmp_path / "a.parquet")
    PANEL[1:].write_parquet(tmp_path / "deep/b.parquet")
    PANEL.write_parquet(tmp_path / "_partial.parquet")
    (tmp_path / "notes.txt").write_text("not data")
    assert opened(tmp_path).equals(PANEL)


def test_hive_keys_are_columns_only_where_they_name_one(tmp_path: Path) -> None:
    for code in ("0050", "1301"):
        folder = tmp_path / "year=2020" / f"Code={code}"
        folder.mkdir(parents=True)
        PANEL.filter(Code=code).drop("Code").write_parquet(folder / "part.parquet")
    frame = opened(tmp_path)
    assert frame.select(PANEL.columns).equals(PANEL)  # text, leading zeros kept
    assert "year" not in frame.columns


def test_nothing_at_the_path_names_what_would_do(tmp_path: Path) -> None:
    message = refused(tmp_path / "nothing.parquet")
    assert str(tmp_path / "nothing.parquet") in message
    assert "`synthetic`" in message
    assert "data.source" in message


def test_a_file_that_is_not_parquet_is_named_with_its_first_bytes(tmp_path: Path) -> None:
    (tmp_path / "panel.parquet").write_bytes(b"Date,Code,Close\n")
    assert "b'Date'" in refused(tmp_path / "panel.parquet")
    (tmp_path / "empty.parquet").touch()
    assert "is empty" in refused(tmp_path / "empty.parquet")


def test_a_truncated_file_is_told_from_one_of_another_kind(tmp_path: Path) -> None:
    PANEL.write_parquet(tmp_path / "panel.parquet")
    whole = (tmp_path / "panel.parquet").read_bytes()
    (tmp_path / "panel.parquet").write_bytes(whole[: len(whole) // 2])
    assert "truncated" in refused(tmp_path / "panel.parquet")
    (tmp_path / "panel.parquet").write_bytes(whole[:4] + bytes(len(whole) - 8) + whole[-4:])
    assert "footer" in refused(tmp_path / "panel.parquet")


def test_every_bad_file_of_a_directory_is_named(tmp_path: Path) -> None:
    PANEL.write_parquet(tmp_path / "a.parquet")
    for name in ("b.parquet", "c.parquet"):
        (tmp_path / name).write_bytes(b"no")
    message = refused(tmp_path)
    assert "2 problems" in message
    assert "b.parquet" in message
    assert "c.parquet" in message


def test_a_directory_without_parquet_is_refused(tmp_path: Path) -> None:
    assert "found none" in refused(tmp_path)


def test_files_of_different_schemas_are_named_with_the_difference(tmp_path: Path) -> None:
    PANEL.write_parquet(tmp_path / "a.parquet")
    PANEL.with_columns(pl.col("Close").cast(pl.String)).write_parquet(tmp_path / "b.parquet")
    PANEL.drop("Code").with_columns(Kode=pl.lit("x")).write_parquet(tmp_path / "c.parquet")
    message = refused(tmp_path)
    assert "column Close is String, expected Float64" in message
    assert "lacks column Code; has another column Kode" in message
    assert str(tmp_path / "b.parquet") in message


def test_csv_keeps_codes_as_text_and_late_fractions_as_numbers(tmp_path: Path) -> None:
    PANEL.with_columns(pl.col("Close").cast(pl.String).str.strip_suffix(".0")).write_csv(tmp_path / "panel.csv")
    (tmp_path / "panel.csv.gz").write_bytes(gzip.compress((tmp_path / "panel.csv").read_bytes()))
    for name in ("panel.csv", "panel.csv.gz"):
        frame = opened(tmp_path / name)
        assert frame["Code"].to_list() == PANEL["Code"].to_list()
        assert frame["Close"].to_list() == PANEL["Close"].to_list()


def test_a_csv_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "panel.csv").write_bytes(b"")
    assert "panel.csv" in refused(tmp_path / "panel.csv")


def test_places_name_file_row_group_and_line(tmp_path: Path) -> None:
    (tmp_path / "panel").mkdir()
    PANEL.write_parquet(tmp_path / "panel/a.parquet")
    PANEL.write_parquet(tmp_path / "panel/b.parquet", row_group_size=2)
    PANEL.write_csv(tmp_path / "panel.csv")
    place = open_source(DataConfig(source=str(tmp_path / "panel"))).place
    assert place(3) == f"{tmp_path / 'panel/a.parquet'}, row group 0, row 3"
    assert place(6) == f"{tmp_path / 'panel/b.parquet'}, row group 1, row 2"
    assert open_source(DataConfig(source=str(tmp_path / "panel.csv"))).place(0).endswith("panel.csv, line 2")


def test_the_fingerprint_is_of_the_contents(tmp_path: Path) -> None:
    def fingerprint(source: str) -> str:
        return open_source(DataConfig(source=source)).fingerprint

    for folder in ("one", "two", "three"):
        (tmp_path / folder).mkdir()
        PANEL.with_columns(pl.col("Close") + (folder == "three")).write_parquet(tmp_path / folder / "panel.parquet")
    os.utime(tmp_path / "two/panel.parquet", (0, 0))
    one, two, three = (fingerprint(str(tmp_path / folder)) for folder in ("one", "two", "three"))
    assert one == two != three
    assert fingerprint("sample") == fingerprint("sample") != fingerprint("synthetic")
    other_seed = DataConfig(source="synthetic", synthetic=SyntheticConfig(seed=8))
    assert open_source(other_seed).fingerprint != fingerprint("synthetic")


def test_the_sample_is_twenty_stocks_of_real_closes() -> None:
    frame = opened("sample", close="Another")  # its own names, whatever is configured
    assert frame.columns == ["Date", "Code", "Close"]
    assert (frame["Code"].n_unique(), frame["Date"].n_unique(), frame.height) == (20, 8313, 20 * 8313)
    assert (frame["Date"].min(), frame["Date"].max()) == (date(1990, 1, 2), date(2022, 12, 28))
    assert frame.filter(Code="AAPL", Date=date(1990, 1, 2))["Close"].item() == pytest.approx(0.264)
