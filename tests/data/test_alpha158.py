"""Each feature of Alpha158 against its published formula, written down a second time, and what missing days do to it.

Formulas: Alpha158DL.get_feature_config, qlib/contrib/data/loader.py; operators: qlib/data/ops.py.
"""

from collections.abc import Callable

import numpy as np
import pandas as pd
import polars as pl
import pytest

from atft_gat_fan.config.schema import SyntheticConfig
from atft_gat_fan.data.alpha158 import WINDOWS
from atft_gat_fan.data.bars import MAX_GAP
from atft_gat_fan.data.features import ALPHA158_FEATURES, DERIVED_FEATURES, derive_features
from atft_gat_fan.data.sources.synthetic import synthetic_panel

NUM_DAYS = 100
WARM = 61
"""Days until every window, and the base of its first change, is full."""
EPSILON = 1e-12
S = pd.Series
WITHOUT_WINDOW = ("KMID", "KLEN", "KMID2", "KUP", "KUP2", "KLOW", "KLOW2", "KSFT", "KSFT2")
WITH_WINDOW = (
    *("ROC", "MA", "STD", "BETA", "RSQR", "RESI", "MAX", "MIN", "QTLU", "QTLD", "RANK", "RSV", "IMAX", "IMIN", "IMXD"),
    *("CORR", "CORD", "CNTP", "CNTN", "CNTD", "SUMP", "SUMN", "SUMD", "VMA", "VSTD", "WVMA", "VSUMP", "VSUMN", "VSUMD"),
)
OF_VOLUME = ("CORR", "CORD", "WVMA", "VMA", "VSTD", "VSUMP", "VSUMN", "VSUMD")


def greater(a: S, b: S | float) -> S:
    return np.maximum(a, b)


def less(a: S, b: S) -> S:
    return np.minimum(a, b)


def rolled(x: S, d: int, function: Callable[[np.ndarray], float]) -> S:
    return x.rolling(d).apply(function, raw=True)


def line(y: np.ndarray) -> tuple[float, float]:
    slope, intercept = np.polyfit(np.arange(1, len(y) + 1), y, 1)
    return slope, intercept


def slope(x: S, d: int) -> S:
    return rolled(x, d, lambda y: line(y)[0])


def residual(x: S, d: int) -> S:
    return rolled(x, d, lambda y: y[-1] - line(y)[0] * len(y) - line(y)[1])


def rsquare(x: S, d: int) -> S:
    return rolled(x, d, lambda y: np.corrcoef(np.arange(len(y)), y)[0, 1] ** 2)


def first_highest(x: S, d: int) -> S:
    return rolled(x, d, lambda y: np.argmax(y) + 1)


def first_lowest(x: S, d: int) -> S:
    return rolled(x, d, lambda y: np.argmin(y) + 1)


def published(stock: pd.DataFrame) -> dict[str, S]:
    """All 158, of one stock's rows in order of days."""
    o, h, l, c, v, w = (stock[name] for name in ("open", "high", "low", "close", "volume", "vwap"))  # noqa: E741
    before, moved = c.shift(1), c - c.shift(1)
    turned = v - v.shift(1)
    flow = (c / before - 1).abs() * v
    made = {
        "KMID": (c - o) / o,
        "KLEN": (h - l) / o,
        "KMID2": (c - o) / (h - l + EPSILON),
        "KUP": (h - greater(o, c)) / o,
        "KUP2": (h - greater(o, c)) / (h - l + EPSILON),
        "KLOW": (less(o, c) - l) / o,
        "KLOW2": (less(o, c) - l) / (h - l + EPSILON),
        "KSFT": (2 * c - h - l) / o,
        "KSFT2": (2 * c - h - l) / (h - l + EPSILON),
        "OPEN0": o / c,
        "HIGH0": h / c,
        "LOW0": l / c,
        "VWAP0": w / c,
    }
    for d in WINDOWS:
        top, bottom = h.rolling(d).max(), l.rolling(d).min()
        made |= {
            f"ROC{d}": c.shift(d) / c,
            f"MA{d}": c.rolling(d).mean() / c,
            f"STD{d}": c.rolling(d).std() / c,
            f"BETA{d}": slope(c, d) / c,
            f"RSQR{d}": rsquare(c, d),
            f"RESI{d}": residual(c, d) / c,
            f"MAX{d}": top / c,
            f"MIN{d}": bottom / c,
            f"QTLU{d}": c.rolling(d).quantile(0.8) / c,
            f"QTLD{d}": c.rolling(d).quantile(0.2) / c,
            f"RANK{d}": c.rolling(d).rank(pct=True),
            f"RSV{d}": (c - bottom) / (top - bottom + EPSILON),
            f"IMAX{d}": first_highest(h, d) / d,
            f"IMIN{d}": first_lowest(l, d) / d,
            f"IMXD{d}": (first_highest(h, d) - first_lowest(l, d)) / d,
            f"CORR{d}": c.rolling(d).corr(np.log(v + 1)),
            f"CORD{d}": (c / before).rolling(d).corr(np.log(v / v.shift(1) + 1)),
            f"CNTP{d}": (c > before).astype(float).rolling(d).mean(),
            f"CNTN{d}": (c < before).astype(float).rolling(d).mean(),
            f"CNTD{d}": ((c > before).astype(float) - (c < before).astype(float)).rolling(d).mean(),
            f"SUMP{d}": greater(moved, 0).rolling(d).sum() / (moved.abs().rolling(d).sum() + EPSILON),
            f"SUMN{d}": greater(-moved, 0).rolling(d).sum() / (moved.abs().rolling(d).sum() + EPSILON),
            f"SUMD{d}": moved.rolling(d).sum() / (moved.abs().rolling(d).sum() + EPSILON),
            f"VMA{d}": v.rolling(d).mean() / (v + EPSILON),
            f"VSTD{d}": v.rolling(d).std() / (v + EPSILON),
            f"WVMA{d}": flow.rolling(d).std() / (flow.rolling(d).mean() + EPSILON),
            f"VSUMP{d}": greater(turned, 0).rolling(d).sum() / (turned.abs().rolling(d).sum() + EPSILON),
            f"VSUMN{d}": greater(-turned, 0).rolling(d).sum() / (turned.abs().rolling(d).sum() + EPSILON),
            f"VSUMD{d}": turned.rolling(d).sum() / (turned.abs().rolling(d).sum() + EPSILON),
        }
    return made


def whole_panel(seed: int = 0) -> pl.DataFrame:
    """Two stocks on every day, in prices so coarse that many are equal."""
    frame = synthetic_panel(SyntheticConfig(num_stocks=2, num_days=NUM_DAYS, churn=0, seed=seed)).rename(str.lower)
    prices = ("open", "high", "low", "close")
    scale = 40 / frame["close"].mean()
    frame = frame.with_columns((pl.col(prices) * scale).round(1), pl.col("volume").cast(pl.Float64) / 7 + 1)
    return frame.with_columns(
        high=pl.max_horizontal(prices),
        low=pl.min_horizontal(prices),
        vwap=(pl.col("high") + 2 * pl.col("low")) / 3,
        adj_close="close",
    ).sort("date", "code")


@pytest.fixture(scope="module")
def pairs() -> list[tuple[pl.DataFrame, dict[str, S]]]:
    """Features as they are made, and as published, of each stock."""
    frame = whole_panel()
    features = derive_features(frame, ALPHA158_FEATURES)
    return [
        (features.filter(code=code).sort("date"), published(frame.filter(code=code).sort("date").to_pandas()))
        for code in ("S0000", "S0001")
    ]


@pytest.mark.parametrize("name", ALPHA158_FEATURES)
def test_each_is_its_published_formula_where_no_day_is_missing(
    pairs: list[tuple[pl.DataFrame, dict[str, S]]], name: str
) -> None:
    for features, formulas in pairs:
        assert set(formulas) == set(ALPHA158_FEATURES)
        expected = formulas[name].to_numpy()[WARM:]
        assert np.isfinite(expected).mean() > 0.9
        assert np.nanstd(expected) > 0
        np.testing.assert_allclose(features[name].to_numpy()[WARM:], expected, rtol=3e-6, atol=3e-7)


def test_equal_prices_were_among_them(pairs: list[tuple[pl.DataFrame, dict[str, S]]]) -> None:
    steps = np.diff(whole_panel().filter(code="S0000").sort("date")["close"])
    assert (steps == 0).mean() > 0.03


def last(frame: pl.DataFrame, *names: str) -> list[float | None]:
    features = derive_features(frame, names).filter(code="S0000").sort("date")
    return [features[name][-1] for name in names]


def test_a_stock_that_does_not_move_has_no_trend_and_no_correlation() -> None:
    prices = ("open", "high", "low", "close", "adj_close")
    frame = whole_panel().with_columns(pl.lit(0.1).alias(name) for name in prices)
    zero = ("KMID2", "KSFT2", "STD60", "BETA60", "RESI60", "RSV20", "IMXD10", "CNTP5", "SUMP5", "SUMD5", "WVMA5")
    assert last(frame, *zero) == pytest.approx([0.0] * len(zero), abs=1e-7)
    assert last(frame, "ROC60", "MA60", "MAX5", "QTLU30") == [1.0] * 4
    assert last(frame, "RANK5", "IMAX10") == pytest.approx([0.6, 0.1])
    assert last(frame, "RSQR60", "CORR60", "CORD60") == [None] * 3


def test_a_bar_without_range_whose_open_lies_outside_says_nothing() -> None:
    frame = whole_panel().with_columns(high="close", low="close", open=pl.col("close") + 1)
    assert last(frame, "KMID2", "KUP2", "KLOW2", "KSFT2") == [None, None, 0.0, 0.0]


def test_windows_count_panel_days_and_miss_what_is_not_there() -> None:
    frame = whole_panel()
    days = frame["date"].unique().sort()
    there = frame.filter((pl.col("code") != "S0000") | (pl.col("date") != days[-3]))
    price = frame.filter(code="S0000").sort("date")["close"].to_numpy()
    four, ages = price[[-5, -4, -2, -1]], np.array([-4, -3, -1, 0])
    beta, level = np.polyfit(ages, four, 1)
    moved = np.array([price[-5] - price[-6], price[-4] - price[-5], price[-2] - price[-4], price[-1] - price[-2]])
    expected = {
        "MA5": four.mean() / price[-1],
        "STD5": four.std(ddof=1) / price[-1],
        "BETA5": beta / price[-1],
        "RESI5": (price[-1] - level) / price[-1],
        "RSQR5": np.corrcoef(ages, four)[0, 1] ** 2,
        "RANK5": ((four < price[-1]).sum() + ((four == price[-1]).sum() + 1) / 2) / 4,
        "QTLU5": np.quantile(four, 0.8) / price[-1],
        "SUMP5": np.maximum(moved, 0).sum() / np.abs(moved).sum(),
        "CNTP5": (moved > 0).mean(),
        "ROC5": price[-6] / price[-1],
    }
    assert last(there, *expected) == pytest.approx(list(expected.values()), rel=1e-5, abs=1e-7)


@pytest.mark.parametrize(("away", "known"), [(MAX_GAP, True), (MAX_GAP + 1, False)])
def test_a_stock_away_for_long_starts_anew(away: int, known: bool) -> None:
    frame = whole_panel()
    days = frame["date"].unique().sort()
    there = frame.filter((pl.col("code") != "S0000") | ~pl.col("date").is_in(days[-1 - away : -1].implode()))
    names = ("ROC60", "MA60", "RANK60", "IMAX60", "QTLD60", "SUMP60", "CNTN60", "CORR60", "VMA60", "VSUMP60")
    assert [value is not None for value in last(there, *names)] == [known] * len(names)


def test_a_day_without_trades_has_no_features_of_volume_and_harms_no_other_day() -> None:
    frame = whole_panel()
    days = frame["date"].unique().sort()
    names = [f"{prefix}{window}" for prefix in OF_VOLUME for window in WINDOWS]

    def without_trades(day: int) -> pl.DataFrame:
        idle = pl.when(date=days[day], code="S0000").then(0.0).otherwise("volume")
        return frame.with_columns(idle.alias("volume"))

    assert last(without_trades(-1), *names) == [None] * len(names)
    assert None not in last(without_trades(-2), *names)
    others = [name for name in ALPHA158_FEATURES if name not in names]
    assert last(without_trades(-1), *others) == last(frame, *others)


def test_a_day_without_a_price_has_no_feature_of_one() -> None:
    frame = whole_panel()
    day = frame["date"].unique().sort()[-1]
    unknown = pl.when(date=day, code="S0000").then(None)
    unpriced = frame.with_columns(unknown.otherwise(name).alias(name) for name in ("close", "adj_close"))
    made = dict(zip(ALPHA158_FEATURES, last(unpriced, *ALPHA158_FEATURES), strict=True))
    known = {name.rstrip("0123456789") for name, value in made.items() if value is not None}
    assert known == {"VMA", "VSTD", "VSUMP", "VSUMN", "VSUMD"}


def test_a_split_of_the_stock_moves_nothing() -> None:
    frame = whole_panel()
    halved = pl.when(pl.col("date") > frame["date"].unique().sort()[80]).then(0.5).otherwise(1.0)
    split = frame.with_columns(pl.col("open", "high", "low", "close", "vwap") * halved)  # adj_close stays continuous
    np.testing.assert_allclose(last(split, *ALPHA158_FEATURES), last(frame, *ALPHA158_FEATURES), rtol=1e-5, atol=1e-7)


def test_names_are_those_published() -> None:
    assert {*WITHOUT_WINDOW, *("OPEN0", "HIGH0", "LOW0", "VWAP0")} < set(ALPHA158_FEATURES)
    rolling = set(ALPHA158_FEATURES) - {*WITHOUT_WINDOW, "OPEN0", "HIGH0", "LOW0", "VWAP0"}
    assert rolling == {f"{prefix}{window}" for prefix in WITH_WINDOW for window in (5, 10, 20, 30, 60)}
    assert set(ALPHA158_FEATURES) & set(DERIVED_FEATURES) == {"KMID", "KLEN", "KUP", "KLOW", "KSFT"}
