"""Factors look back only, no further than they say, and are what their names promise."""

from collections.abc import Callable, Sequence
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
    ALPHA158_FEATURES,
    DERIVED_FEATURES,
    EVERY_COLUMN,
    FAMILIES,
    FEATURE_SETS,
    by_family,
    columns_behind,
    derivable_features,
    derive_features,
    is_derivable,
    standardise_features,
)
from atft_gat_fan.data.sources.synthetic import synthetic_panel
from tests.data.messy_panels import CHANGES, NUM_DAYS, messy_panel

# Alpha158's VWAP0 is of its own day alone, and the panels here have no such price.
EVERYTHING = derivable_features(EVERY_COLUMN - {"vwap"}, "derived+alpha158", ("market", "sector"))


def standardised(
    frame: pl.DataFrame, method: Literal["zscore", "rank"] = "zscore", names: Sequence[str] = DERIVED_FEATURES
) -> pl.DataFrame:
    category = (frame["code"].str.slice(-1).cast(pl.Int64) // 6).to_numpy()
    return standardise_features(derive_features(frame, names), names, method, category)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 20),
    method=st.sampled_from(["zscore", "rank"]),
    day=st.integers(5, NUM_DAYS - 2),
    change=st.sampled_from(CHANGES),
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


@pytest.mark.slow
@pytest.mark.parametrize(("change", "method"), [*zip(CHANGES, ["zscore", "rank"] * 3, strict=False)])
def test_nothing_after_day_t_changes_a_bit_of_any_feature_or_variant_up_to_t(
    change: Callable[[pl.DataFrame, np.random.Generator], pl.DataFrame], method: Literal["zscore", "rank"]
) -> None:
    frame = messy_panel(seed=5)
    date = frame["date"].unique().sort()[100]
    past, future = frame.filter(pl.col("date") <= date), frame.filter(pl.col("date") > date)
    changed = pl.concat([past, change(future, np.random.default_rng(0))]).sort("date", "code")
    features, others = (standardised(panel, method, EVERYTHING) for panel in (frame, changed))
    up_to = pl.col("date") <= date
    assert others.filter(up_to).equals(features.filter(up_to), null_equal=True)


def test_every_feature_and_variant_is_the_same_to_the_bit_wherever_the_panel_begins() -> None:
    frame = messy_panel(seed=6)
    days = frame["date"].unique().sort()
    for day in (90, NUM_DAYS - 1):
        recent = frame.filter(pl.col("date") >= days[day - REACH])
        on_day = [standardised(f, names=EVERYTHING).filter(date=days[day]) for f in (frame, recent)]
        assert on_day[0].equals(on_day[1], null_equal=True)
        assert on_day[0].select(pl.col(EVERYTHING).null_count() / pl.len()).max_horizontal().item() < 0.8


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


@pytest.mark.parametrize("names", [DERIVED_FEATURES, EVERYTHING])
def test_features_are_float32_without_nan_or_infinity_and_mostly_known(names: Sequence[str]) -> None:
    features = derive_features(messy_panel(), names)
    values = features.select(names)
    assert set(values.dtypes) == {pl.Float32}
    assert values.select(pl.all().is_nan().any() | pl.all().is_infinite().any()).sum_horizontal().item() == 0
    late = features.filter(pl.col("date") > features["date"].unique().sort()[110])
    assert late.select(pl.col(names).null_count() / pl.len()).max_horizontal().item() < 0.25


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
    of_the_other_days = last(without_trades(-1), "VSTD_20", "CORR_10", "CORR_20", "AMIHUD_20", "DVOL_20")
    assert None not in of_the_other_days
    assert np.isfinite(of_the_other_days).all()
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


def test_each_name_means_one_thing_and_stands_beside_its_family() -> None:
    names = [name for family in FAMILIES for name in family.names]
    assert len(set(names)) == len(names)
    assert len(ALPHA158_FEATURES) == 158
    for feature_set in FEATURE_SETS:
        chosen = derivable_features(EVERY_COLUMN, feature_set, ("market", "sector"))
        assert len(set(chosen)) == len(chosen)
        assert [name for family in by_family(chosen) for name in family] == list(chosen)
        assert all(map(is_derivable, chosen))
    assert set(FEATURE_SETS["derived+alpha158"]) == set(DERIVED_FEATURES) | set(ALPHA158_FEATURES)
    assert not any(map(is_derivable, ["KMID_mkt", "momentum", "ROC5_mkt", "_sec", ""]))


def test_variants_stand_beside_the_feature_where_they_mean_something() -> None:
    assert derivable_features(["close"], "derived", ("market", "sector"))[:2] == ("ROC_1", "ROC_1_sec")
    chosen = derivable_features(["close", "volume"], "alpha158", ("market",))
    assert chosen[chosen.index("MA5") + 1] == "MA5_mkt"
    to_market = derivable_features(EVERY_COLUMN, "alpha158", ("market",))
    alone = {name for name in ALPHA158_FEATURES if name + "_mkt" not in to_market}
    assert {name.rstrip("0123456789") for name in alone} == {
        *("KMID", "KLEN", "KUP", "KLOW", "KSFT", "OPEN", "HIGH", "LOW", "VWAP", "ROC", "VMA", "VSTD"),
        *("VSUMP", "VSUMN", "VSUMD"),
    }  # fmt: skip
    assert derivable_features(EVERY_COLUMN, "alpha158") == ALPHA158_FEATURES


def test_it_is_known_what_a_variant_is_made_of() -> None:
    assert columns_behind(["CORR5_mkt", "MA_20_sec"]) == ("close", "volume")
    assert columns_behind(["VWAP0", "RSV5_sec"]) == ("close", "high", "low", "vwap")
