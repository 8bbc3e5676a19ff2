"""What a day's prediction depends on is in its excerpt, whatever decides how far back that reaches."""

from datetime import date
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from atft_gat_fan.config.schema import ColumnsConfig, Config, DataConfig, GraphConfig, SyntheticConfig
from atft_gat_fan.data.bars import MAX_GAP, REACH
from atft_gat_fan.data.conversion import convert
from atft_gat_fan.data.excerpt import excerpt, first_needed, source_days
from atft_gat_fan.data.graph import build_graph
from atft_gat_fan.data.sources import open_source
from atft_gat_fan.data.sources.synthetic import synthetic_panel
from atft_gat_fan.errors import DataError

RNG = np.random.default_rng(3)
WEEKDAYS = np.busday_offset("2015-01-01", np.arange(260), roll="forward")
DAYS = np.sort(RNG.choice(WEEKDAYS, 240, replace=False))
"""With holidays, so that refreshes are not all five days apart."""
STOCKS = np.arange(8)


@pytest.mark.parametrize("config", [GraphConfig(lookback=60), GraphConfig(lookback=120, refresh_days=13)], ids=repr)
def test_neighbours_of_a_day_are_those_of_the_whole_panel(config: GraphConfig) -> None:
    shared = RNG.normal(size=(len(DAYS), 1))
    returns = (shared + RNG.normal(size=(len(DAYS), len(STOCKS)))).astype(np.float32)
    whole = build_graph(returns, DAYS, np.zeros(len(STOCKS), np.int64), config)
    for day in range(30, len(DAYS), 7):
        first = first_needed(DAYS, day, 20, config)
        # The first of the returns may be taken of prices of the days before, which are no part of the graph itself.
        begin = first + MAX_GAP + 1 if first else 0
        part = build_graph(returns[begin : day + 1], DAYS[begin : day + 1], np.zeros(len(STOCKS), np.int64), config)
        here = np.ones((1, len(STOCKS)), np.bool_)
        one, other = (
            graph.at(np.array([position]), STOCKS, here) for graph, position in ((whole, day), (part, day - begin))
        )
        for name in ("index", "mask", "edge"):
            assert torch.equal(getattr(one, name), getattr(other, name)), (day, name)


def test_it_reaches_as_far_as_the_features_or_the_graph_do() -> None:
    features = 200 - 19 - REACH
    assert first_needed(DAYS, 200, 20, None) == features
    assert first_needed(DAYS, 200, 20, GraphConfig(lookback=30)) == features
    long = first_needed(DAYS, 200, 20, GraphConfig(lookback=150, refresh_days=1))
    assert long == 200 - 149 - MAX_GAP - 1
    assert first_needed(DAYS, 200, 20, GraphConfig(lookback=150, refresh_days=40)) < long
    assert first_needed(DAYS, 25, 20, None) == 0


@pytest.fixture
def panel(tmp_path: Path) -> Path:
    """Three stocks of changing categories over ten days, in no order; one row has no date."""
    days = [date(2020, 1, 6 + number) for number in range(10)]
    rows = [
        {"Code": code, "Date": str(day), "Close": 1.0 + number, "sector33": known}
        for code, known in (("A", "x"), ("B", None), ("C", "y"))
        for number, day in enumerate(days)
    ]
    frame = pl.DataFrame(rows).with_columns(
        pl.when((pl.col("Code") == "B") & (pl.col("Date") >= "2020-01-08"))
        .then(pl.lit("z"))
        .when((pl.col("Code") == "A") & (pl.col("Date") > "2020-01-09"))
        .then(pl.lit("other"))
        .otherwise("sector33")
        .alias("sector33")
    )
    path = tmp_path / "panel.parquet"
    frame.sample(fraction=1.0, shuffle=True, seed=2).write_parquet(path)
    return path


def test_it_has_the_rows_of_its_days_and_the_first_category_of_all(panel: Path, tmp_path: Path) -> None:
    source = open_source(DataConfig(source=str(panel)))
    assert source_days(source).tolist() == [date(2020, 1, 6 + number) for number in range(10)]
    some = excerpt(source, date(2020, 1, 11), date(2020, 1, 13), tmp_path / "rows.parquet")
    rows = some.frame.collect()
    assert sorted(rows.columns) == ["Close", "Code", "Date", "sector33"]
    assert sorted(rows.select("Date", "Code", "sector33").rows()) == [
        (f"2020-01-{day}", code, known) for day in (11, 12, 13) for code, known in (("A", "x"), ("B", "z"), ("C", "y"))
    ]
    assert source.static_since is None
    assert some.static_since == {"A": date(2020, 1, 6), "B": date(2020, 1, 8), "C": date(2020, 1, 6)}
    others = excerpt(source, date(2020, 1, 11), date(2020, 1, 12), tmp_path / "others.parquet")
    assert len({source.fingerprint, some.fingerprint, others.fingerprint}) == 3


def test_features_within_a_category_are_those_of_the_whole_panel(tmp_path: Path) -> None:
    """The category of every third stock is told on day 150 alone, of every fourth on day 195."""
    panel = synthetic_panel(SyntheticConfig(num_stocks=24, num_days=200, churn=0, num_sectors=2))
    days = panel["Date"].unique().sort()
    number = pl.col("Code").str.slice(1).cast(pl.Int64)
    told = (number % 3 > 0) & (number % 4 > 0)
    told |= (number % 3 == 0) & (pl.col("Date") == days[150])
    told |= (number % 4 == 0) & (pl.col("Date") == days[195])
    panel.with_columns(pl.when(told).then("sector33").alias("sector33")).write_parquet(tmp_path / "panel.parquet")
    data = DataConfig(source=str(tmp_path / "panel.parquet"), features="derived", relative=("sector",), horizons=(1,))
    source = open_source(data)
    some = excerpt(source, days[198 - REACH - 20], days[199], tmp_path / "rows.parquet")
    one, other = (
        convert(Config(data=data), tmp_path / name, lambda what, share: None, source=rows)
        for name, rows in (("whole", source), ("some", some))
    )
    features = np.asarray(one.column("features"))
    np.testing.assert_array_equal(features[190:], np.asarray(other.column("features"))[-10:])
    column = one.feature_names.index("ROC_1_sec")
    unknown = np.isnan(features[190, :, column])
    assert unknown.sum() == sum(code % 4 == 0 and code % 3 > 0 for code in range(24))
    assert not np.isnan(features[199, :, column]).any()


def test_a_row_keeps_its_place_and_one_without_a_date_is_not_lost(panel: Path, tmp_path: Path) -> None:
    undated = pl.when(pl.int_range(pl.len()) != 17).then("Date").alias("Date")
    pl.read_parquet(panel).with_columns(undated).write_parquet(panel)
    some = excerpt(
        open_source(DataConfig(source=str(panel))), date(2020, 1, 6), date(2020, 1, 6), tmp_path / "r.parquet"
    )
    rows = some.frame.collect()
    assert rows["Date"].null_count() == 1
    assert some.place(rows["Date"].is_null().arg_max()) == f"{panel}, row group 0, row 17"


def test_without_days_there_is_nothing_to_take_out_of(panel: Path) -> None:
    config = DataConfig(source=str(panel), columns=ColumnsConfig(date="Close"))
    assert source_days(open_source(config)) is None
    assert source_days(open_source(config.model_copy(update={"columns": ColumnsConfig(date="day")}))) is None


def test_a_source_that_cannot_be_read_is_bad_data(panel: Path, tmp_path: Path) -> None:
    source = open_source(DataConfig(source=str(panel)))
    content = bytearray(panel.read_bytes())
    content[4:200] = bytes(196)
    panel.write_bytes(content)
    with pytest.raises(DataError, match="expected readable data"):
        excerpt(source, date(2020, 1, 6), date(2020, 1, 7), tmp_path / "rows.parquet")
