import json

import numpy as np
import polars as pl
import pytest
from numpy.testing import assert_array_equal

from atft_gat_fan.data.normalizer import Normalizer
from atft_gat_fan.data.normalizer_fit import fit_normalizer
from atft_gat_fan.errors import DataError

TRAIN = np.arange(18)


def test_normalised_training_values_have_mean_0_and_deviation_1_and_missing_ones_are_0(make_frame, make_store):
    store = make_store(make_frame(30, 40))
    raw = store.column("features")
    known = ~np.isnan(raw)
    normalised = fit_normalizer(store, TRAIN, strict=True).apply(raw)
    assert normalised.dtype == np.float32
    assert (normalised[~known] == 0).all()
    for feature in range(3):
        values = normalised[: len(TRAIN), :, feature][known[: len(TRAIN), :, feature]].astype(np.float64)
        assert abs(values.mean()) < 1e-6
        assert abs(values.std() - 1) < 1e-6


def test_a_value_does_not_depend_on_the_others(make_frame, make_store):
    store = make_store(make_frame(30, 40))
    normalizer, raw = fit_normalizer(store, TRAIN, strict=True), store.column("features")
    whole = normalizer.apply(raw)
    assert_array_equal(normalizer.apply(raw[7, 3:4]), whole[7, 3:4])
    assert_array_equal(normalizer.apply(raw[::3, 1::2]), whole[::3, 1::2])


def test_a_normaliser_survives_json_to_the_bit(make_frame, make_store):
    store = make_store(make_frame().with_columns(f1=pl.lit(1.0)))
    normalizer = fit_normalizer(store, TRAIN, strict=False)
    read = Normalizer.from_json(json.loads(json.dumps(normalizer.to_json())))
    assert read.to_json() == normalizer.to_json()
    raw = store.column("features")
    assert_array_equal(read.apply(raw), normalizer.apply(raw))


def test_another_panel_is_normalised_by_name(make_frame, make_store):
    frame = make_frame()
    store = make_store(frame, name="a")
    normalizer = fit_normalizer(store, TRAIN, strict=True)
    moved = make_store(
        frame.select("date", "code", "f2", "f0", pl.lit(3.0).alias("f9"), pl.exclude("date", "code", "f2", "f0")),
        name="b",
    )
    aligned = normalizer.aligned_to(moved.feature_names)
    assert aligned.feature_names == ("f0", "f1", "f2")
    assert_array_equal(aligned.apply(moved.column("features")), normalizer.apply(store.column("features")))
    with pytest.raises(DataError, match="f1"):
        normalizer.aligned_to(("f0", "f2"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mean": [0.0]}, "mean of shape"),
        ({"mean": [[0.0] * 3]}, "mean of shape"),
        ({"std": [1.0, 0.0, 1.0]}, "std"),
        ({"std": [1.0, float("nan"), 1.0]}, "std"),
        ({"mean": [1.0, float("inf"), 1.0]}, "mean"),
        ({"counts": [1, 0, 1]}, "counts"),
        ({"feature_names": ["f0", "f1", "elsewhere"]}, "not in input_names"),
        ({"input_names": ["f0", "f1", "f1"]}, "repeat"),
        ({"input_names": "f0"}, "list of names"),
    ],
)
def test_statistics_that_would_make_nan_or_other_columns_are_refused(make_frame, make_store, change, message):
    body = fit_normalizer(make_store(make_frame()), TRAIN, strict=True).to_json()
    with pytest.raises((ValueError, TypeError), match=message):
        Normalizer.from_json(body | change)
