import json

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from atft_gat_fan.data.normalization import Normalizer, fit_normalizer, materialise, nbytes_needed
from atft_gat_fan.data.running_moments import RunningMoments
from atft_gat_fan.errors import DataError

TRAIN = np.arange(18)


def same(left: Normalizer, right: Normalizer) -> bool:
    return json.dumps(left.to_json()) == json.dumps(right.to_json())


@pytest.mark.parametrize(("shift", "scale"), [(0.0, 1.0), (1e3, 1.0), (-5.0, 1e-3)])
def test_statistics_are_those_of_the_known_training_values(make_frame, make_store, shift, scale):
    frame = make_frame(30, 40).with_columns(pl.col("^f\\d$") * scale + shift)
    store = make_store(frame)
    normalizer = fit_normalizer(store, TRAIN, strict=True)
    training = frame.filter(pl.col("date") <= frame["date"].unique().sort()[int(TRAIN[-1])])
    for column, name in enumerate(normalizer.feature_names):
        values = training[name].drop_nulls().to_numpy().astype(np.float64)
        assert normalizer.counts[column] == len(values)
        assert_allclose(normalizer.mean[column], values.mean(), rtol=1e-12, atol=1e-12 * values.std())
        assert_allclose(normalizer.std[column], values.std(), rtol=1e-12)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    sizes=st.lists(st.integers(0, 12), min_size=1, max_size=8),
    shift=st.sampled_from([0.0, 1.0, 1e4]),
)
def test_parts_merge_to_the_moments_of_the_whole(seed, sizes, shift):
    rng = np.random.default_rng(seed)
    whole = (rng.standard_t(3, (sum(sizes), 3)) + shift).astype(np.float32)
    whole[rng.random(whole.shape) < 0.2] = np.nan
    parts = [RunningMoments.of(part) for part in np.split(whole, np.cumsum(sizes)[:-1])]
    left = parts[0]
    for part in parts[1:]:
        left = left.merge(part)
    right = parts[-1]
    for part in parts[-2::-1]:
        right = part.merge(right)
    for merged in (left, right):
        for column in range(3):
            values = whole[:, column][~np.isnan(whole[:, column])].astype(np.float64)
            assert merged.count[column] == len(values)
            if len(values):
                assert_allclose(merged.mean[column], values.mean(), rtol=1e-12, atol=1e-12)
                # The deviation itself is known only to the rounding of the values.
                assert_allclose(merged.std[column], values.std(), rtol=1e-12, atol=1e-15 * abs(shift))
                assert merged.constant[column] == (len(set(values)) == 1)


def test_statistics_do_not_depend_on_the_shards(make_frame, make_store):
    frame = make_frame()
    whole, cut = make_store(frame, name="a"), make_store(frame, name="b", shard_days=4, max_window=3)
    assert same(fit_normalizer(whole, TRAIN, strict=True), fit_normalizer(cut, TRAIN, strict=True))


def test_statistics_never_see_other_days(make_frame, make_store):
    frame = make_frame()
    last = frame["date"].unique().sort()[int(TRAIN[-1])]
    later = pl.col("date") > last
    changed = pl.concat(
        [
            frame.filter(~later),
            frame.filter(later & (pl.col("code") != "C03")).with_columns(pl.col("^f\\d$") * 100 + 7),
            frame.filter(later)[-1:].with_columns(code=pl.lit("C05X")),
        ]
    )
    before = fit_normalizer(make_store(frame, name="a"), TRAIN, strict=True)
    assert same(before, fit_normalizer(make_store(changed, name="b"), TRAIN, strict=True))
    assert not same(before, fit_normalizer(make_store(changed, name="b"), np.arange(19), strict=True))


def test_columns_that_say_nothing_on_the_training_days_are_dropped_by_name(make_frame, make_store):
    frame = make_frame().with_columns(
        f1=pl.lit(0.1).cast(pl.Float32),  # whose variance is not exactly zero in floating point
        f3=pl.when(pl.col("date") > pl.date(2020, 2, 1)).then("f0"),  # known only after the training days
        f4="f2",
    )
    store = make_store(frame)
    normalizer = fit_normalizer(store, TRAIN, strict=False)
    assert normalizer.dropped == {"f1": "constant", "f3": "empty"}
    assert set(normalizer.feature_names) == {"f0", "f2", "f4"}
    assert materialise(store, normalizer).feature_names == normalizer.feature_names
    with pytest.raises(DataError) as error:
        fit_normalizer(store, TRAIN, strict=True)
    assert {"f1", "f3"} <= set(str(error.value).replace(":", " ").split())
    assert error.value.exit_code == 65


def test_a_panel_with_nothing_to_learn_from_is_refused(make_frame, make_store):
    store = make_store(make_frame().with_columns(pl.col("^f\\d$") * 0))
    with pytest.raises(DataError, match="3 problems"):
        fit_normalizer(store, TRAIN, strict=False)


def test_normalised_training_values_have_mean_0_and_deviation_1_and_missing_ones_are_0(make_frame, make_store):
    store = make_store(make_frame(30, 40))
    normalizer = fit_normalizer(store, TRAIN, strict=True)
    known = ~np.isnan(store.column("features"))
    normalised = materialise(store, normalizer).column("features")
    assert normalised.dtype == np.float32
    assert (normalised[~known] == 0).all()
    for feature in range(3):
        values = normalised[: len(TRAIN), :, feature][known[: len(TRAIN), :, feature]].astype(np.float64)
        assert abs(values.mean()) < 1e-6
        assert abs(values.std() - 1) < 1e-6


def test_the_normalised_copy_has_the_size_promised_and_gives_contiguous_views(make_frame, make_store):
    store = make_store(make_frame(), shard_days=7)
    normalizer = fit_normalizer(store, TRAIN, strict=True)
    data = materialise(store, normalizer)
    names = ("features", "labels", "returns", "dollar_volume", "present")
    assert sum(data.column(name).nbytes for name in names) == nbytes_needed(store, normalizer)
    for first, count, window in ((4, 3, 5), (10, 20, 11)):
        block, raw = (
            data.block(first, count, window),
            store.column("features", slice(first - window + 1, first + count)),
        )
        for name in names:
            assert np.shares_memory(getattr(block, name), data.column(name))
            assert getattr(block, name).flags.c_contiguous
        assert_array_equal(block.features, normalizer.apply(raw))
        assert_array_equal(block.labels, store.column("labels", slice(first - window + 1, first + count)))
    with pytest.raises(DataError):
        data.block(3, 1, 5)


def test_a_normaliser_survives_json_to_the_bit(make_frame, make_store):
    store = make_store(make_frame().with_columns(f1=pl.lit(1.0)))
    normalizer = fit_normalizer(store, TRAIN, strict=False)
    read = Normalizer.from_json(json.loads(json.dumps(normalizer.to_json())))
    assert same(read, normalizer)
    assert_array_equal(materialise(store, read).panel.features, materialise(store, normalizer).panel.features)


def test_another_panel_is_normalised_by_name(make_frame, make_store):
    frame = make_frame()
    normalizer = fit_normalizer(make_store(frame, name="a"), TRAIN, strict=True)
    expected = materialise(make_store(frame, name="a"), normalizer)
    moved = frame.select("date", "code", "f2", "f0", pl.lit(3.0).alias("f9"), pl.exclude("date", "code", "f2", "f0"))
    found = materialise(make_store(moved, name="b"), normalizer)
    assert found.feature_names == ("f0", "f1", "f2")
    assert_array_equal(found.panel.features, expected.panel.features)
    with pytest.raises(DataError, match="f1"):
        materialise(make_store(frame.drop("f1"), name="c"), normalizer)
