"""The canonical panel: every bad row refused with where and what to do, every odd one told."""

from datetime import date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from atft_gat_fan.config.schema import ColumnsConfig, DataConfig
from atft_gat_fan.data import panel_checks
from atft_gat_fan.data.panel import Panel, check_panel, open_panel, warm_up_days
from atft_gat_fan.data.sources import open_source
from atft_gat_fan.errors import DataError

DAYS = [date(2020, 1, day) for day in range(1, 11)]


def prices(num_days: int = 10, codes: str = "AB") -> pl.DataFrame:
    rng = np.random.default_rng(0)
    keys = [(DAYS[0] + (DAYS[1] - DAYS[0]) * day, code) for day in range(num_days) for code in codes]
    frame = pl.DataFrame(keys, schema=["Date", "Code"], orient="row")
    close = pl.Series(rng.uniform(10, 11, frame.height))
    return frame.with_columns(
        Open=close * 0.99, High=close * 1.02, Low=close * 0.97, Close=close, Volume=pl.lit(1000, pl.Int64)
    )


def existing_format(horizons: tuple[int, ...] = (1, 5)) -> pl.DataFrame:
    """Labels, trailing returns, features, sector, masks; no prices."""
    frame = prices().select("Date", "Code")
    rng = np.random.default_rng(1)
    numbers = {name: rng.normal(0, 0.01, frame.height) for name in (*(f"target_{h}d" for h in horizons), "returns_1d")}
    features = {name: rng.normal(size=frame.height) for name in ("rsi", "ma_gap")}
    return frame.with_columns(
        **{name: pl.Series(values) for name, values in (numbers | features).items()},
        sector33=pl.lit("banks"),
        is_rsi_valid=pl.Series(np.arange(frame.height) % 3 > 0),
    )


def config(path: Path, frame: pl.DataFrame, **settings: Any) -> DataConfig:
    frame.write_parquet(path / "panel.parquet")
    return DataConfig(source=str(path / "panel.parquet"), **({"horizons": (1, 5)} | settings))


def load(path: Path, frame: pl.DataFrame, **settings: Any) -> Panel:
    return opened(config(path, frame, **settings))


def opened(settings: DataConfig) -> Panel:
    return open_panel(settings, open_source(settings), silent)


def silent(share: float) -> None:
    assert 0 <= share <= 1


def rows(panel: Panel) -> pl.DataFrame:
    return panel.rows.collect().sort("date", "code")


def refused(path: Path, frame: pl.DataFrame, **settings: Any) -> list[str]:
    with pytest.raises(DataError) as caught:
        load(path, frame, **settings)
    return [str(problem) for problem in caught.value.problems]


def set_value(frame: pl.DataFrame, row: int, column: str, value: object) -> pl.DataFrame:
    values = frame[column].to_list()
    values[row] = value
    return frame.with_columns(pl.Series(column, values, dtype=frame[column].dtype, strict=False))


class TestCanonicalForm:
    def test_any_row_order_gives_the_same_panel(self, tmp_path: Path) -> None:
        frame = prices()
        panels = [load(tmp_path, frame.sample(fraction=1.0, shuffle=True, seed=seed)) for seed in range(3)]
        assert all(rows(panel).equals(rows(panels[0])) for panel in panels)
        assert panels[0].codes == ("A", "B")
        assert list(panels[0].days) == DAYS

    def test_prices_get_their_canonical_names_and_types(self, tmp_path: Path) -> None:
        panel = load(tmp_path, prices())
        assert rows(panel).schema == {
            "date": pl.Date,
            "code": pl.String,
            **dict.fromkeys(("open", "high", "low", "close", "adj_close", "volume"), pl.Float64),
        }
        assert panel.has_prices
        assert (panel.features, panel.label_columns, panel.static) == ((), {}, None)
        assert rows(panel)["adj_close"].equals(rows(panel)["close"])
        assert panel.facts["rows"] == 20
        assert (panel.facts["stocks"], panel.facts["days"], panel.facts["last_day"]) == (2, 10, "2020-01-10")

    @pytest.mark.parametrize("name", ["AdjClose", "AdjustmentClose"])
    def test_an_adjusted_close_is_found_and_is_what_returns_are_taken_of(self, tmp_path: Path, name: str) -> None:
        panel = load(tmp_path, prices().with_columns((pl.col("Close") / 2).alias(name)))
        np.testing.assert_array_equal(rows(panel)["adj_close"], rows(panel)["close"] / 2)

    def test_close_only_is_enough(self, tmp_path: Path) -> None:
        panel = load(tmp_path, prices().select("Date", "Code", "Close"))
        assert rows(panel).columns == ["date", "code", "close", "adj_close"]

    def test_the_existing_format_needs_no_prices(self, tmp_path: Path) -> None:
        panel = load(tmp_path, existing_format())
        assert not panel.has_prices
        assert panel.features == ("rsi", "ma_gap")
        assert panel.label_columns == {1: "target_1d", 5: "target_5d"}
        assert panel.static == {"A": "banks", "B": "banks"}
        assert set(rows(panel).columns) == {"date", "code", "target_1d", "target_5d", "returns_1d", "rsi", "ma_gap"}

    def test_labels_may_bear_the_other_name_or_one_of_the_users(self, tmp_path: Path) -> None:
        renamed = existing_format().rename({"target_1d": "feat_ret_1d", "target_5d": "y5"})
        panel = load(tmp_path, renamed.drop("y5"), horizons=(1,))
        assert panel.label_columns == {1: "feat_ret_1d"}
        np.testing.assert_allclose(rows(panel)["target_1d"], existing_format()["target_1d"], rtol=1e-6)
        panel = load(tmp_path, renamed, horizons=(5,), columns=ColumnsConfig(label="y{h}"))
        assert panel.label_columns == {5: "y5"}

    def test_a_false_or_missing_mask_makes_the_value_missing(self, tmp_path: Path) -> None:
        frame = existing_format()
        panel = load(tmp_path, set_value(frame, 1, "is_rsi_valid", None))
        valid = frame["is_rsi_valid"].to_numpy().copy()
        valid[1] = False
        np.testing.assert_array_equal(rows(panel)["rsi"].is_not_null(), valid)
        assert rows(panel)["ma_gap"].null_count() == 0

    def test_nan_is_missing(self, tmp_path: Path) -> None:
        panel = load(tmp_path, set_value(existing_format(), 4, "ma_gap", float("nan")))
        assert rows(panel)["ma_gap"].null_count() == 1
        assert not rows(panel)["ma_gap"].is_nan().any()

    @pytest.mark.parametrize(
        "dates",
        [
            pl.col("Date").cast(pl.String),
            pl.col("Date").cast(pl.Datetime("ns")),
            pl.col("Date").dt.combine(datetime(2020, 1, 1, 15, 30).time()),
            pl.col("Date").cast(pl.Datetime).dt.strftime("%Y-%m-%dT%H:%M:%S"),
            pl.col("Date").cast(pl.Datetime).dt.replace_time_zone("Asia/Tokyo"),
        ],
        ids=["text", "timestamp", "afternoon", "ISO text", "time zone"],
    )
    def test_texts_and_timestamps_are_dates(self, tmp_path: Path, dates: pl.Expr) -> None:
        expected = rows(load(tmp_path, prices()))
        assert rows(load(tmp_path, prices().with_columns(dates.alias("Date")))).equals(expected)

    @pytest.mark.parametrize("dtype", [pl.Int32, pl.Categorical])
    def test_codes_become_text(self, tmp_path: Path, dtype: type[pl.DataType]) -> None:
        frame = prices().with_columns(pl.col("Code").replace_strict({"A": "1301", "B": "1302"}).cast(dtype))
        assert rows(load(tmp_path, frame))["code"].unique().sort().to_list() == ["1301", "1302"]

    def test_columns_can_have_other_names(self, tmp_path: Path) -> None:
        frame = prices().rename({"Date": "day", "Code": "ticker", "Close": "px"})
        panel = load(tmp_path, frame, columns=ColumnsConfig(date="day", code="ticker", close="px"))
        assert rows(panel).equals(rows(load(tmp_path, prices())))

    def test_a_day_with_one_stock_is_a_day(self, tmp_path: Path) -> None:
        frame = prices().filter((pl.col("Code") == "A") | (pl.col("Date") != DAYS[4]))
        assert rows(load(tmp_path, frame)).filter(date=DAYS[4]).height == 1


class TestFeatures:
    def test_auto_takes_what_is_neither_price_label_return_nor_mask(self, tmp_path: Path) -> None:
        frame = existing_format().join(prices(), on=["Date", "Code"])
        frame = frame.with_columns(
            target_20d=pl.lit(0.1),
            feat_ret_3d=pl.lit(0.1),
            returns_5d=pl.lit(0.1),
            name=pl.lit("text"),
            VWAP=pl.lit(1.0),
        )
        panel = load(tmp_path, frame)
        assert panel.features == ("rsi", "ma_gap")
        assert panel.has_prices

    def test_auto_derives_when_there_are_only_prices(self, tmp_path: Path) -> None:
        vendor = prices().with_columns(
            AdjustmentFactor=pl.lit(1.0),
            AdjustmentOpen=pl.col("Open"),
            TurnoverValue=pl.lit(1.0),
            target_1d=pl.lit(0.0),
        )
        panel = load(tmp_path, vendor.with_columns(returns_1d=pl.lit(0.0)))
        assert panel.features == ()
        assert panel.label_columns == {1: "target_1d"}

    @pytest.mark.parametrize(("features", "part"), [("alpha158", True), ("derived+alpha158", True), ("derived", False)])
    def test_a_vwap_is_a_price_where_alpha158_asks_for_it(self, tmp_path: Path, features: str, part: bool) -> None:
        panel = load(tmp_path, prices().with_columns(VWAP=pl.col("Close")), features=features)
        assert panel.features == ()
        assert ("vwap" in panel.parts) is part
        named = load(tmp_path, prices().with_columns(vw=pl.col("Close")), features=features, columns={"vwap": "vw"})
        assert ("vwap" in named.parts) is part

    def test_a_column_that_looks_like_a_label_is_no_feature_unless_named(self, tmp_path: Path) -> None:
        frame = existing_format().with_columns(target_1d_binary=pl.lit(1), forward_vol=pl.lit(1.0))
        panel = load(tmp_path, frame)
        assert panel.features == ("rsi", "ma_gap")
        assert any("target_1d_binary, forward_vol" in warning for warning in panel.warnings)
        assert load(tmp_path, frame, features=("rsi", "forward_vol")).features == ("rsi", "forward_vol")

    def test_names_and_globs_choose(self, tmp_path: Path) -> None:
        frame = existing_format()
        assert load(tmp_path, frame, features=("ma_*", "rsi")).features == ("ma_gap", "rsi")
        assert load(tmp_path, frame, features=("*",)).features == ("returns_1d", "rsi", "ma_gap")

    def test_a_label_is_refused_as_a_feature(self, tmp_path: Path) -> None:
        (problem,) = refused(tmp_path, existing_format(), features=("rsi", "target_5d"))
        assert "told what it must forecast" in problem

    def test_an_unknown_feature_is_refused_with_the_nearest(self, tmp_path: Path) -> None:
        (problem,) = refused(tmp_path, existing_format(), features=("ma_gaps",))
        assert problem.endswith("-> ma_gap")

    def test_a_price_under_another_name_is_not_taken_for_a_feature(self, tmp_path: Path) -> None:
        frame = existing_format().with_columns(close=pl.lit(10.0))
        (problem,) = refused(tmp_path, frame)
        assert "data.columns.close=close" in problem


class TestRefusals:
    def test_rows_of_one_stock_and_day(self, tmp_path: Path) -> None:
        (problem,) = refused(tmp_path, pl.concat([prices(), prices()[3:4]]))
        assert "found duplicates: 2 rows not alone" in problem
        assert "2020-01-02 B" in problem
        assert "row group 0, row 3" in problem

    def test_the_same_day_at_two_times_is_a_duplicate_too(self, tmp_path: Path) -> None:
        frame = prices().with_columns(pl.col("Date").cast(pl.Datetime))
        later = frame[:1].with_columns(pl.col("Date").dt.offset_by("3h"))
        assert "not alone" in refused(tmp_path, pl.concat([frame, later]))[0]

    @pytest.mark.parametrize("value", [float("inf"), -float("inf"), 0.0, -1.5])
    def test_prices_that_cannot_be(self, tmp_path: Path, value: float) -> None:
        (problem,) = refused(tmp_path, set_value(prices(), 5, "Low", value))
        assert f"expected positive prices, not infinite, found {value} on 1 row" in problem
        assert "column Low: 2020-01-03 B" in problem
        assert "panel.parquet, row group 0, row 5" in problem

    def test_a_negative_volume(self, tmp_path: Path) -> None:
        assert "found -5.0 on 1 row" in refused(tmp_path, set_value(prices(), 0, "Volume", -5))[0]

    @pytest.mark.parametrize("column", ["rsi", "target_1d", "returns_1d"])
    def test_infinite_features_labels_and_returns(self, tmp_path: Path, column: str) -> None:
        (problem,) = refused(tmp_path, set_value(existing_format(), 2, column, float("inf")))
        assert f"column {column}: 2020-01-02 A" in problem

    def test_numbers_written_as_text(self, tmp_path: Path) -> None:
        frame = prices().with_columns(pl.col("Close").round(2).cast(pl.String))
        (problem,) = refused(tmp_path, frame)
        assert f"expected numbers, found text, such as '{frame['Close'][0]}' [column Close]" in problem

    def test_a_text_feature_that_was_asked_for(self, tmp_path: Path) -> None:
        frame = existing_format().with_columns(pl.col("rsi").cast(pl.String))
        assert "column rsi" in refused(tmp_path, frame, features=("rsi", "ma_gap"))[0]

    @pytest.mark.parametrize("value", ["20200105", "soon", "2020-13-01", "2020-01-05x"])
    def test_dates_that_are_none(self, tmp_path: Path, value: str) -> None:
        frame = set_value(prices().with_columns(pl.col("Date").cast(pl.String)), 7, "Date", value)
        (problem,) = refused(tmp_path, frame)
        assert f"expected a date (2015-12-31), found {value} on 1 row" in problem

    def test_dates_written_as_numbers(self, tmp_path: Path) -> None:
        (problem,) = refused(tmp_path, prices().with_columns(Date=pl.lit(20200101)))
        assert "found Int32 [column Date]" in problem

    @pytest.mark.parametrize("column", ["Date", "Code"])
    def test_missing_keys(self, tmp_path: Path, column: str) -> None:
        (problem,) = refused(tmp_path, set_value(prices(), 1, column, None))
        assert f"found nothing on 1 row [column {column}" in problem

    def test_a_missing_column_with_the_one_that_may_be_meant(self, tmp_path: Path) -> None:
        problems = refused(tmp_path, prices().rename({"Date": "date"}))
        assert "data.columns.date=date" in problems[0]
        problems = refused(tmp_path, prices(), columns=ColumnsConfig(volume="Vol"))
        assert "expected a column 'Vol' (volume)" in problems[0]

    def test_variants_of_features_that_are_not_derived(self, tmp_path: Path) -> None:
        (problem,) = refused(tmp_path, existing_format(), relative=("market",))
        assert "market variants" in problem
        assert "data.features=derived, or data.relative=[]" in problem

    def test_variants_within_a_category_that_is_not_there(self, tmp_path: Path) -> None:
        (problem,) = refused(tmp_path, prices(), features="alpha158", relative=("market", "sector"))
        assert "'sector33'" in problem
        assert "data.columns.static" in problem

    def test_a_missing_horizon(self, tmp_path: Path) -> None:
        (problem,) = refused(tmp_path, existing_format((1, 5)), horizons=(1, 5, 10))
        assert "horizons 10 (such as target_10d or feat_ret_10d)" in problem
        assert "found target_1d, target_5d" in problem
        assert "data.horizons" in problem

    def test_neither_prices_nor_labels_nor_features(self, tmp_path: Path) -> None:
        problems = refused(tmp_path, prices().select("Date", "Code"), horizons=(1,))
        assert len(problems) == 2
        assert "data.columns.close" in problems[1]

    def test_no_rows(self, tmp_path: Path) -> None:
        (problem,) = refused(tmp_path, prices().clear())
        assert "expected rows, found none" in problem
        (problem,) = refused(tmp_path, prices(), start=date(2021, 1, 1), end=date(2021, 2, 1))
        assert "expected rows from 2021-01-01 to 2021-02-01, found none -> correct data.start and data.end" in problem

    def test_a_stock_asked_for_that_is_not_there(self, tmp_path: Path) -> None:
        (problem,) = refused(tmp_path, prices(codes="AB"), codes=("A", "a", "Z*"))[1:]
        assert "expected stocks that fit 'Z*', found none of 2, such as A" in problem

    def test_a_file_that_is_not_parquet(self, tmp_path: Path) -> None:
        (tmp_path / "panel.parquet").write_text("Date,Code,Close")
        with pytest.raises(DataError, match=r"expected a Parquet file .* begins with b'Date'"):
            opened(DataConfig(source=str(tmp_path / "panel.parquet")))

    def test_data_that_cannot_be_read_to_its_end(self, tmp_path: Path) -> None:
        settings = config(tmp_path, prices(2000))
        body = bytearray(Path(settings.source).read_bytes())
        body[200:6000] = bytes(5800)
        Path(settings.source).write_bytes(body)
        with pytest.raises(DataError, match="write the file again"):
            opened(settings)

    def test_all_problems_are_reported_together_and_the_check_reports_the_same(self, tmp_path: Path) -> None:
        frame = pl.concat([prices(), prices()[:1]])
        frame = set_value(set_value(frame, 4, "Close", float("inf")), 9, "Open", 0.0)
        frame = frame.with_columns(pl.col("High").cast(pl.String))
        problems = refused(tmp_path, frame, columns=ColumnsConfig(volume="Vol"))
        assert len(problems) == 5
        report = check_panel(config(tmp_path, frame, columns=ColumnsConfig(volume="Vol")), silent)
        assert [str(problem) for problem in report.problems] == problems
        with pytest.raises(DataError, match="5 problems"):
            load(tmp_path, frame, columns=ColumnsConfig(volume="Vol"))


class TestOddities:
    def warnings(self, path: Path, frame: pl.DataFrame, **settings: Any) -> str:
        panel = load(path, frame, **settings)
        assert check_panel(config(path, frame, **settings), silent).warnings == panel.warnings
        return "\n".join(panel.warnings)

    def test_a_clean_panel_has_none(self, tmp_path: Path) -> None:
        assert self.warnings(tmp_path, prices()) == ""
        assert self.warnings(tmp_path, existing_format()) == ""

    def test_high_below_low_is_told_and_both_are_missing(self, tmp_path: Path) -> None:
        frame = set_value(prices(), 5, "High", 1.0)
        assert "high below low (both taken as missing) on 1 row (5.00%), first 2020-01-03 B" in self.warnings(
            tmp_path, frame
        )
        row = rows(load(tmp_path, frame)).filter(date=DAYS[2], code="B")
        assert row["high"].item() is None
        assert row["low"].item() is None
        assert row["close"].item() is not None

    def test_zero_volume_missing_prices_and_jumps_are_counted(self, tmp_path: Path) -> None:
        frame = set_value(set_value(prices(), 3, "Volume", 0), 6, "Open", None)
        told = self.warnings(tmp_path, set_value(frame, 8, "Close", 18.0))
        assert "Volume 0 (volume factors are missing there) on 1 row" in told
        assert "no Open on 1 row (5.00%), first 2020-01-04 A" in told
        assert "Close jumps more than 50% (a missed split?) on 1 row (5.00%), first 2020-01-05 A" in told

    def test_a_day_with_few_stocks_is_told(self, tmp_path: Path) -> None:
        frame = prices(codes="ABCDE").filter((pl.col("Date") != DAYS[-1]) | (pl.col("Code") < "C"))
        assert "on 1 day, last 2020-01-10 (2, usually 5)" in self.warnings(tmp_path, frame)

    def test_labels_in_percent_are_told(self, tmp_path: Path) -> None:
        frame = existing_format().with_columns(pl.col("target_5d") * 100)
        assert "target_5d has a median size of" in self.warnings(tmp_path, frame)

    def test_a_category_that_changes_is_told(self, tmp_path: Path) -> None:
        frame = set_value(existing_format(), 19, "sector33", "mines")
        assert "sector33 changes for 1 stocks, such as B" in self.warnings(tmp_path, frame)

    def test_a_text_column_that_reads_as_numbers_is_told_not_silently_left_out(self, tmp_path: Path) -> None:
        frame = existing_format().with_columns(pl.col("rsi").cast(pl.String), name=pl.lit("text"))
        assert load(tmp_path, frame).features == ("ma_gap",)
        told = self.warnings(tmp_path, frame)
        assert "rsi" in told
        assert "name" not in told

    def test_masks_of_nothing_and_missing_returns_are_told(self, tmp_path: Path) -> None:
        frame = existing_format().with_columns(is_macd_valid=pl.lit(True)).drop("returns_1d")
        told = self.warnings(tmp_path, frame)
        assert "is_macd_valid" in told
        assert "neither prices nor returns_1d" in told


class TestRange:
    def test_days_after_the_end_and_before_the_warm_up_are_left_out(self, tmp_path: Path) -> None:
        frame = prices(400)
        days = frame["Date"].unique().sort()
        settings = config(tmp_path, frame, start=days[300], end=days[350])
        kept = rows(opened(settings))["date"].unique().sort()
        assert (kept[0], kept[-1]) == (days[300 - warm_up_days(settings)], days[350])
        assert rows(opened(config(tmp_path, frame, start=days[20])))["date"].min() == days[0]

    def test_stocks_asked_for_by_name_and_glob(self, tmp_path: Path) -> None:
        frame = prices(codes="ABCD").with_columns(pl.col("Code").replace({"C": "BC"}))
        panel = load(tmp_path, frame, codes=("B*", "D"))
        assert panel.codes == ("B", "BC", "D")
        assert rows(panel).drop("code").equals(rows(load(tmp_path, frame)).filter(pl.col("code") != "A").drop("code"))

    def test_what_is_wrong_with_other_stocks_does_not_matter(self, tmp_path: Path) -> None:
        frame = prices().with_columns(Close=pl.when(pl.col("Code") == "A").then(-1.0).otherwise("Close"))
        assert refused(tmp_path, frame)
        assert load(tmp_path, frame, codes=("B",)).codes == ("B",)

    def test_rows_outside_are_not_checked(self, tmp_path: Path) -> None:
        frame = set_value(prices(400), 0, "Close", -1.0)
        settings = config(tmp_path, frame, start=frame["Date"].max())
        assert check_panel(settings, silent).problems == ()
        assert len(check_panel(config(tmp_path, frame), silent).problems) == 1


class TestBands:
    """What needs a stock's rows in order is found one band of days at a time."""

    @pytest.fixture(params=[1, 3, 7])
    def small(self, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(panel_checks, "BAND_ROWS", request.param)

    @pytest.mark.usefixtures("small")
    def test_bands_cover_every_day_once(self) -> None:
        days = pl.DataFrame({"date": DAYS, "stocks": [3, 1, 9, 2, 2, 1, 1, 4, 1, 1]})
        found = panel_checks.bands(days)
        covered = [day for band in found for day in DAYS if band.first <= day <= band.last]
        assert covered == DAYS
        assert len(found) > 3

    @pytest.mark.usefixtures("small")
    def test_a_jump_is_found_across_bands_and_absences(self, tmp_path: Path) -> None:
        frame = set_value(set_value(prices(), 8, "Close", 18.0), 17, "Close", 99.0)
        frame = frame.filter((pl.col("Code") != "B") | ~pl.col("Date").is_in(DAYS[5:8]))
        told = "\n".join(load(tmp_path, frame.sample(fraction=1.0, shuffle=True, seed=0)).warnings)
        # A: up to 18 on day 4; B: up to 99 on day 8, back on day 9.
        assert "Close jumps more than 50% (a missed split?) on 3 rows (17.65%), first 2020-01-05 A" in told

    @pytest.mark.usefixtures("small")
    def test_duplicates_are_counted_over_all_bands_and_shown_from_the_first_row_on(self, tmp_path: Path) -> None:
        (problem,) = refused(tmp_path, pl.concat([prices()[::-1], prices()[3:4], prices()[3:4], prices()[12:13]]))
        assert "found duplicates: 5 rows not alone" in problem
        assert problem.index("2020-01-07 A") < problem.index("2020-01-02 B")
