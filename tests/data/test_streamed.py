"""Nothing is materialised: blocks are views of the map, and one buffer holds what is normalised of them."""

import tracemalloc

import numpy as np
import polars as pl
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from atft_gat_fan.data.batches import DayBatches
from atft_gat_fan.data.materialised import materialise
from atft_gat_fan.data.normalizer import Normalizer
from atft_gat_fan.data.normalizer_fit import fit_normalizer
from atft_gat_fan.data.store import Store
from atft_gat_fan.data.streamed import StreamedPanel
from atft_gat_fan.errors import DataError

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


class NewMemory(TorchDispatchMode):
    """Bytes that torch operations write into memory other than what they were given, by the place they begin at."""

    def __init__(self) -> None:
        super().__init__()
        self.written: dict[int, int] = {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        given = {t.untyped_storage().data_ptr() for t in tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor)}
        out = (kwargs or {}).get("out")
        for tensor in tree_leaves(result):
            if isinstance(tensor, torch.Tensor) and (tensor is out or tensor.untyped_storage().data_ptr() not in given):
                self.written[tensor.data_ptr()] = tensor.nbytes
        return result


def instrumented(batches: DayBatches, first: int, count: int) -> tuple[NewMemory, int, torch.Tensor]:
    """What torch wrote, what numpy allocated at most, and the features the network would see."""
    tracemalloc.start()
    try:
        with NewMemory() as torch_memory:
            features = batches.to_device(batches.block(first, count), CPU).features
        numpy_memory = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    return torch_memory, numpy_memory, features


def test_online_the_only_bytes_copied_are_the_normalised_buffer(store, normalizer):
    batches = batches_of(StreamedPanel(store, normalizer, "online"))
    instrumented(batches, 30, 9)  # the buffer is there from here on, and what torch imports to be watched
    place = None
    for first, count in ((20, 3), (33, 9), (50, 1)):
        raw = batches.block(first, count).features
        assert raw.data_ptr() == store.block(first, count, WINDOW).features.ctypes.data, "a view of the map"
        memory, numpy_memory, features = instrumented(batches, first, count)
        assert memory.written == {features.data_ptr(): features.nbytes}
        assert features.nbytes == (count + WINDOW - 1) * 200 * 12 * 4
        assert numpy_memory < features.nbytes / 2, "only small objects"
        assert place in (None, features.data_ptr())
        place = features.data_ptr()


def test_materialised_nothing_is_copied(store, normalizer):
    panel = materialise(store, normalizer, 16)
    batches = batches_of(panel)
    instrumented(batches, 30, 9)
    for first, count in ((20, 3), (33, 9), (50, 1)):
        memory, numpy_memory, features = instrumented(batches, first, count)
        assert memory.written == {}
        assert features.data_ptr() == panel.block(first, count, WINDOW).features.ctypes.data
        assert numpy_memory < features.nbytes / 2


def test_exact_has_the_bits_of_the_materialised_panel(store, normalizer):
    one, other = batches_of(materialise(store, normalizer, 16)), batches_of(StreamedPanel(store, normalizer, "exact"))
    for day in range(4, 60):
        for make in (DayBatches.canonical, lambda batches, day: batches.block(day, 1)):
            left, right = one.to_device(make(one, day), CPU), other.to_device(make(other, day), CPU)
            assert torch.equal(left.features, right.features)
            assert torch.equal(left.labels.nan_to_num(9), right.labels.nan_to_num(9))


def test_online_agrees_with_the_materialised_panel_and_is_finite(store, normalizer):
    one, other = batches_of(materialise(store, normalizer, 16)), batches_of(StreamedPanel(store, normalizer, "online"))
    for first, count in ((4, 1), (20, 9), (40, 12)):
        expected = one.to_device(one.block(first, count), CPU).features
        raw = other.block(first, count)
        found = other.to_device(raw, CPU).features
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)
        assert torch.isfinite(found).all()
        assert (found[raw.features.isnan()] == 0).all()


@pytest.mark.parametrize("arithmetic", ["exact", "online"])
def test_features_are_found_by_name_and_dropped_columns_are_left_out(make_frame, make_store, arithmetic):
    frame = make_frame(40, 9).with_columns(f1=pl.lit(2.0))
    normalizer = fit_normalizer(make_store(frame, name="a"), np.arange(20), strict=False)
    moved = frame.select("date", "code", "f2", "f0", pl.lit(3.0).alias("f9"), pl.exclude("date", "code", "f2", "f0"))
    one = batches_of(StreamedPanel(make_store(frame, name="c"), normalizer, arithmetic))
    other = batches_of(StreamedPanel(make_store(moved, name="b"), normalizer, arithmetic))
    left, right = (b.to_device(b.block(20, 4), CPU).features.clone() for b in (one, other))
    assert left.shape[-1] == 2
    assert torch.equal(left, right)
    with pytest.raises(DataError, match="f2"):
        StreamedPanel(make_store(frame.drop("f2"), name="d"), normalizer, arithmetic)


def test_only_the_blocks_that_are_asked_for_are_normalised(store, normalizer, monkeypatch):
    rows: list[int] = []
    plain = Normalizer.apply

    def counted(self, features):
        rows.append(features.shape[0])
        return plain(self, features)

    monkeypatch.setattr(Normalizer, "apply", counted)
    batches = batches_of(StreamedPanel(store, normalizer, "exact"))
    batches.to_device(batches.canonical(30), CPU)
    assert rows == [WINDOW]
