"""What training asks of the data, and how its blocks become optimizer steps."""

from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from atft_gat_fan.errors import DataError
from atft_gat_fan.training.settings import TrainSettings
from atft_gat_fan.types import DayBatch


class TrainingData(Protocol):
    """Batches of a run, by position of the panel day.

    `blocks(epoch)` is the epoch's order of (first day, number of days), a function of seed and epoch only;
    `valid_blocks()` covers the validation days. `batch` may run in other threads, ahead of its use; `to_device` gives
    the inputs of the network, which may be valid until it is called again.
    """

    @property
    def valid_days(self) -> NDArray[np.int64]: ...

    def blocks(self, epoch: int) -> list[tuple[int, int]]: ...

    def valid_blocks(self) -> list[tuple[int, int]]: ...

    def batch(self, first: int, count: int) -> DayBatch: ...

    def to_device(self, batch: DayBatch, device: torch.device) -> DayBatch: ...


def step_groups(data: TrainingData, settings: TrainSettings, epoch: int) -> list[list[tuple[int, int]]]:
    """The blocks of each optimizer step of an epoch (counted from 0); the last step may have fewer."""
    blocks = data.blocks(epoch)
    return [blocks[start : start + settings.accumulate] for start in range(0, len(blocks), settings.accumulate)]


def planned_steps(data: TrainingData, settings: TrainSettings) -> int:
    """Optimizer steps of the whole training. Raises DataError where an epoch has none, or nothing can be validated."""
    if not len(data.valid_days):
        raise DataError("expected validation days, found none; give a longer panel or another split")
    per_epoch = [len(step_groups(data, settings, epoch)) for epoch in range(settings.max_epochs)]
    if not all(per_epoch):
        raise DataError("expected training days in every epoch, found none; give a longer panel or another split")
    return min(sum(per_epoch), settings.max_steps or sum(per_epoch))
