import numpy as np
import polars as pl
import pytest
from numpy.testing import assert_array_equal

from atft_gat_fan.data.materialised import materialise, nbytes_needed
from atft_gat_fan.data.normalizer_fit import fit_normalizer
from atft_gat_fan.data.store import Store
from atft_gat_fan.errors import DataError

TRAIN = np.arange(18)
OTHERS = ("stocks", "labels", "returns", "dollar_volume", "present")


@pytest.fixture
def store(make_frame, make_store) -> Store:
    """Several files; two stocks are listed late and two leave early."""
    frame = make_frame(40, 9)
    days = frame["date"].unique().sort()
    late, early = pl.col("code").is_in(["C03", "C05"]), pl.col("code").is_in(["C02", "C07"])
    listed = (~late | (pl.col("date") > days[22])) & (~early | (pl.col("date") < days[9]))
    store = make_store(frame.filter(listed), shard_days=8, max_window=11)
    assert {len(store.block(span.first, 1, 1).stocks) for span in store.spans} == {7, 9}
    return store


@pytest.mark.parametrize("span", [1, 7, 11])
def test_blocks_are_those_of_the_store_with_normalised_features(store, span):
    normalizer = fit_normalizer(store, TRAIN, strict=True)
    panel = materialise(store, normalizer, span)
    for window in range(1, span + 1):
        for first in range(window - 1, 40):
            block, raw = panel.block(first, 1, window), store.block(first, 1, window)
            assert_array_equal(block.features, normalizer.apply(raw.features))
            for name in OTHERS:
                assert_array_equal(getattr(block, name), getattr(raw, name))


def test_blocks_run_over_the_ends_of_files_where_the_store_lets_them(store):
    normalizer = fit_normalizer(store, TRAIN, strict=True)
    panel = materialise(store, normalizer, 10)
    assert store.breaks(6, 5) == ()
    for first in range(4, 35):
        assert_array_equal(panel.block(first, 6, 5).features, normalizer.apply(store.block(first, 6, 5).features))
    with pytest.raises(DataError):
        panel.block(3, 1, 5)
    with pytest.raises(AssertionError, match="at most 10 days"):
        panel.block(16, 1, 11)


def test_the_size_is_known_beforehand_and_features_are_contiguous_views(store):
    normalizer = fit_normalizer(store, TRAIN, strict=True)
    for span in (1, 6, 11):
        panel = materialise(store, normalizer, span)
        assert sum(array.nbytes for array in panel.features) == nbytes_needed(store, normalizer, span)
        features = panel.block(20, 1, min(span, 5)).features
        assert features.flags.c_contiguous
        assert any(np.shares_memory(features, array) for array in panel.features)
    assert nbytes_needed(store, normalizer, 1) < nbytes_needed(store, normalizer, 11)


def test_dropped_columns_are_not_there(make_frame, make_store):
    store = make_store(make_frame().with_columns(f1=pl.lit(1.0)))
    normalizer = fit_normalizer(store, TRAIN, strict=False)
    assert materialise(store, normalizer, 1).block(3, 1, 1).features.shape[-1] == 2


def test_a_store_without_a_feature_is_refused(make_frame, make_store):
    normalizer = fit_normalizer(make_store(make_frame(), name="a"), TRAIN, strict=True)
    with pytest.raises(DataError, match="f1"):
        materialise(make_store(make_frame().drop("f1"), name="b"), normalizer, 1)


def test_progress_is_the_share_of_the_days(store):
    shares: list[float] = []
    materialise(store, fit_normalizer(store, TRAIN, strict=True), 3, shares.append)
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
