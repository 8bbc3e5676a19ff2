"""Telling that memory ran out, giving back what is not used, and what one day would need."""

import ctypes
import errno
import gc
import resource
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from atft_gat_fan.models.chunks import Chunks
from atft_gat_fan.models.network import ATFT_GAT_FAN
from atft_gat_fan.models.onednn import use_onednn
from atft_gat_fan.training.relief import LEAST_STOCKS
from atft_gat_fan.types import DayBatch, Neighbours, RandomKey

T = TypeVar("T")

# Of RuntimeErrors, which shapes and types raise as well.
SIGNS = (
    "can't allocate memory",
    "Cannot allocate memory",
    "not enough memory",
    "out of memory",
    "enforce fail at alloc_cpu.cpp",
    "std::bad_alloc",
    "ALLOC_FAILED",
)

# What oneDNN says of every failure; nothing but a lack of memory makes it fail with our layers (torch 2.13).
ONEDNN_SIGNS = ("could not create a primitive", "could not execute a primitive", "could not create a memory")

ONEDNN_GAVE_UP = "oneDNN ran out of memory"


@dataclass(frozen=True)
class RanOut:
    """Memory ran out; `message` is the first line of what was said of it. Holds no traceback, and so no tensors."""

    message: str

    @property
    def in_onednn(self) -> bool:
        """Whether it was oneDNN that found none: it never recovers from that, however much there is later."""
        return any(sign in self.message for sign in (*ONEDNN_SIGNS, ONEDNN_GAVE_UP))


def is_out_of_memory(error: BaseException) -> bool:
    """Whether it says that memory ran out: of torch's allocators, of numpy, arrow and Python, of the kernel."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in (*SIGNS, *ONEDNN_SIGNS))


def attempt(work: Callable[[], T]) -> T | RanOut:
    """What `work` returns, or that memory ran out. By then its frames, and the tensors in them, are gone."""
    try:
        return work()
    except (MemoryError, RuntimeError, OSError) as error:
        if not is_out_of_memory(error):
            raise
        return RanOut((str(error) or type(error).__name__).splitlines()[0])


@contextmanager
def kept_kernels() -> Iterator[None]:
    """Raises MemoryError where torch went on without oneDNN because that ran out of memory.

    After one failed product, torch turns oneDNN off for the rest of the process and says so in a warning. Training
    would go on with other kernels, to other bits than those of a resumed run.
    """
    before = torch.backends.mkldnn.enabled
    yield
    if before and not torch.backends.mkldnn.enabled:
        use_onednn(True)
        raise MemoryError(ONEDNN_GAVE_UP)


def free_memory() -> None:
    """Give back what is not used: to the accelerator, and from malloc to the system."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc has it, musl has not
        if trim is not None:
            trim(0)


@dataclass(frozen=True)
class Need:
    """Bytes that one day takes at the last rung: `kept` between steps, `day` while it is computed (None: unknown)."""

    kept: int
    day: int | None

    def __str__(self) -> str:
        if self.day is None:
            return f"more than {_size(self.kept)}, what weights, gradients, optimizer and averages take by themselves"
        return (
            f"about {_size(self.kept + self.day)} ({_size(self.kept)} for weights, gradients, optimizer and averages; "
            f"at least {_size(self.day)} for the day, measured on {LEAST_STOCKS} of its stocks and scaled)"
        )


def estimate_need(model: ATFT_GAT_FAN, day: DayBatch, *, ema: bool, shards: int = 1) -> Need:
    """What the last rung needs for one day, from what autograd keeps of a forward pass over a few of its stocks.

    Per stock, that grows with the stocks where they meet (graph attention, heads) and not before, where only one
    piece of them is computed at a time. `day` is on the device of the model. The work beside what is kept is not
    in it: the true need is larger. Of weights that are divided into `shards`, the network has been gathered.
    """
    weights = sum(parameter.nbytes for parameter in model.parameters())
    kept = weights * (5 if ema else 4)  # weights, gradients, two moments, the average
    if shards > 1:
        kept = kept // shards + 2 * weights  # and whole weights and gradients while a step is computed
    measured = attempt(lambda: _activations(model, day))
    return Need(kept, None if isinstance(measured, RanOut) else measured)


def _activations(model: ATFT_GAT_FAN, day: DayBatch) -> int:
    stocks = day.features.shape[1]
    few = min(LEAST_STOCKS, stocks)
    part = _first_stocks(day, few)
    chunks = model.chunks
    try:
        model.chunks = replace(chunks, stocks=None, by_day=False)
        whole = _kept_for_backward(model, part)
        # Of encoded stocks that are computed again, only their results are kept.
        model.chunks = Chunks(stocks=max(1, few // 2))
        meeting = _kept_for_backward(model, part)
    finally:
        model.chunks = chunks
    return day.features.nbytes + max(0, whole - meeting) + meeting * stocks // few


def _kept_for_backward(model: ATFT_GAT_FAN, batch: DayBatch) -> int:
    sizes: dict[int, int] = {}
    ours = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in ours:
            sizes[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        # Alive until it is counted: freed tensors would be counted once for all that come to lie where they lay.
        forecast = model.forecast(batch, RandomKey(0, 0))
    del forecast
    return sum(sizes.values())


def _first_stocks(day: DayBatch, count: int) -> DayBatch:
    neighbours = day.neighbours
    if neighbours is not None:
        # Other neighbours than these, but as many: the amount of memory is the same.
        neighbours = neighbours.each(lambda tensor: tensor[:, :count].contiguous())
        neighbours = Neighbours(neighbours.index % count, neighbours.mask, neighbours.edge)
    return replace(
        day,
        features=day.features[:, :count].contiguous(),
        labels=day.labels[:, :count],
        present=day.present[:, :count],
        static=day.static[:count],
        neighbours=neighbours,
    )


@dataclass(frozen=True)
class Available:
    """Bytes that can still be had, and what limits them."""

    bytes: int
    limit: str

    def __str__(self) -> str:
        return f"{_size(self.bytes)} ({self.limit})"


def available_memory(device: torch.device) -> Available:
    """The least that a limit leaves: of the device, of the address space, of the control group, of the machine."""
    limits = [*_host_limits()]
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        reserved = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        limits = [Available(free + reserved, "free on the GPU")]
    return min(limits, key=lambda each: each.bytes, default=Available(0, "unknown"))


def _host_limits() -> list[Available]:
    limits = []
    address_space, _ = resource.getrlimit(resource.RLIMIT_AS)
    statm, meminfo = Path("/proc/self/statm"), Path("/proc/meminfo")
    if address_space != resource.RLIM_INFINITY and statm.exists():
        used = int(statm.read_text().split()[0]) * resource.getpagesize()
        limits.append(Available(max(0, address_space - used), "free below the limit of the address space, ulimit -v"))
    if meminfo.exists():
        lines = (line.split() for line in meminfo.read_text().splitlines())
        limits += [
            Available(int(words[1]) * 1024, "free in this machine") for words in lines if words[0] == "MemAvailable:"
        ]
    group = Path("/sys/fs/cgroup")
    try:
        limit, current = ((group / f"memory.{name}").read_text().strip() for name in ("max", "current"))
    except OSError:
        return limits  # no control group of version 2, or none with a limit on memory
    if limit != "max":
        limits.append(Available(max(0, int(limit) - int(current)), "free below the limit of the control group"))
    return limits


def _size(count: int) -> str:
    for unit, size in (("GB", 10**9), ("MB", 10**6)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count / 1000:.0f} kB"
