"""What a table of scores carries in its footer is read back as what it is, or refused."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from atft_gat_fan.errors import StorageError
from atft_gat_fan.runs.run_files import PREDICTIONS
from atft_gat_fan.runs.scores import OVER_TIME, variables_over_time


def table(folder: Path, footer: dict[str, str]) -> Path:
    pl.DataFrame({"code": ["A"]}).write_parquet(folder / PREDICTIONS, metadata=footer)
    return folder


def test_weights_over_time_come_back(tmp_path: Path) -> None:
    body = {"test": {"days": ["2020-01-06", "2020-01-13"], "variable_weights": [[0.25, 0.75], [0.5, 0.5]]}}
    found = variables_over_time(table(tmp_path, {OVER_TIME: json.dumps(body)}), "test")
    assert [str(day) for day in found.days] == ["2020-01-06", "2020-01-13"]
    np.testing.assert_array_equal(found.weights, [[0.25, 0.75], [0.5, 0.5]])


def test_a_table_of_an_earlier_release_has_none(tmp_path: Path) -> None:
    assert variables_over_time(table(tmp_path, {"facts": "{}"}), "test") is None


@pytest.mark.parametrize(
    "text",
    [
        "no json",
        "{}",
        '{"test": {"days": ["2020-01-06"], "variable_weights": [[0.5], [0.5]]}}',
        '{"test": {"days": ["2020-01-06"], "variable_weights": [0.5]}}',
        '{"test": {"days": ["2020-01-06"], "variable_weights": [[null]]}}',
        '{"test": {"days": ["someday"], "variable_weights": [[0.5]]}}',
        '{"test": [1]}',
    ],
)
def test_anything_else_is_refused_by_name(tmp_path: Path, text: str) -> None:
    with pytest.raises(StorageError, match=r"predictions\.parquet.*atft evaluate"):
        variables_over_time(table(tmp_path, {OVER_TIME: text}), "test")
