"""Folds walk over the days: every test day once, no label of one part in the next, and a run's keys say the same."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy import ndarray

from atft_gat_fan.config.load import from_mapping, overridden
from atft_gat_fan.config.schema import SplitConfig
from atft_gat_fan.data.folds import Fold, length_in_days, walk_forward
from atft_gat_fan.data.splits import Split, least_purge, split_days
from atft_gat_fan.errors import DataError


def panel_days(count: int, seed: int = 0) -> ndarray:
    """Weekdays with random holidays."""
    weekdays = np.busday_offset("2015-01-01", np.arange(2 * count), roll="forward")
    return np.sort(np.random.default_rng(seed).choice(weekdays, count, replace=False))


def label_days(part: ndarray, horizons: list[int]) -> set[int]:
    """Days whose prices the labels of a part are made of."""
    return {int(day) + ahead for day in part for ahead in range(1, max(horizons) + 1)}


WALKS = {
    "count": st.integers(150, 500),
    "train": st.integers(40, 150),
    "valid": st.integers(35, 60),
    "test": st.integers(5, 60),
    "embargo": st.integers(0, 10),
    "expanding": st.booleans(),
    "start": st.integers(0, 30),
    "horizons": st.lists(st.integers(1, 20), min_size=1, max_size=4, unique=True).map(sorted),
}


def walked(count, train, valid, test, embargo, expanding, start, horizons) -> tuple[ndarray, list[Split]]:
    assume(count - start >= train + valid + test)
    assume(min(train, valid) > least_purge(horizons) + embargo)
    days = panel_days(count)
    sizes = {"first_train_days": train, "valid_days": valid, "test_days": test}
    cuts = {"purge": least_purge(horizons), "embargo": embargo, "expanding": expanding}
    return days, walk_forward(days, **sizes, **cuts, usable=range(start, count))


@settings(max_examples=100, deadline=None)
@given(**WALKS)
def test_no_label_of_a_part_uses_a_day_of_the_next(**walk) -> None:
    _, folds = walked(**walk)
    for fold in folds:
        for earlier, later in ((fold.train, fold.valid), (fold.train, fold.test), (fold.valid, fold.test)):
            assert not label_days(earlier, walk["horizons"]) & set(later.tolist())
            assert later.min() - earlier.max() - 1 >= max(walk["horizons"]) + 1 + walk["embargo"]


@settings(max_examples=100, deadline=None)
@given(**WALKS)
def test_every_day_after_the_first_validation_is_tested_once(**walk) -> None:
    _, folds = walked(**walk)
    train, valid, test, start = (walk[name] for name in ("train", "valid", "test", "start"))
    tested = np.concatenate([fold.test for fold in folds])
    np.testing.assert_array_equal(tested, np.arange(start + train + valid, walk["count"]))
    assert all(len(fold.test) == test for fold in folds[:-1])
    assert test / 2 <= len(folds[-1].test) < 1.5 * test
    for fold in folds:
        assert fold.train.min() == (start if walk["expanding"] else fold.test.min() - train - valid)
        assert fold.valid.min() == fold.test.min() - valid


@settings(max_examples=50, deadline=None)
@given(**WALKS)
def test_a_run_of_a_folds_keys_has_the_folds_days(**walk) -> None:
    days, folds = walked(**walk)
    for split in folds:
        fold = Fold.of(days, split)
        config = overridden(from_mapping({"split": {"embargo": walk["embargo"]}}), fold.overrides)
        again = split_days(days, config.split, walk["horizons"], range(walk["start"], len(days)))
        for part in ("train", "valid", "test"):
            np.testing.assert_array_equal(getattr(again, part), getattr(split, part))
        assert (fold.test_start, fold.test_end) == (str(days[split.test[0]]), str(days[split.test[-1]]))


def test_a_walk_that_does_not_fit_is_refused() -> None:
    sizes = {"valid_days": 30, "test_days": 20, "purge": 11, "embargo": 0, "expanding": True}
    with pytest.raises(DataError, match=r"expected 150 days .*found 120.*walkforward.first_train_days"):
        walk_forward(panel_days(120), first_train_days=100, **sizes)
    with pytest.raises(DataError, match=r"longer than purge \+ embargo = 11"):
        walk_forward(panel_days(120), first_train_days=11, **sizes)
    with pytest.raises(DataError, match="no days"):
        walk_forward(panel_days(120), first_train_days=12, usable=range(0), **sizes)


def test_a_span_is_days_a_share_or_months_at_the_panels_own_density() -> None:
    days = np.arange("2010-01-01", "2014-01-01", dtype="datetime64[D]")
    weekdays = days[np.is_busday(days)]
    assert length_in_days(63, weekdays) == 63
    assert length_in_days(0.25, weekdays) == len(weekdays) // 4
    assert length_in_days("1y", weekdays) == 261
    assert length_in_days("6m", weekdays) == 130
    assert length_in_days("12m", days) == length_in_days("1y", days) == 365
    assert length_in_days("2y", days[:1]) == 0


def test_default_spans_make_four_folds_of_any_panel() -> None:
    default = from_mapping({}).walkforward
    for count in (300, 757, 3775):
        days = panel_days(count)
        spans = {
            name: length_in_days(getattr(default, name), days)
            for name in ("first_train_days", "valid_days", "test_days")
        }
        assert len(walk_forward(days, **spans, purge=11, embargo=0, expanding=True)) == 4


def test_a_span_is_checked() -> None:
    for wrong in (0, -5, 1.5, "2w", "0y", "year"):
        with pytest.raises(Exception, match=r"walkforward\.test_days"):
            from_mapping({"walkforward": {"test_days": wrong}})
    with pytest.raises(Exception, match="distinct seeds"):
        from_mapping({"walkforward": {"seeds": [1, 1]}})
    assert SplitConfig().train_start is None
