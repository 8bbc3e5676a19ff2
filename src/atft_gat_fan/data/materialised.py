"""A panel normalised once, in memory: the features of a block are a view of it."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from jaxtyping import Float32

from atft_gat_fan.data.normalizer import Normalizer
from atft_gat_fan.data.store import Block, Store
from atft_gat_fan.types import DayBatch

DAYS_AT_A_TIME = 32
Span = tuple[int, int, int]
"""Arguments of `Store.block`: first day, number of days, window."""


@dataclass(frozen=True, eq=False)
class MaterialisedPanel:
    """A store with normalised, finite features in memory: for each file, an array of the stocks it holds.

    Everything else of a block is a view of the store. A block may be up to `span` days long, its window included.
    """

    store: Store
    normalizer: Normalizer
    span: int
    features: tuple[Float32[np.ndarray, "days stocks features"], ...]
    first_held: tuple[int, ...]
    """Of each file, the day that its array begins with."""

    def block(self, first: int, count: int, window: int) -> Block:
        """Views of the span of days first..first+count-1. DataError for days without a whole window."""
        block = self.store.block(first, count, window)
        position = self.store.shard_of(first + count - 1)
        start = first - window + 1 - self.first_held[position]
        assert start >= 0, f"expected blocks of at most {self.span} days, got {window - 1 + count}"
        return replace(block, features=self.features[position][start : start + window - 1 + count])

    def to_device(self, batch: DayBatch, device: torch.device) -> DayBatch:
        """The batch on the device; on the CPU these are the very same tensors."""
        return batch.to(device)


def nbytes_needed(store: Store, normalizer: Normalizer, span: int) -> int:
    """Memory that `materialise` takes, known beforehand: four bytes a value."""
    return sum(4 * file.num_days * file.num_stocks * len(normalizer.feature_names) for file in _files(store, span))


def materialise(
    store: Store, normalizer: Normalizer, span: int, progress: Callable[[float], None] | None = None
) -> MaterialisedPanel:
    """Normalises all of a store into memory, once, by threads. DataError when the store lacks a feature.

    `span` is the longest that a block will be, window - 1 + days: no file repeats more days than that needs.
    """
    normalizer = normalizer.aligned_to(store.feature_names)
    files = tuple(_files(store, span))
    arrays = []
    with ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="normalise") as threads:
        for file in files:
            array = np.empty((file.num_days, file.num_stocks, len(normalizer.feature_names)), np.float32)
            for done in threads.map(partial(_normalise, store, normalizer, file.first_held, array), file.spans):
                if progress is not None:
                    progress(done / len(store.days))
            arrays.append(array)
    return MaterialisedPanel(store, normalizer, span, tuple(arrays), tuple(file.first_held for file in files))


@dataclass(frozen=True)
class _File:
    """The days that are held of one file of the store: its own, `first..stop-1`, and those that it repeats."""

    first_held: int
    first: int
    stop: int
    num_stocks: int

    @property
    def num_days(self) -> int:
        return self.stop - self.first_held

    @property
    def spans(self) -> Iterator[Span]:
        """Reads that hold every day once; the repeated days, of the stocks of this file, come with its first own."""
        yield self.first, 1, self.first - self.first_held + 1
        for day in range(self.first + 1, self.stop, DAYS_AT_A_TIME):
            yield day, min(DAYS_AT_A_TIME, self.stop - day), 1


def _files(store: Store, span: int) -> Iterator[_File]:
    for file in store.spans:
        first_held = max(file.first_held, file.first - span + 1)
        yield _File(first_held, file.first, file.stop, len(store.block(file.first, 1, 1).stocks))


def _normalise(store: Store, normalizer: Normalizer, first_held: int, array: np.ndarray, span: Span) -> int:
    """Fill in one span; returns the number of the store's days that are behind it."""
    first, count, window = span
    start = first - window + 1 - first_held
    array[start : start + window - 1 + count] = normalizer.apply(store.block(first, count, window).features)
    return first + count
