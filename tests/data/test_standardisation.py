"""Values of a day compared over all its stocks, and over those of one category."""

from typing import Literal

import numpy as np
import polars as pl
import pytest
from scipy import stats

from atft_gat_fan.data.standardisation import standardise_within_category, standardise_within_day

Method = Literal["zscore", "rank"]


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


@pytest.mark.parametrize("unknown", [float("nan"), float("inf"), None])
def test_what_is_not_a_number_has_no_rank_and_moves_no_other(unknown: float | None) -> None:
    scores = standardise_within_day(day_of([3.0, 1.0, 2.0, unknown]), ["x"], "rank")["x"]
    assert scores[3] is None
    assert scores[:3].equals(standardise_within_day(day_of([3.0, 1.0, 2.0]), ["x"], "rank")["x"])


def test_zeros_of_either_sign_are_equal() -> None:
    scores = standardise_within_day(day_of([0.0, -0.0, 1.0, -1.0]), ["x"], "rank")["x"]
    assert scores[0] == scores[1] == 0.0


def test_ranks_are_those_of_scipy_on_every_day() -> None:
    rng = np.random.default_rng(0)
    values = [rng.integers(0, 9, 40).astype(float), rng.integers(0, 4, 15).astype(float)]
    frame = pl.concat([day_of(list(values[0])), day_of(list(values[1]), "2020-01-02")])
    scores = standardise_within_day(frame, ["x"], "rank")["x"].to_numpy()
    expected = [((stats.rankdata(v) - 0.5) / len(v) - 0.5) * np.sqrt(12) for v in values]
    np.testing.assert_allclose(scores, np.concatenate(expected), rtol=1e-6, atol=1e-7)


def many_days() -> tuple[pl.DataFrame, np.ndarray]:
    """Three days of 30 stocks, some unknown, in categories 0 to 3 or none."""
    rng = np.random.default_rng(1)
    days = [day_of(rng.normal(5, 2, 30).tolist(), f"2020-01-0{day}") for day in (1, 2, 3)]
    frame = pl.concat(days).with_columns(pl.when(pl.Series(rng.random(90) < 0.9)).then("x"))
    return frame, rng.integers(-1, 3, 90)


@pytest.mark.parametrize("method", ["zscore", "rank"])
def test_a_category_of_a_day_is_a_day_of_its_own(method: Method) -> None:
    frame, category = many_days()
    scores = standardise_within_category(frame, ["x"], method, category)["x"].to_numpy()
    for day in frame["date"].unique():
        for number in range(3):
            rows = np.flatnonzero((frame["date"] == day).to_numpy() & (category == number))
            alone = standardise_within_day(frame[rows], ["x"], method)["x"].to_numpy()
            enough = np.isfinite(alone).sum() >= 3
            np.testing.assert_array_equal(scores[rows], alone if enough else np.full(len(rows), np.nan))
    assert np.isnan(scores[category < 0]).all()
    assert np.isfinite(scores[category >= 0]).mean() > 0.8


@pytest.mark.parametrize("method", ["zscore", "rank"])
def test_two_known_values_are_no_category(method: Method) -> None:
    frame = day_of([1.0, 2.0, None, 3.0, 4.0, 9.0])
    scores = standardise_within_category(frame, ["x"], method, np.array([0, 0, 0, 1, 1, 1]))["x"].to_list()
    assert scores[:3] == [None] * 3
    assert None not in scores[3:]


@pytest.mark.parametrize("method", ["zscore", "rank"])
def test_no_rows_are_none(method: Method) -> None:
    empty = day_of([])
    assert standardise_within_category(empty, ["x"], method, np.empty(0, np.int64)).height == 0
    assert standardise_within_day(empty, ["x"], method).height == 0
