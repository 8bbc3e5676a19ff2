"""Forward returns on panel days, and what they may know."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atft_gat_fan.data.labels import derive_labels

NUM_DAYS = 20
DAYS = np.busday_offset("2020-01-01", np.arange(NUM_DAYS), roll="forward")


def panel(seed: int = 0, present: dict[str, list[int]] | None = None) -> pl.DataFrame:
    """Four stocks with random prices; `present` limits a stock's days."""
    rng = np.random.default_rng(seed)
    rows = []
    for code in "ABCD":
        prices = 10 * np.exp(rng.normal(0, 0.1, NUM_DAYS).cumsum())
        rows += [(DAYS[day].item(), code, prices[day]) for day in (present or {}).get(code, range(NUM_DAYS))]
    return pl.DataFrame(rows, schema=["date", "code", "adj_close"], orient="row").sort("date", "code")


def labels(frame: pl.DataFrame, code: str, horizon: int, delisting_return: float | None = None) -> list[float | None]:
    labelled = derive_labels(frame, [horizon], delisting_return).filter(code=code).sort("date")
    return labelled[f"target_{horizon}d"].to_list()


@pytest.mark.parametrize("horizon", [1, 3, 10])
def test_a_label_is_the_return_to_the_h_th_next_panel_day(horizon: int) -> None:
    frame = panel()
    price = frame.filter(code="B")["adj_close"].to_numpy()
    expected = (price[horizon:] / price[:-horizon] - 1).astype(np.float32)
    found = labels(frame, "B", horizon)
    np.testing.assert_array_equal(np.array(found[:-horizon], dtype=np.float32), expected)
    assert found[-horizon:] == [None] * horizon


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 100), day=st.integers(0, NUM_DAYS - 1), horizon=st.integers(1, 6), factor=st.floats(0.5, 2.0)
)
def test_a_label_of_day_t_depends_on_the_prices_of_t_and_t_plus_h_alone(
    seed: int, day: int, horizon: int, factor: float
) -> None:
    frame = panel(seed)
    date = pl.col("date")
    used = (date == DAYS[day]) | (date == DAYS[min(day + horizon, NUM_DAYS - 1)])
    other = frame.with_columns(pl.when(used).then("adj_close").otherwise(pl.col("adj_close") * factor))
    of_day = [derive_labels(f, [horizon], None).filter(date=DAYS[day].item()) for f in (frame, other)]
    assert of_day[0][f"target_{horizon}d"].equals(of_day[1][f"target_{horizon}d"])


def test_a_missing_price_at_t_plus_h_is_no_label_though_the_stock_comes_back() -> None:
    frame = panel(present={"B": [0, 1, 2, 5, *range(6, NUM_DAYS)]})
    found = dict(zip([0, 1, 2, 5], labels(frame, "B", 2)[:4], strict=True))
    assert found[0] is not None
    assert found[1] is None  # day 3 is missing, and day 5 is not its stand-in
    assert found[2] is None
    assert found[5] is not None


def test_a_null_price_is_a_missing_one() -> None:
    unknown = pl.when(date=DAYS[4].item(), code="B").then(None).otherwise("adj_close")
    frame = panel().with_columns(unknown.alias("adj_close"))
    found = labels(frame, "B", 1)
    assert [found[3], found[4]] == [None, None]
    assert found[5] is not None


def test_any_row_order_gives_the_same_labels() -> None:
    frame = panel(present={"C": list(range(3, 9))})
    shuffled = frame.sample(fraction=1.0, shuffle=True, seed=1)
    key = ["date", "code"]
    assert derive_labels(frame, [1, 5], None).sort(key).equals(derive_labels(shuffled, [1, 5], None).sort(key))


def test_a_delisted_stock_pays_its_last_price_and_the_delisting_return() -> None:
    frame = panel(present={"B": list(range(8))})
    price = frame.filter(code="B")["adj_close"].to_numpy()
    assert labels(frame, "B", 3)[5:] == [None, None, None]
    paid = labels(frame, "B", 3, delisting_return=-0.3)
    np.testing.assert_allclose(paid[5:], price[7] * 0.7 / price[5:] - 1, rtol=1e-6)
    assert paid[:5] == labels(frame, "B", 3)[:5]


def test_a_suspended_stock_is_not_delisted() -> None:
    frame = panel(present={"B": [*range(5), *range(12, NUM_DAYS)]})
    assert labels(frame, "B", 3, delisting_return=-1.0) == labels(frame, "B", 3)


def test_absence_on_the_last_days_is_not_yet_a_delisting() -> None:
    frame = panel(present={"B": list(range(NUM_DAYS - 1)), "C": list(range(NUM_DAYS - 5))})
    for code in "BC":
        assert labels(frame, code, 1, delisting_return=-1.0) == labels(frame, code, 1)


def test_a_delisting_that_has_not_happened_by_the_last_day_is_unknown() -> None:
    frame = panel(present={"B": list(range(NUM_DAYS - 7))})
    paid = labels(frame, "B", 10, delisting_return=-1.0)
    last_known = NUM_DAYS - 1 - 10
    assert all(label == -1.0 for label in paid[4 : last_known + 1])
    assert paid[last_known + 1 :] == [None] * (NUM_DAYS - 7 - last_known - 1)
