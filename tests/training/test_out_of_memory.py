import errno
import gc
import os
import weakref

import numpy as np
import pyarrow as pa
import pytest
import torch

from atft_gat_fan.training.out_of_memory import (
    RanOut,
    attempt,
    available_memory,
    estimate_need,
    free_memory,
    is_out_of_memory,
    kept_kernels,
)

TOO_MUCH = 2**50


@pytest.mark.parametrize(
    "ask",
    [
        lambda: torch.empty(TOO_MUCH, dtype=torch.uint8),
        lambda: torch.zeros(1).expand(TOO_MUCH).contiguous(),
        lambda: np.empty(TOO_MUCH, dtype=np.uint8),
        lambda: bytearray(TOO_MUCH),
        lambda: pa.allocate_buffer(TOO_MUCH),
    ],
    ids=["torch", "an operator of torch", "numpy", "python", "arrow"],
)
def test_a_real_refusal_of_every_allocator_is_recognised(ask):
    with pytest.raises((MemoryError, RuntimeError, OSError)) as refusal:
        ask()
    assert is_out_of_memory(refusal.value)
    assert isinstance(attempt(ask), RanOut)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        RuntimeError("std::bad_alloc"),
        RuntimeError("could not create a primitive"),
        RuntimeError("could not execute a primitive"),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
    ],
    ids=str,
)
def test_what_others_say_of_it_is_recognised(error):
    assert is_out_of_memory(error)


@pytest.mark.parametrize("message", ["could not create a primitive", "could not execute a primitive"])
def test_onednn_is_known_by_what_it_says(message):
    def fail():
        raise RuntimeError(message)

    assert attempt(fail).in_onednn
    assert not attempt(lambda: torch.empty(TOO_MUCH, dtype=torch.uint8)).in_onednn


@pytest.mark.parametrize(
    "fail",
    [
        lambda: torch.ones(2, 3) @ torch.ones(2, 3),
        lambda: torch.ones(3, requires_grad=True).backward(),
        lambda: os.stat("/nowhere/at/all"),
    ],
    ids=["shape", "backward", "file"],
)
def test_other_errors_pass_through(fail):
    with pytest.raises((RuntimeError, OSError)) as error:
        attempt(fail)
    assert not is_out_of_memory(error.value)


def test_nothing_of_a_failed_attempt_is_held():
    seen = []

    def work():
        large = torch.ones(1000)
        seen.append(weakref.ref(large))
        return torch.empty(TOO_MUCH, dtype=torch.uint8), large

    gc.disable()
    try:
        found = attempt(work)
        assert seen[0]() is None, "a traceback still holds it"
    finally:
        gc.enable()
    assert "allocate" in found.message
    assert "\n" not in found.message


def test_tensors_that_only_hold_each_other_are_given_back():
    """As in the frames of a failed attempt; the collector would come for them later, if at all."""
    ring = [torch.zeros(1000)]
    ring.append(ring)
    left = weakref.ref(ring[0])
    gc.disable()
    try:
        del ring
        assert left() is not None
        free_memory()
        assert left() is None
    finally:
        gc.enable()


def test_torch_switching_its_kernels_off_counts_as_running_out():
    """As it does by itself where oneDNN finds no memory for a product: from then on bits would differ."""
    assert torch.backends.mkldnn.enabled
    with pytest.raises(MemoryError, match="oneDNN"), kept_kernels():
        torch._C._set_mkldnn_enabled(False)
    assert torch.backends.mkldnn.enabled
    with torch.backends.mkldnn.flags(enabled=False), kept_kernels():
        pass


def test_the_estimate_grows_with_the_stocks_that_meet_and_counts_the_average(make_market, make_network):
    model = make_network().train()
    weights = sum(parameter.nbytes for parameter in model.parameters())
    small, large = (make_market(num_stocks=n).batch(10, 1) for n in (100, 1000))
    needs = [estimate_need(model, day, ema=False) for day in (small, large)]
    assert needs[0].kept == 4 * weights
    assert estimate_need(model, small, ema=True).kept == 5 * weights
    assert estimate_need(model, small, ema=True, shards=5).kept == 3 * weights, "a fifth, and weights and gradients"
    assert 2 < needs[1].day / needs[0].day < 10
    assert "MB" in str(needs[1]) or "kB" in str(needs[1])


def test_the_estimate_is_near_what_autograd_keeps_at_the_last_rung(make_market, make_network):
    """Counted over the whole day with the pieces of the last rung, where the estimate only sees 32 stocks."""
    from atft_gat_fan.models.chunks import Chunks
    from atft_gat_fan.training.out_of_memory import _kept_for_backward

    model, day = make_network().train(), make_market(num_stocks=500).batch(10, 1)
    estimated = estimate_need(model, day, ema=False).day
    model.chunks = Chunks(stocks=32)
    kept = _kept_for_backward(model, day)
    assert kept < estimated < 3 * kept + day.features.nbytes


def test_what_is_available_is_told_with_what_limits_it():
    available = available_memory(torch.device("cpu"))
    assert available.bytes > 0
    assert "free" in str(available)
