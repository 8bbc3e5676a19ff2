"""Batches of consecutive days, the order in which they are seen, and threads that prepare them ahead."""

import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice, pairwise
from typing import Protocol, TypeVar

import numpy as np
import torch
from jaxtyping import Float32, Int64, Shaped
from torch import Tensor

from atft_gat_fan.data.graph import Graph
from atft_gat_fan.data.liquidity import liquid_half
from atft_gat_fan.data.normalizer import Normalizer
from atft_gat_fan.data.store import Block, Store, first_predictable
from atft_gat_fan.types import DayBatch

T = TypeVar("T")


class FeaturePanel(Protocol):
    """A store with the features of a model, which are normalised when its blocks are made or when they are moved."""

    @property
    def store(self) -> Store: ...

    @property
    def normalizer(self) -> Normalizer: ...

    def block(self, first: int, count: int, window: int) -> Block: ...

    def to_device(self, batch: DayBatch, device: torch.device) -> DayBatch: ...


class DayBatches:
    """Batches of a panel. Days and stocks are positions in its store.

    `calendar` [T, C] are facts known in advance of each panel day; without a `graph`, batches have no neighbours.
    `static` numbers the categories as a trained model does, where that differs from the store. With `pinned`, batches
    are copied to page-locked memory, for a GPU to fetch. With `liquidity`, blocks say which stocks are liquid.
    """

    def __init__(
        self,
        data: FeaturePanel,
        graph: Graph | None,
        calendar: Float32[np.ndarray, "days covariates"],
        window: int,
        *,
        static: Int64[np.ndarray, " stocks"] | None = None,
        pinned: bool = False,
        liquidity: bool = False,
    ) -> None:
        self.data, self.store = data, data.store
        assert len(calendar) == len(self.store.days), f"expected {len(self.store.days)} days, got {len(calendar)}"
        self.graph, self.calendar, self.window = graph, calendar, window
        self.static = self.store.static if static is None else static
        self._pinned, self._liquidity = pinned, liquidity
        self._dates = self.store.days.astype("datetime64[D]").astype(np.int64)

    def predictable(self, days: Int64[np.ndarray, " days"]) -> Int64[np.ndarray, " chosen"]:
        """Those of `days` that have a whole window: all but the first window - 1 of the panel."""
        return days[days >= first_predictable(self.window)]

    def day_blocks(
        self, days: Int64[np.ndarray, " days"], batch_days: int, *, seed: int, epoch: int
    ) -> list[tuple[int, int]]:
        """`day_blocks` of those of `days` that can be predicted."""
        breaks = self.store.breaks(batch_days, self.window)
        return day_blocks(self.predictable(days), batch_days, seed, epoch, breaks)

    def consecutive_blocks(self, days: Int64[np.ndarray, " days"], batch_days: int) -> list[tuple[int, int]]:
        """`consecutive_blocks` of those of `days` that can be predicted."""
        breaks = self.store.breaks(batch_days, self.window)
        return consecutive_blocks(self.predictable(days), batch_days, breaks)

    def block(self, first: int, count: int) -> DayBatch:
        """Days first..first+count-1 with all stocks of their block. Unless pinned, nothing of features is copied.

        Raises DataError for days without a whole window.
        """
        block = self.data.block(first, count, self.window)
        return self._batch(first, count, block)

    def canonical(self, day: int) -> DayBatch:
        """One day with the stocks present on it alone: `stocks(day)`, in the order of their codes.

        The one form in which evaluation and prediction see a day. It does not depend on what else the store holds,
        so that their scores agree bit for bit. Raises DataError for a day without a whole window.
        """
        block = self.data.block(day, 1, self.window)
        return self._batch(day, 1, block.take(np.flatnonzero(block.present[-1])))

    def stocks(self, day: int) -> Int64[np.ndarray, " stocks"]:
        """Positions in the store of the stocks present on a day."""
        block = self.store.block(day, 1, 1)
        return block.stocks[np.flatnonzero(block.present[0])]

    def to_device(self, batch: DayBatch, device: torch.device) -> DayBatch:
        """The batch on the device with normalised, finite features; those may be valid until the next call only."""
        return self.data.to_device(batch, device)

    def _batch(self, first: int, count: int, block: Block) -> DayBatch:
        span, days = slice(first - first_predictable(self.window), first + count), np.arange(first, first + count)
        present = block.present[-count:]
        batch = DayBatch(
            features=as_tensor(block.features),
            labels=as_tensor(block.labels[-count:]),
            present=as_tensor(present),
            calendar=as_tensor(self.calendar[span]),
            static=as_tensor(self.static[block.stocks]),
            span_dates=tuple(self._dates[span].tolist()),
            neighbours=None if self.graph is None else self.graph.at(days, block.stocks, present),
            liquid=torch.from_numpy(liquid_half(block.dollar_volume[-count:], present)) if self._liquidity else None,
        )
        return batch.pin_memory() if self._pinned else batch


def as_tensor(array: Shaped[np.ndarray, "*shape"]) -> Shaped[Tensor, "*shape"]:
    """A tensor of the same memory."""
    if array.flags.writeable:
        return torch.from_numpy(array)
    with warnings.catch_warnings():
        # torch has no read-only tensors and warns that it forgets the flag of a memory map. Nobody writes into a
        # block; if someone did, the kernel would stop the process rather than let the store change.
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(array)


def day_blocks(
    days: Int64[np.ndarray, " days"], batch_days: int, seed: int, epoch: int, breaks: Sequence[int] = ()
) -> list[tuple[int, int]]:
    """(first, count) of blocks of at most `batch_days` consecutive days that hold each of `days` once, shuffled.

    `days` are increasing positions. No block bridges a gap between them or runs across one of `breaks`. Where the
    blocks of a gapless run begin, and their order, are drawn anew for each epoch, and depend on nothing else.
    """
    rng = np.random.default_rng([seed, epoch])
    blocks: list[tuple[int, int]] = []
    for first, stop in _runs(days, breaks):
        inner = range(first + int(rng.integers(batch_days)), stop, batch_days)
        edges = sorted({first, *inner, stop})
        blocks += [(start, end - start) for start, end in pairwise(edges)]
    return [blocks[position] for position in rng.permutation(len(blocks))]


def consecutive_blocks(
    days: Int64[np.ndarray, " days"], batch_days: int, breaks: Sequence[int] = ()
) -> list[tuple[int, int]]:
    """(first, count) of blocks as those of `day_blocks`, as few and as early as can be, in order."""
    return [
        (start, min(batch_days, stop - start))
        for first, stop in _runs(days, breaks)
        for start in range(first, stop, batch_days)
    ]


def _runs(days: Int64[np.ndarray, " days"], breaks: Sequence[int]) -> Iterator[tuple[int, int]]:
    """(first, stop) of the gapless runs of increasing `days`; one also ends before each of `breaks`."""
    gaps = np.diff(days)
    assert (gaps > 0).all(), "expected increasing days"
    for run in np.split(days, np.flatnonzero((gaps > 1) | np.isin(days[1:], breaks)) + 1):
        if len(run):
            yield int(run[0]), int(run[-1]) + 1


def prefetch(tasks: Iterable[Callable[[], T]], num_workers: int) -> Iterator[T]:
    """Results of `tasks` in their order, computed ahead by `num_workers` threads; with none, one by one as asked for.

    A task whose thread fails is done again by the caller, with a warning the first time; what it raises there is
    the caller's.
    """
    if num_workers == 0:
        yield from (task() for task in tasks)
        return
    remaining = iter(tasks)
    waiting: deque[tuple[Callable[[], T], Future[T]]] = deque()
    warned = False
    executor = ThreadPoolExecutor(num_workers, thread_name_prefix="prefetch")
    try:
        while True:
            for task in islice(remaining, num_workers + 1 - len(waiting)):
                waiting.append((task, executor.submit(task)))
            if not waiting:
                return
            task, future = waiting.popleft()
            error = future.exception()
            if error is None:
                yield future.result()
                continue
            if not warned:
                warnings.warn(
                    f"a loader thread failed ({error!r}); its batch is computed in the main thread", stacklevel=2
                )
                warned = True
            yield task()
    finally:
        executor.shutdown(cancel_futures=True)
