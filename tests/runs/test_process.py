"""Process-wide settings are set, and only those asked for."""

import ctypes
import platform
import resource

import pytest
import torch

from atft_gat_fan.runs.process import keep_freed_memory, prepare_process


def test_threads_are_set_where_a_number_is_given():
    before = torch.get_num_threads()
    try:
        prepare_process(1)
        assert torch.get_num_threads() == 1
        prepare_process(None)
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


def test_a_gpu_computes_in_float32_and_in_one_order(monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", False)
    prepare_process(None)
    assert (torch.backends.cudnn.allow_tf32, torch.backends.cudnn.deterministic) == (False, True)
    assert not torch.backends.cuda.matmul.allow_tf32


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc is told to keep memory")
def test_freed_memory_stays_with_the_process():
    """A large buffer that was written and freed is soon used again without new page faults."""
    libc = ctypes.CDLL(None)
    libc.malloc.restype = ctypes.c_void_p

    def faults() -> int:
        # Of malloc itself: an aligned buffer, as torch takes, does not always fit where one of the same size was.
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        buffer = ctypes.c_void_p(libc.malloc(100 * 2**20))
        ctypes.memset(buffer, 1, 100 * 2**20)
        libc.free(buffer)
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    keep_freed_memory()
    # The first few may still extend the heap; 100 MiB are 25,600 pages.
    assert min(faults() for _ in range(8)) < 1000
