"""Scores and their table say the same."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from atft_gat_fan.errors import StorageError
from atft_gat_fan.inference.score_table import score_table, scores_of, write_table

DAYS = np.array(["2020-01-02", "2020-01-03"], dtype="datetime64[D]")
CODES = ("A", "B", "C", "D")
SCORES = np.array(
    [[[0.3, 1.0], [0.1, 2.0], [np.nan, np.nan], [0.3, 3.0]], [[np.nan, np.nan], [-1.0, 0.0], [0.0, -1.0], [1.0, -2.0]]],
    dtype=np.float32,
)


@pytest.fixture
def table() -> pl.DataFrame:
    return score_table(DAYS, CODES, (1, 5), SCORES)


def test_absent_stocks_have_no_row(table):
    assert table.select("date", "code").rows() == [
        *((DAYS[0].item(), code) for code in "ABD"),
        *((DAYS[1].item(), code) for code in "BCD"),
    ]


def test_the_best_score_has_rank_one_and_ties_share_the_better_rank(table):
    assert table["rank_1d"].to_list() == [1, 3, 1, 3, 2, 1]
    assert table["rank_5d"].to_list() == [3, 2, 1, 1, 2, 3]


def test_the_table_gives_the_scores_back(table):
    np.testing.assert_array_equal(
        scores_of(table.sample(fraction=1, shuffle=True, seed=0), DAYS, CODES, (1, 5)), SCORES
    )
    more = scores_of(table, DAYS[1:], ("D", "X"), (5,))
    np.testing.assert_array_equal(more, np.array([[[-2.0], [np.nan]]], dtype=np.float32))


def test_no_scores_make_an_empty_table_of_the_same_columns(table):
    empty = score_table(DAYS[:0], (), (1, 5), np.empty((0, 0, 2), np.float32))
    assert empty.height == 0
    assert empty.schema == table.schema


def test_a_table_is_written_whole_with_its_metadata_or_not_at_all(table, tmp_path: Path):
    write_table(table, tmp_path / "new" / "scores.parquet", {"model": "abc"})
    assert pl.read_parquet(tmp_path / "new" / "scores.parquet").equals(table)
    assert pl.read_parquet_metadata(tmp_path / "new" / "scores.parquet")["model"] == "abc"
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot write"):
        write_table(table, tmp_path / "file" / "scores.parquet")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "new", "scores.parquet"]
