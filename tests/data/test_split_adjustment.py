"""Adjusting forward: returns without splits, levels without the future, bits that do not depend on the pieces."""

from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atft_gat_fan.data.split_adjustment import adjust_forward, running_factors
from atft_gat_fan.errors import DataError

NUM_DAYS = 12
Factors = st.lists(st.sampled_from([1.0, 1.0, 1.0, 0.5, 1 / 3, 0.1, 10.0, 1.1]), min_size=NUM_DAYS, max_size=NUM_DAYS)


def quotes(factors: dict[str, list[float]]) -> tuple[pl.DataFrame, dict[str, np.ndarray]]:
    """Quotes of stocks whose value per share, were there no splits, is `values`."""
    frames, values = [], {}
    for code, of_stock in factors.items():
        value = 100 * np.exp(0.01 * np.cumsum(np.random.default_rng(len(code)).standard_normal(NUM_DAYS)))
        running = np.cumprod(of_stock)
        close = value * running
        values[code] = value
        frames.append(
            pl.DataFrame(
                {
                    "Date": [date(2024, 1, 1) + timedelta(days=i) for i in range(NUM_DAYS)],
                    "Code": [code] * NUM_DAYS,
                    "Open": close,
                    "High": close * 1.01,
                    "Low": close * 0.99,
                    "Close": close,
                    "Volume": 1000 / running,
                    "AdjustmentFactor": of_stock,
                }
            )
        )
    return pl.concat(frames).sample(fraction=1.0, shuffle=True, seed=0), values


@settings(max_examples=40, deadline=None)
@given(Factors, Factors, st.integers(1, NUM_DAYS - 1))
def test_splits_leave_no_trace_and_pieces_no_difference(a: list[float], b: list[float], cut: int) -> None:
    frame, values = quotes({"a": a, "bb": b})
    whole = adjust_forward(frame, {})
    for code, value in values.items():
        rows = whole.filter(Code=code)
        np.testing.assert_allclose(rows["Close"], value, rtol=1e-12)
        np.testing.assert_allclose(rows["Volume"], 1000, rtol=1e-12)
    assert whole["AdjustmentClose"].equals(whole["Close"].alias("AdjustmentClose"))
    until = pl.col("Date") < date(2024, 1, 1) + timedelta(days=cut)
    early = adjust_forward(frame.filter(until), {})
    assert early.equals(whole.filter(until))  # what comes later changes no bit
    late = adjust_forward(frame.filter(~until), running_factors(frame.filter(until)))
    assert late.equals(whole.filter(~until))


def test_missing_stays_missing_and_no_factor_is_one() -> None:
    frame, _ = quotes({"a": [1.0] * NUM_DAYS})
    gap = pl.col("Date") == date(2024, 1, 3)
    holed = frame.with_columns(pl.when(~gap).then(pl.col("Close", "Volume", "AdjustmentFactor")))
    adjusted = adjust_forward(holed, {"a": 0.5, "x": 3.0})
    assert adjusted.filter(gap)["Close"].item() is None
    assert adjusted.filter(gap)["Volume"].item() is None
    assert adjusted["AdjustmentFactor"].to_list() == [1.0] * NUM_DAYS
    assert adjusted.filter(~gap)["Close"].equals(frame.sort("Date").filter(~gap)["Close"] / 0.5)


@pytest.mark.parametrize("factor", [0.0, -0.5, float("inf"), float("nan")])
def test_a_factor_that_is_none_is_named(factor: float) -> None:
    frame, _ = quotes({"a": [*[1.0] * (NUM_DAYS - 1), factor]})
    with pytest.raises(DataError, match=r"positive split factors.*2024-01-12 a"):
        adjust_forward(frame, {})
