"""A day's digest changes with what the day holds, and with nothing else."""

import numpy as np
import polars as pl
import pytest

from atft_gat_fan.config.schema import DataConfig
from atft_gat_fan.data.panel_digests import day_digests
from atft_gat_fan.data.sources import open_source

SOURCE = open_source(DataConfig(source="sample"))
COLUMNS = [f"x{i}" for i in range(40)]


def rows() -> pl.DataFrame:
    rng = np.random.default_rng(0)
    keys = pl.DataFrame({"date": np.repeat(np.arange("2020-01-01", "2020-01-06", dtype="datetime64[D]"), 4)})
    values = {name: rng.normal(size=20).astype(np.float32 if name < "x2" else np.float64) for name in COLUMNS}
    return keys.with_columns(code=pl.Series(list("ABCD") * 5), **values)


def digests(frame: pl.DataFrame, columns: list[str] = COLUMNS) -> np.ndarray:
    return day_digests(frame.lazy(), columns, SOURCE, lambda share: None)


def changed_days(frame: pl.DataFrame) -> list[int]:
    return np.flatnonzero(digests(frame) != digests(rows())).tolist()


def edit(row: int, column: str, value: object) -> pl.DataFrame:
    there = pl.int_range(pl.len()) == row
    return rows().with_columns(
        pl.when(there).then(pl.lit(value)).otherwise(column).cast(rows()[column].dtype).alias(column)
    )


def test_the_order_of_rows_does_not_matter() -> None:
    assert changed_days(rows().sample(fraction=1.0, shuffle=True, seed=1)) == []


@pytest.mark.parametrize("column", ["x0", "x1", "x2", "x39", "code"])
def test_any_value_matters_to_its_day_alone(column: str) -> None:
    value = "E" if column == "code" else 7.0
    assert changed_days(edit(9, column, value)) == [2]


def test_the_least_change_of_a_bit_matters() -> None:
    value = rows()["x3"][9]
    assert changed_days(edit(9, "x3", np.nextafter(value, 9))) == [2]
    zero, minus = digests(edit(9, "x3", 0.0)), digests(edit(9, "x3", -0.0))
    assert zero[2] != minus[2]
    assert digests(edit(9, "x3", None))[2] not in (zero[2], minus[2])


def test_whose_value_it_is_matters() -> None:
    frame = rows()
    swapped = frame.with_columns(
        pl.when(pl.col("code") == "A")
        .then(pl.lit("B"))
        .when(pl.col("code") == "B")
        .then(pl.lit("A"))
        .otherwise("code")
        .alias("code")
    )
    assert changed_days(swapped) == [0, 1, 2, 3, 4]
    exchanged = frame.rename({"x5": "x6", "x6": "x5"})
    assert changed_days(exchanged) == [0, 1, 2, 3, 4]


def test_stocks_count_without_columns() -> None:
    assert (digests(rows(), []) == digests(rows(), [])[0]).all()
    assert digests(rows()[1:], [])[0] != digests(rows(), [])[0]
