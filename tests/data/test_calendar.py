"""Calendar covariates are a function of the date and the published schedule."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy import ndarray

from atft_gat_fan.data.calendar import CALENDAR_COVARIATES, calendar_covariates, missing_sessions
from atft_gat_fan.errors import ConfigError


def dates(*days: str) -> ndarray:
    return np.array(days, dtype="datetime64[D]")


def covariate(name: str, day: str, exchange: str | None = "XNYS") -> float:
    return float(calendar_covariates(dates(day), exchange)[0, CALENDAR_COVARIATES.index(name)])


@pytest.mark.parametrize("exchange", ["XNYS", None])
@settings(max_examples=6, deadline=None)
@given(picked=st.lists(st.integers(0, 1500), min_size=1, max_size=20, unique=True))
def test_a_days_covariates_do_not_depend_on_which_days_are_asked_for(exchange: str | None, picked: list[int]) -> None:
    days = np.datetime64("2015-01-01") + np.arange(1501)
    everything = calendar_covariates(days, exchange)
    assert everything.dtype == np.float32
    assert everything.shape == (1501, len(CALENDAR_COVARIATES))
    np.testing.assert_array_equal(calendar_covariates(days[picked], exchange), everything[picked])


def test_days_around_closed_ones_are_told_apart() -> None:
    assert covariate("days_to_session", "2016-12-22") == 0.0  # a Thursday
    assert covariate("days_to_session", "2016-12-23") == 1.5  # Christmas was observed on Monday the 26th
    assert covariate("days_since_session", "2016-12-27") == 1.5
    assert covariate("days_to_session", "2016-12-23", None) == 1.0


def test_month_and_quarter_end_are_the_last_session_though_the_month_goes_on() -> None:
    assert covariate("month_end", "2016-12-30") == covariate("quarter_end", "2016-12-30") == 1.0
    assert covariate("month_end", "2017-04-28") == 1.0
    assert covariate("quarter_end", "2017-04-28") == 0.0
    assert covariate("month_end", "2016-12-29") == 0.0


@pytest.mark.parametrize("eve", ["2001-09-10", "2012-10-26"])
def test_a_closure_nobody_knew_of_is_not_in_the_days_to_the_next_session(eve: str) -> None:
    assert covariate("days_to_session", eve) == covariate("days_to_session", eve, None)


def test_a_closure_is_known_when_it_is_over() -> None:
    assert covariate("days_since_session", "2001-09-17") == 3.0  # the session before was on the 10th


@pytest.mark.parametrize("year", range(1990, 2024, 3))
def test_covariates_are_of_size_one_and_finite(year: int) -> None:
    days = np.datetime64(f"{year}-01-01") + np.arange(365)
    for exchange in ("XNYS", None):
        values = calendar_covariates(days, exchange)
        assert np.isfinite(values).all()
        assert np.abs(values).max() <= 5.0


def test_weekdays_and_seasons_lie_on_circles() -> None:
    values = calendar_covariates(np.datetime64("2019-12-30") + np.arange(1100), None)
    np.testing.assert_allclose(values[:, 0] ** 2 + values[:, 1] ** 2, 1, rtol=1e-6)
    np.testing.assert_allclose(values[:, 2] ** 2 + values[:, 3] ** 2, 1, rtol=1e-6)
    assert len(np.unique(values[:7, :2].round(4), axis=0)) == 7
    np.testing.assert_array_equal(values[:-7, :2], values[7:, :2])


def test_days_beyond_the_known_schedule_count_weekdays_as_sessions() -> None:
    before = dates("1985-01-02", "1985-01-04", "1985-01-07")  # the library knows Tokyo from 1997 on
    np.testing.assert_array_equal(calendar_covariates(before, "XTKS"), calendar_covariates(before, None))
    across = np.datetime64("1996-12-20") + np.arange(20)
    assert np.isfinite(calendar_covariates(across, "XTKS")).all()


def test_an_unknown_exchange_is_refused_with_near_names() -> None:
    with pytest.raises(ConfigError, match=r"XNYZ.*XNYS"):
        calendar_covariates(dates("2020-01-02"), "XNYZ")


def test_no_days_have_no_rows() -> None:
    assert calendar_covariates(dates(), "XNYS").shape == (0, len(CALENDAR_COVARIATES))


def test_sessions_that_a_panel_lacks_are_found_and_holidays_are_none() -> None:
    days = dates("2016-12-22", "2016-12-23", "2016-12-27", "2016-12-29", "2016-12-30")
    assert missing_sessions(days, "XNYS").tolist() == dates("2016-12-28").tolist()
    assert len(missing_sessions(days[:3], "XNYS")) == len(missing_sessions(days[:1], "XNYS")) == 0
    assert len(missing_sessions(days[:0], "XNYS")) == 0
