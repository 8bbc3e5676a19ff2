"""Factors look back only, no further than they say, and are what their names promise."""

from collections.abc import Callable
from typing import Literal

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from atft_gat_fan.config.schema import SyntheticConfig
from atft_gat_fan.data.bars import MAX_GAP, REACH
from atft_gat_fan.data.features import (
    DERIVED_FEATURES,
    derivable_features,
    derive_features,
    standardise_within_day,
)
from atft_gat_fan.data.sources.synthetic import synthetic_panel

NUM_DAYS = 150


def messy_panel(seed: int = 0) -> pl.DataFrame:
    """Canonical rows with late and early listings, gaps short and long, missing prices and days without trades."""
    rng = np.random.default_rng(seed)
    config = SyntheticConfig(num_stocks=8, num_days=NUM_DAYS, churn=0.5, seed=seed)
    frame = synthetic_panel(config).rename(str.lower).drop("sector33").with_columns(pl.col("volume").cast(pl.Float64))
    split = pl.when(pl.col("date") > frame["date"].unique().sort()[70]).then(1.0).otherwise(0.5)
    frame = frame.with_columns((pl.col("close") * split).alias("adj_close"))
    away = pl.Series(rng.random(frame.height) < 0.05) | pl.Series(
        (frame["code"] == "S0003").to_numpy()
        & (frame["date"].rank("dense").is_between(60, 60 + 2 * MAX_GAP)).to_numpy()
    )
    frame = frame.filter(~away)
    no_trade, no_open = (pl.Series(rng.random(frame.height) < 0.03) for _ in range(2))
    return frame.with_columns(
        pl.when(no_trade).then(0.0).otherwise("volume").alias("volume"),
        pl.when(no_open).then(None).otherwise("open").alias("open"),
        pl.when(no_open).then(None).otherwise("high").alias("high"),
    ).sort("date", "code")


def standardised(frame: pl.DataFrame, method: Literal["zscore", "rank"] = "zscore") -> pl.DataFrame:
    return standardise_within_day(derive_features(frame, DERIVED_FEATURES), DERIVED_FEATURES, method)


def other_prices(frame: pl.DataFrame, rng: np.random.Generator) -> pl.DataFrame:
    columns = ("open", "high", "low", "close", "adj_close", "volume")
    return frame.with_columns(pl.Series(name, rng.uniform(1, 1e6, frame.height)) for name in columns)


def fewer_rows(frame: pl.DataFrame, rng: np.random.Generator) -> pl.DataFrame:
    return frame.filter(pl.Series(rng.random(frame.height) < 0.3))


def nothing(frame: pl.DataFrame, rng: np.random.Generator) -> pl.DataFrame:
    return frame.clear()


def new_listings(frame: pl.DataFrame, rng: np.random.Generator) -> pl.DataFrame:
    # Codes that sort before and after the old ones move every row's place in the flat array.
    return pl.concat([frame, *(frame.with_columns(code=prefix + pl.col("code")) for prefix in ("A", "Z"))])


def missing_values(frame: pl.DataFrame, rng: np.random.Generator) -> pl.DataFrame:
    return frame.with_columns(pl.lit(None, pl.Float64).alias("adj_close"))


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 20),
    method=st.sampled_from(["zscore", "rank"]),
    day=st.integers(5, NUM_DAYS - 2),
    change=st.sampled_from([other_prices, fewer_rows, nothing, new_listings, missing_values]),
)
def test_nothing_after_day_t_changes_a_bit_of_the_features_up_to_t(
    seed: int,
    method: Literal["zscore", "rank"],
    day: int,
    change: Callable[[pl.DataFrame, np.random.Generator], pl.DataFrame],
) -> None:
    frame = messy_panel(seed)
    date = frame["date"].unique().sort()[day]
    past, future = frame.filter(pl.col("date") <= date), frame.filter(pl.col("date") > date)
    changed = pl.concat([past, change(future, np.random.default_rng(seed))]).sort("date", "code")
    features = standardised(frame, method).filter(pl.col("date") <= date)
    assert standardised(changed, method).filter(pl.col("date") <= date).equals(features, null_equal=True)


@pytest.mark.parametrize("seed", range(3))
def test_features_are_the_same_to_the_bit_wherever_the_panel_begins(seed: int) -> None:
    frame = messy_panel(seed)
    days = frame["date"].unique().sort()
    for day in (REACH, 100, NUM_DAYS - 1):
        recent = frame.filter(pl.col("date") >= days[day - REACH])
        on_day = [standardised(f).filter(date=days[day]) for f in (frame, recent)]
        assert on_day[0].equals(on_day[1], null_equal=True)


def test_any_row_order_gives_the_same_features() -> None:
    frame = messy_panel()
    shuffled = frame.sample(fraction=1.0, shuffle=True, seed=3)
    key = ["date", "code"]
    assert derive_features(shuffled, DERIVED_FEATURES).sort(key).equals(derive_features(frame, DERIVED_FEATURES))


def test_features_are_float32_without_nan_or_infinity_and_mostly_known() -> None:
    features = derive_features(messy_panel(), DERIVED_FEATURES)
    values = features.select(DERIVED_FEATURES)
    assert set(values.dtypes) == {pl.Float32}
    assert values.select(pl.all().is_nan().any() | pl.all().is_infinite().any()).sum_horizontal().item() == 0
    late = features.filter(pl.col("date") > features["date"].unique().sort()[110])
    assert late.select(pl.col(DERIVED_FEATURES).null_count() / pl.len()).max_horizontal().item() < 0.25


def one_stock(num_days: int = 90, seed: int = 0) -> pl.DataFrame:
    """One stock on every day beside another that is always there, so that the panel has all days."""
    frame = synthetic_panel(SyntheticConfig(num_stocks=2, num_days=num_days, churn=0, seed=seed)).rename(str.lower)
    return frame.with_columns(pl.col("volume").cast(pl.Float64), adj_close="close").sort("date", "code")


def last(frame: pl.DataFrame, *names: str) -> list[float]:
    features = derive_features(frame, names).filter(code="S0000").sort("date")
    return [features[name][-1] for name in names]


def test_factors_are_what_their_names_promise() -> None:
    frame = one_stock()
    stock = frame.filter(code="S0000").sort("date")
    o, h, lo, c, v = (stock[name].to_numpy() for name in ("open", "high", "low", "close", "volume"))
    returns = c[1:] / c[:-1] - 1
    other = frame.filter(code="S0001").sort("date")["close"].to_numpy()
    market = (returns + other[1:] / other[:-1] - 1) / 2
    slope = stats.linregress(market[-60:], returns[-60:]).slope
    residual = returns[-60:] - slope * market[-60:]
    expected = {
        "KMID": c[-1] / o[-1] - 1,
        "GAP": o[-1] / c[-2] - 1,
        "KLEN": (h[-1] - lo[-1]) / o[-1],
        "KUP": (h[-1] - max(o[-1], c[-1])) / o[-1],
        "KLOW": (min(o[-1], c[-1]) - lo[-1]) / o[-1],
        "KSFT": (2 * c[-1] - h[-1] - lo[-1]) / o[-1],
        **{f"ROC_{k}": c[-1] / c[-1 - k] - 1 for k in (1, 2, 3, 5, 10, 20, 60)},
        **{f"MA_{k}": c[-k:].mean() / c[-1] for k in (5, 20, 60)},
        **{f"STD_{k}": returns[-k:].std() for k in (5, 20, 60)},
        **{f"RSV_{k}": (c[-1] - lo[-k:].min()) / (h[-k:].max() - lo[-k:].min()) for k in (5, 20, 60)},
        **{f"VMA_{k}": np.log(v[-1] / v[-k:].mean()) for k in (5, 20)},
        "VSTD_20": np.log(v[-20:]).std(),
        **{f"CORR_{k}": np.corrcoef(np.log(c[-k:]), np.log(v[-k:]))[0, 1] for k in (10, 20)},
        "BETA_60": slope,
        "RMOM_20": returns[-20:].mean() - slope * market[-20:].mean(),
        "RVOL_60": residual.std(),
        "AMIHUD_20": np.log(np.mean(np.abs(returns[-20:]) / (c * v)[-20:])),
        "DVOL_20": np.log(np.mean((c * v)[-20:])),
    }
    assert tuple(expected) == DERIVED_FEATURES
    np.testing.assert_allclose(last(frame, *expected), list(expected.values()), rtol=2e-6, atol=1e-9)


def test_a_split_of_the_stock_is_no_return_and_no_range() -> None:
    frame = one_stock()
    day = frame["date"].unique().sort()[80]
    halved = pl.when(pl.col("date") > day).then(0.5).otherwise(1.0)
    raw = frame.with_columns(pl.col("open", "high", "low", "close") * halved)  # adj_close stays continuous
    names = [name for name in DERIVED_FEATURES if name not in ("AMIHUD_20", "DVOL_20")]
    np.testing.assert_allclose(last(raw, *names), last(frame, *names), rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize(("away", "known"), [(MAX_GAP, True), (MAX_GAP + 1, False)])
def test_a_return_spans_a_short_absence_and_not_a_long_one(away: int, known: bool) -> None:
    frame = one_stock()
    days = frame["date"].unique().sort()
    there = frame.filter((pl.col("code") != "S0000") | ~pl.col("date").is_in(days[-1 - away : -1].implode()))
    price = there.filter(code="S0000").sort("date")["close"]
    roc, ma, gap = last(there, "ROC_1", "MA_60", "GAP")
    assert (roc is not None) is (ma is not None) is (gap is not None) is known
    if known:
        assert roc == pytest.approx(price[-1] / price[-2] - 1, rel=1e-5)


def test_windows_count_panel_days() -> None:
    frame = one_stock()
    days = frame["date"].unique().sort()
    there = frame.filter((pl.col("code") != "S0000") | (pl.col("date") != days[-3]))
    price = dict(frame.filter(code="S0000").select("date", "close").iter_rows())
    roc_5, ma_5 = last(there, "ROC_5", "MA_5")
    assert roc_5 == pytest.approx(price[days[-1]] / price[days[-6]] - 1, rel=1e-5)
    four = [price[days[-i]] for i in (1, 2, 4, 5)]
    assert ma_5 == pytest.approx(np.mean(four) / price[days[-1]], rel=1e-5)


def test_a_day_without_trades_has_no_volume_factors_and_harms_no_other_day() -> None:
    frame = one_stock()
    days = frame["date"].unique().sort()

    def without_trades(day: int) -> pl.DataFrame:
        idle = pl.when(date=days[day], code="S0000").then(0.0).otherwise("volume")
        return frame.with_columns(idle.alias("volume"))

    assert last(without_trades(-1), "VMA_5", "VMA_20", "ROC_1")[:2] == [None, None]
    assert all(np.isfinite(last(without_trades(-2), "VMA_5", "VSTD_20", "CORR_10", "AMIHUD_20", "DVOL_20")))


def test_missing_highs_and_lows_leave_the_factors_of_the_close() -> None:
    frame = one_stock().with_columns(pl.lit(None, pl.Float64).alias(name) for name in ("open", "high", "low"))
    shadows, rsv, roc = last(frame, "KUP", "RSV_20", "ROC_1")
    assert shadows is None
    assert 0 <= rsv <= 1
    assert roc is not None


def test_columns_decide_what_can_be_derived() -> None:
    everything = derivable_features(["open", "high", "low", "close", "volume"])
    close_only = derivable_features(["close", "adj_close"])
    assert everything == DERIVED_FEATURES
    assert len(set(DERIVED_FEATURES)) == 32
    assert len(close_only) == 19
    assert set(derivable_features(["close", "volume"])) - set(close_only) == {
        name for name in DERIVED_FEATURES if name.startswith(("VMA", "VSTD", "CORR", "AMIHUD", "DVOL"))
    }
    assert derivable_features(["volume"]) == ()
    frame = one_stock().select("date", "code", "close", "adj_close")
    assert None not in last(frame, *close_only)


def day_of(values: list[float | None], day: str = "2020-01-01") -> pl.DataFrame:
    codes = [f"C{i}" for i in range(len(values))]
    return pl.DataFrame({"date": [day] * len(values), "code": codes, "x": values}, schema_overrides={"x": pl.Float64})


def test_zscores_are_those_of_the_stocks_present_that_day() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.normal(3, 2, 40).tolist(), [*rng.normal(-100, 50, 25).tolist(), None]
    frame = pl.concat([day_of(first), day_of(second, "2020-01-02")])
    scores = standardise_within_day(frame, ["x"], "zscore")["x"]
    np.testing.assert_allclose(scores[:40], stats.zscore(first), rtol=1e-5)
    np.testing.assert_allclose(scores[40:-1], stats.zscore(second[:-1]), rtol=1e-5)
    assert scores[-1] is None
    assert scores.dtype == pl.Float32


def test_zscores_are_clipped() -> None:
    scores = standardise_within_day(day_of([0.0] * 99 + [1.0]), ["x"], "zscore")["x"]
    assert scores[-1] == 5.0


@pytest.mark.parametrize("method", ["zscore", "rank"])
@pytest.mark.parametrize("values", [[7.0], [0.1] * 12, [3.3e-7, 3.3e-7, None], [7.0, None, None]])
def test_a_day_that_cannot_be_compared_is_zero_and_missing_stays_missing(
    method: str, values: list[float | None]
) -> None:
    scores = standardise_within_day(day_of(values), ["x"], method)["x"].to_list()
    assert scores == [None if value is None else 0.0 for value in values]


def test_ranks_are_averaged_over_ties_and_of_unit_variance() -> None:
    values = [5.0, 1.0, 1.0, None, -2.0]
    scores = standardise_within_day(day_of(values), ["x"], "rank")["x"]
    expected = [((r - 0.5) / 4 - 0.5) * np.sqrt(12) for r in (4, 2.5, 2.5, 1)]
    np.testing.assert_allclose(scores.drop_nulls(), expected, rtol=1e-6)
    assert scores[3] is None
    many = standardise_within_day(day_of(np.random.default_rng(0).normal(size=500).tolist()), ["x"], "rank")["x"]
    assert many.std() == pytest.approx(1, abs=0.01)
