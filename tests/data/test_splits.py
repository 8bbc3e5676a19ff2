"""No label of one part reaches into the next."""

from datetime import date, timedelta

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy import ndarray

from atft_gat_fan.config.schema import DataConfig, SplitConfig
from atft_gat_fan.data.splits import Split, split_days, usable_days
from atft_gat_fan.errors import DataError


def panel_days(count: int, seed: int = 0) -> ndarray:
    """Weekdays with random holidays."""
    weekdays = np.busday_offset("2015-01-01", np.arange(2 * count), roll="forward")
    return np.sort(np.random.default_rng(seed).choice(weekdays, count, replace=False))


def assert_apart(split: Split, horizons: tuple[int, ...]) -> None:
    """Labels of day t are made of days t+1 .. t+h; no day of a part is also in a label of the part before."""
    for earlier, later in ((split.train, split.valid), (split.valid, split.test), (split.train, split.test)):
        in_labels = earlier.max() + np.arange(1, max(horizons) + 1)
        assert in_labels.max() < later.min()
        assert later.min() - earlier.max() - 1 >= max(horizons) + 1 + split.embargo


@settings(max_examples=200, deadline=None)
@given(
    count=st.integers(60, 400),
    seed=st.integers(0, 50),
    horizons=st.lists(st.integers(1, 20), min_size=1, max_size=5, unique=True),
    embargo=st.integers(0, 15),
    ends=st.one_of(st.none(), st.tuples(st.integers(1, 398), st.integers(1, 398))),
    given_end=st.sampled_from(["both", "train", "valid"]),
    start=st.integers(0, 40),
)
def test_no_label_overlaps_another_part(
    count: int,
    seed: int,
    horizons: list[int],
    embargo: int,
    ends: tuple[int, int] | None,
    given_end: str,
    start: int,
) -> None:
    days = panel_days(count, seed)
    config = SplitConfig(embargo=embargo)
    if ends is not None:
        first, second = sorted(ends)
        assume(first < second < count - 1)
        keep = {"both": ("train_end", "valid_end"), "train": ("train_end",), "valid": ("valid_end",)}[given_end]
        dates = {"train_end": days[first].item(), "valid_end": days[second].item()}
        config = SplitConfig(embargo=embargo, **{key: dates[key] for key in keep})
    try:
        split = split_days(days, config, sorted(horizons), range(start, count))
    except DataError:
        assume(False)
    assert_apart(split, tuple(horizons))
    assert split.train.min() == start
    assert split.test.max() == count - 1
    if config.train_end is not None:
        assert days[split.train.max()] <= np.datetime64(config.train_end) < days[split.valid.min()]
    if config.valid_end is not None:
        assert days[split.valid.max()] <= np.datetime64(config.valid_end) < days[split.test.min()]


def test_by_default_the_usable_days_are_split_70_15_15() -> None:
    split = split_days(panel_days(240), SplitConfig(), [1, 5], range(40, 240))
    assert (split.train.min(), split.valid.min(), split.test.min()) == (40, 180, 210)
    assert (len(split.train), len(split.valid), len(split.test)) == (134, 24, 30)
    assert (split.purge, split.embargo) == (6, 0)


def test_a_longer_purge_than_the_least_is_kept() -> None:
    assert split_days(panel_days(300), SplitConfig(purge=25), [1], range(300)).purge == 25


@pytest.mark.parametrize(
    ("config", "part"),
    [
        (SplitConfig(train_end=date(2010, 1, 1)), "training"),
        (SplitConfig(train_end=date(2040, 1, 1)), "validation"),
        (SplitConfig(valid_end=date(2040, 1, 1)), "test"),
        (SplitConfig(embargo=40), "validation"),
    ],
)
def test_an_empty_part_is_refused_with_the_dates_and_the_mend(config: SplitConfig, part: str) -> None:
    days = panel_days(240)
    with pytest.raises(DataError, match=f"expected {part} days") as caught:
        split_days(days, config, [1, 5])
    assert str(days[0]) in str(caught.value)
    assert "split.train_end" in str(caught.value)


def test_every_empty_part_is_named_at_once() -> None:
    with pytest.raises(DataError) as caught:
        split_days(panel_days(12), SplitConfig(), [10])
    assert len(caught.value.problems) == 2


def test_usable_days_are_within_start_and_end_and_have_a_window() -> None:
    days = np.arange("2020-01-01", "2020-04-01", dtype="datetime64[D]")
    assert usable_days(days, DataConfig(window=20)) == range(19, 91)
    config = DataConfig(window=20, start=date(2020, 2, 1), end=date(2020, 3, 1))
    usable = usable_days(days, config)
    assert (days[usable[0]], days[usable[-1]]) == (np.datetime64("2020-02-01"), np.datetime64("2020-03-01"))


def test_days_before_train_start_and_after_test_end_are_in_no_part() -> None:
    days = panel_days(300)
    config = SplitConfig(train_start=days[60].item(), test_end=days[259].item())
    split = split_days(days, config, [1, 5], range(40, 300))
    assert (split.train.min(), split.test.max()) == (60, 259)
    assert split.valid.min() == 60 + 140
    with pytest.raises(DataError, match="expected training days, found none"):
        split_days(days, SplitConfig(train_start=days[-1].item() + timedelta(days=30)), [1])
    with pytest.raises(ValueError, match="expected train_start before test_end"):
        SplitConfig(train_start=days[5].item(), test_end=days[5].item())
