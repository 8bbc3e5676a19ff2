"""The daily series beside the features: trailing returns and liquidity."""

from datetime import date, timedelta

import numpy as np
import polars as pl

from atft_gat_fan.data.bars import MAX_GAP, Bars, median_dollar_volume, trailing_returns

DAYS = [date(2020, 1, 1) + timedelta(days=day) for day in range(40)]


def panel(away: range = range(0)) -> pl.DataFrame:
    """Stock B is away on some days; A is always there."""
    rng = np.random.default_rng(0)
    keys = [(DAYS[day], code) for day in range(40) for code in "AB" if code == "A" or day not in away]
    frame = pl.DataFrame(keys, schema=["date", "code"], orient="row")
    price = pl.Series("close", rng.uniform(10, 20, frame.height))
    return frame.with_columns(price, price.alias("adj_close"), volume=pl.Series(rng.uniform(1, 100, frame.height)))


def test_a_trailing_return_is_since_the_last_price() -> None:
    frame = panel(range(10, 10 + MAX_GAP))
    returns = frame.with_columns(trailing_returns(Bars(frame))).filter(code="B")
    price = returns["close"].to_numpy()
    np.testing.assert_allclose(returns["returns_1d"][1:], price[1:] / price[:-1] - 1, rtol=1e-5)
    assert returns["returns_1d"][0] is None


def test_a_return_after_a_long_absence_is_unknown() -> None:
    frame = panel(range(10, 11 + MAX_GAP))
    returns = frame.with_columns(trailing_returns(Bars(frame))).filter(code="B")["returns_1d"]
    assert np.flatnonzero(returns.is_null()).tolist() == [0, 10]


def test_dollar_volume_is_the_trailing_median_of_a_month() -> None:
    frame = panel()
    liquidity = frame.with_columns(median_dollar_volume(Bars(frame))).filter(code="B")
    traded = (liquidity["close"] * liquidity["volume"]).to_numpy()
    np.testing.assert_allclose(liquidity["dollar_volume"][25], np.median(traded[6:26]), rtol=1e-6)
    np.testing.assert_allclose(liquidity["dollar_volume"][12], np.median(traded[:13]), rtol=1e-6)
    assert liquidity["dollar_volume"].is_null().sum() == 9


def test_days_without_trades_count_as_illiquid() -> None:
    frame = panel().with_columns(pl.when(pl.col("date") > DAYS[25]).then(0.0).otherwise("volume").alias("volume"))
    assert frame.with_columns(median_dollar_volume(Bars(frame)))["dollar_volume"][-1] == 0.0


def test_the_future_does_not_reach_returns_or_liquidity() -> None:
    frame, cut = panel(), panel().filter(pl.col("date") <= DAYS[30])
    assert trailing_returns(Bars(frame))[: cut.height].equals(trailing_returns(Bars(cut)))
    assert median_dollar_volume(Bars(frame))[: cut.height].equals(median_dollar_volume(Bars(cut)))
