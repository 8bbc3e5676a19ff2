"""A frame in memory becomes a source: the columns it has and no others, under a name that is its content."""

from datetime import date
from pathlib import Path

import pandas as pd
import polars as pl
import pytest

from atft_gat_fan.config.schema import DataConfig
from atft_gat_fan.data.sources import open_source
from atft_gat_fan.data.sources.frame import is_frame, is_pandas, keep_frame, to_polars
from atft_gat_fan.errors import DataError, StorageError

PANEL = pl.DataFrame(
    {
        "Date": [date(2020, 1, 1), date(2020, 1, 2)] * 2,
        "Code": ["0050", "0050", "A", "A"],
        "Close": [1.0, 1.5, None, 2.0],
    }
)


def test_frames_are_told_from_what_is_none() -> None:
    assert all(is_frame(frame) for frame in (PANEL, PANEL.lazy(), PANEL.to_pandas()))
    assert not any(is_frame(other) for other in ("panel.parquet", Path("x"), [1], None, PANEL["Close"]))
    assert is_pandas(PANEL.to_pandas())
    assert not is_pandas(PANEL)
    assert not is_pandas(PANEL.to_pandas()["Close"])


def test_named_index_levels_of_pandas_are_columns_and_others_number_rows() -> None:
    """A number of the row would be a feature else."""
    frame = PANEL.to_pandas()
    for given in (frame, frame.sample(frac=1, random_state=1), frame.set_index(frame.index * 2)):
        assert to_polars(given).columns == PANEL.columns
    indexed = to_polars(frame.set_index(["Code", "Date"]))
    assert indexed.columns == ["Code", "Date", "Close"]
    assert indexed["Close"].to_list() == PANEL["Close"].to_list()  # NaN is missing
    partly = frame.set_index(["Code"], append=True)
    assert set(to_polars(partly).columns) == set(PANEL.columns)


def test_polars_frames_stay_as_they_are() -> None:
    assert to_polars(PANEL) is PANEL
    assert to_polars(PANEL.lazy()).equals(PANEL)


def test_the_same_content_is_the_same_file(tmp_path: Path) -> None:
    file = keep_frame(PANEL, tmp_path)
    chunked = pl.concat([PANEL[:1], PANEL[1:]], rechunk=False)
    assert keep_frame(PANEL.clone(), tmp_path) == keep_frame(chunked, tmp_path) == file
    assert list(tmp_path.iterdir()) == [file]
    assert keep_frame(PANEL.with_columns(pl.col("Close") * 2), tmp_path) != file
    assert keep_frame(PANEL.rename({"Close": "Open"}), tmp_path) != file
    assert open_source(DataConfig(source=str(file))).frame.collect().equals(PANEL)


def test_a_kept_frame_that_was_damaged_is_written_again(tmp_path: Path) -> None:
    file = keep_frame(PANEL, tmp_path)
    content = file.read_bytes()
    file.write_bytes(b"")
    keep_frame(PANEL, tmp_path)
    assert file.read_bytes() == content


def test_what_cannot_be_kept_is_said_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected columns of numbers"):
        keep_frame(PANEL.with_columns(odd=pl.Series([object()] * 4, dtype=pl.Object)), tmp_path)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError, match="cannot keep the panel there"):
        keep_frame(PANEL, tmp_path / "file")


def test_a_pandas_column_of_no_kind_is_refused() -> None:
    with pytest.raises(DataError, match="could not read the frame"):
        to_polars(pd.DataFrame({"Code": ["A", "B"], "odd": [object(), {"a": 1}]}))
