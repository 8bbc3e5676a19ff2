"""Nothing is materialised: blocks are views of the map, and one buffer holds what is normalised of them."""

import tracemalloc
from collections.abc import Callable

import numpy as np
import polars as pl
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from atft_gat_fan.data import online_normalization
from atft_gat_fan.data.batches import DayBatches
from atft_gat_fan.data.materialised import materialise
from atft_gat_fan.data.normalizer import Normalizer
from atft_gat_fan.data.normalizer_fit import fit_normalizer
from atft_gat_fan.data.store import Store
from atft_gat_fan.data.streamed import StreamedPanel
from atft_gat_fan.errors import DataError
from atft_gat_fan.types import DayBatch

WINDOW = 5
CPU = torch.device("cpu")


@pytest.fixture
def store(make_frame, make_store) -> Store:
    return make_store(make_frame(60, 200, num_features=12))


@pytest.fixture
def normalizer(store) -> Normalizer:
    return fit_normalizer(store, np.arange(40), strict=True)


def batches_of(data) -> DayBatches:
    return DayBatches(data, None, np.zeros((len(data.store.days), 2), np.float32), WINDOW)


class Writes(TorchDispatchMode):
    """Where torch operations write: for each piece of memory, the first and the last byte."""

    def __init__(self) -> None:
        super().__init__()
        self.places: dict[int, tuple[int, int]] = {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        names = [argument.name for argument in func._schema.arguments]
        given = {**dict(zip(names, args, strict=False)), **kwargs}
        old = {t.untyped_storage().data_ptr() for t in given.values() if isinstance(t, torch.Tensor)}
        written = [
            given[argument.name]
            for argument in func._schema.arguments
            if argument.name in given and argument.alias_info is not None and argument.alias_info.is_write
        ]
        made = [tensor for tensor in tree_leaves(result) if isinstance(tensor, torch.Tensor)]
        for tensor in [*written, *(tensor for tensor in made if tensor.untyped_storage().data_ptr() not in old)]:
            first, last = tensor.data_ptr(), tensor.data_ptr() + tensor.nbytes
            place = tensor.untyped_storage().data_ptr()
            earlier = self.places.get(place, (first, last))
            self.places[place] = min(first, earlier[0]), max(last, earlier[1])
        return result


def instrumented(batches: DayBatches, first: int, count: int) -> tuple[Writes, int, torch.Tensor]:
    """Where torch wrote, what numpy allocated at most, and the features the network would see."""
    tracemalloc.start()
    try:
        with Writes() as writes:
            features = batches.to_device(batches.block(first, count), CPU).features
        numpy_memory = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    return writes, numpy_memory, features


def test_online_the_only_bytes_copied_are_the_normalised_buffer(store, normalizer, monkeypatch):
    """Beside it, a stretch of a few rows in float64 is worked in, however many days a batch has."""
    monkeypatch.setattr(online_normalization, "VALUES_AT_A_TIME", 64 * 12)
    batches = batches_of(StreamedPanel(store, normalizer))
    instrumented(batches, 30, 9)  # the buffer is there from here on, and what torch imports to be watched
    place = None
    for first, count in ((20, 3), (33, 9), (50, 1)):
        raw = batches.block(first, count).features
        assert raw.data_ptr() == store.block(first, count, WINDOW).features.ctypes.data, "a view of the map"
        writes, numpy_memory, features = instrumented(batches, first, count)
        assert features.nbytes == (count + WINDOW - 1) * 200 * 12 * 4
        written = sorted(last - first for first, last in writes.places.values())
        assert written == [64 * 12 * 8, features.nbytes]
        assert (features.data_ptr(), features.data_ptr() + features.nbytes) in writes.places.values()
        assert numpy_memory < features.nbytes / 2, "only small objects"
        assert place in (None, features.data_ptr())
        place = features.data_ptr()


def test_materialised_nothing_is_copied(store, normalizer):
    panel = materialise(store, normalizer, 16)
    batches = batches_of(panel)
    instrumented(batches, 30, 9)
    for first, count in ((20, 3), (33, 9), (50, 1)):
        writes, numpy_memory, features = instrumented(batches, first, count)
        assert writes.places == {}
        assert features.data_ptr() == panel.block(first, count, WINDOW).features.ctypes.data
        assert numpy_memory < features.nbytes / 2


def test_streamed_features_have_the_bits_of_materialised_ones(store, normalizer):
    one, other = batches_of(materialise(store, normalizer, 16)), batches_of(StreamedPanel(store, normalizer))

    def same(make: Callable[[DayBatches], DayBatch]) -> None:
        left, right = one.to_device(make(one), CPU), other.to_device(make(other), CPU)
        assert torch.equal(left.features, right.features)
        assert torch.isfinite(left.features).all()
        assert torch.equal(left.labels.nan_to_num(9), right.labels.nan_to_num(9))

    for day in range(4, 60):
        same(lambda batches, day=day: batches.canonical(day))
    for first, count in ((4, 1), (20, 9), (40, 12)):
        same(lambda batches, first=first, count=count: batches.block(first, count))


def test_features_are_found_by_name_and_dropped_columns_are_left_out(make_frame, make_store):
    frame = make_frame(40, 9).with_columns(f1=pl.lit(2.0))
    normalizer = fit_normalizer(make_store(frame, name="a"), np.arange(20), strict=False)
    moved = frame.select("date", "code", "f2", "f0", pl.lit(3.0).alias("f9"), pl.exclude("date", "code", "f2", "f0"))
    one = batches_of(StreamedPanel(make_store(frame, name="c"), normalizer))
    other = batches_of(StreamedPanel(make_store(moved, name="b"), normalizer))
    left, right = (b.to_device(b.block(20, 4), CPU).features.clone() for b in (one, other))
    assert left.shape[-1] == 2
    assert torch.equal(left, right)
    with pytest.raises(DataError, match="f2"):
        StreamedPanel(make_store(frame.drop("f2"), name="d"), normalizer)
