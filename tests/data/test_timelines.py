"""Rows laid out on consecutive panel days, listings apart."""

from datetime import date

import numpy as np
import polars as pl
import pytest

from atft_gat_fan.data.timelines import Timelines, lag, last_known

DAYS = [date(2020, 1, day) for day in range(1, 13)]


def frame(rows: dict[str, list[int]], seed: int = 0) -> pl.DataFrame:
    """One row for each stock and day position, shuffled; `value` tells them apart."""
    keys = [(DAYS[day], code, float(100 * i + day)) for i, (code, days) in enumerate(rows.items()) for day in days]
    table = pl.DataFrame(keys, schema=["date", "code", "value"], orient="row")
    return table.sample(fraction=1.0, shuffle=True, seed=seed)


ALL = list(range(12))


@pytest.mark.parametrize("seed", range(3))
def test_spread_and_gather_are_inverse_in_any_row_order(seed: int) -> None:
    rows = frame({"B": ALL, "A": [0, 1, 5, 11]}, seed)
    timelines = Timelines.of(rows, blank=3)
    assert timelines.num_days == 12
    np.testing.assert_array_equal(timelines.gather(timelines.spread(rows["value"])), rows["value"].to_numpy())


def test_lag_counts_panel_days_not_the_stocks_own_rows() -> None:
    rows = frame({"B": ALL, "A": [0, 1, 3]})
    timelines = Timelines.of(rows, blank=3)
    before = rows.with_columns(before=timelines.gather(lag(timelines.spread(rows["value"]), 1))).sort("code", "date")
    after = rows.with_columns(after=timelines.gather(lag(timelines.spread(rows["value"]), -2))).sort("code", "date")
    np.testing.assert_array_equal(before["before"][:3], [np.nan, 100.0, np.nan])
    np.testing.assert_array_equal(after["after"][:3], [np.nan, 103.0, np.nan])


def test_shifts_up_to_the_blank_never_reach_another_listing() -> None:
    rows = frame({"B": ALL, "A": ALL, "C": [4]})
    timelines = Timelines.of(rows, blank=4)
    stock = timelines.spread(rows["value"] // 100)
    for days in range(-4, 5):
        other = timelines.gather(lag(stock, days))
        same = timelines.gather(stock)
        assert (np.isnan(other) | (other == same)).all()


@pytest.mark.parametrize(("away", "is_one_listing"), [(3, True), (4, False)])
def test_a_longer_absence_than_max_gap_starts_a_new_listing(away: int, is_one_listing: bool) -> None:
    rows = frame({"B": ALL, "A": [0, 1, 2 + away]})
    timelines = Timelines.of(rows, blank=5, max_gap=3)
    listings = rows.with_columns(listing=timelines.listing).filter(pl.col("code") == "A")["listing"].n_unique()
    assert (listings == 1) is is_one_listing


def test_last_known_looks_back_no_further_than_told() -> None:
    nan = np.nan
    np.testing.assert_array_equal(
        last_known(np.array([1.0, nan, nan, nan, 5.0, nan]), 2), [1.0, 1.0, 1.0, nan, 5.0, 5.0]
    )


def test_day_mean_is_over_the_known_values_of_the_day() -> None:
    rows = frame({"A": [0, 1], "B": [0, 1], "C": [1]})
    timelines = Timelines.of(rows, blank=1)
    values = rows.with_columns(value=pl.when(code="B", date=DAYS[1]).then(None).otherwise("value"))["value"]
    means = rows.with_columns(mean=timelines.gather(timelines.day_mean(timelines.spread(values)))).sort("date", "code")
    assert means["mean"].to_list() == [50.0, 50.0, 101.0, 101.0, 101.0]
