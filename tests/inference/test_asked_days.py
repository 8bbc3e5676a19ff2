"""The days that are predicted are those that were asked for; where there are none, the nearest are named."""

from datetime import date

import numpy as np
import pytest

from atft_gat_fan.errors import DataError
from atft_gat_fan.inference.asked_days import AskedDays

DAYS = np.array(
    ["2017-12-01", "2017-12-04", "2017-12-05", "2017-12-06", "2017-12-08", "2017-12-11"], dtype="datetime64[D]"
)
WINDOW = 3


def among(asked: AskedDays) -> list[int]:
    return asked.among(DAYS, WINDOW, "panel.parquet").tolist()


@pytest.mark.parametrize(
    ("asked", "positions"),
    [
        (AskedDays(), [2, 3, 4, 5]),
        (AskedDays(newest=True), [5]),
        (AskedDays(date(2017, 12, 6), date(2017, 12, 6)), [3]),
        (AskedDays(date(2017, 12, 6), date(2017, 12, 10)), [3, 4]),
        (AskedDays(first=date(2017, 12, 7)), [4, 5]),
        (AskedDays(last=date(2017, 12, 5)), [2]),
        (AskedDays(date(2000, 1, 1), date(2030, 1, 1)), [2, 3, 4, 5]),
    ],
    ids=str,
)
def test_days_that_were_asked_for_and_have_a_window(asked: AskedDays, positions: list[int]) -> None:
    assert among(asked) == positions


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        (AskedDays(date(2017, 12, 7), date(2017, 12, 7)), ["2017-12-07 (Thursday)", "2017-12-06 or 2017-12-08"]),
        (AskedDays(date(2017, 12, 9), date(2017, 12, 10)), ["2017-12-09 to 2017-12-10", "2017-12-08 or 2017-12-11"]),
        (AskedDays(first=date(2017, 12, 12)), ["from 2017-12-12", "ask for 2017-12-11,"]),
        (AskedDays(last=date(2017, 11, 30)), ["to 2017-11-30", "ask for 2017-12-01,"]),
        (AskedDays(date(2017, 12, 4), date(2017, 12, 4)), ["expected 2 days", "found 1", "2017-12-05 or later"]),
        (AskedDays(last=date(2017, 12, 4)), ["found 1", "2017-12-05 or later"]),
    ],
    ids=str,
)
def test_where_there_are_none_the_nearest_are_named(asked: AskedDays, says: list[str]) -> None:
    with pytest.raises(DataError, match=r"panel\.parquet") as refused:
        among(asked)
    for words in says:
        assert words in str(refused.value)


def test_a_panel_shorter_than_the_window_has_none() -> None:
    with pytest.raises(DataError, match=r"expected 2 days .* before the newest day, found 1 .*begins earlier"):
        AskedDays(newest=True).among(DAYS[:2], WINDOW, "panel")
    with pytest.raises(DataError, match="found none"):
        AskedDays().among(DAYS[:0], WINDOW, "panel")


def test_everything_is_what_nobody_narrowed() -> None:
    assert AskedDays().everything
    assert not any(asked.everything for asked in (AskedDays(newest=True), AskedDays(first=date(2000, 1, 1))))
