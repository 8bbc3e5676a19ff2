"""Inputs with spikes, as a broken feed delivers them: a stress for training."""

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from atft_gat_fan.runs.assembly import Assembly
from atft_gat_fan.types import DayBatch

_STREAM = 0x5B1CE
"""Keeps these draws apart from those of the network."""


class SpikedData:
    """Training data of which a `share` of the normalised inputs of the training days is ± `size` deviations.

    A day has the same spikes in every batch, epoch and arm (drawn from the seed and the date). Validation and test days
    are as they were.
    """

    def __init__(self, assembly: Assembly, share: float, size: float, seed: int) -> None:
        self._assembly, self._share, self._size, self._seed = assembly, share, size, seed
        last = assembly.store.days[assembly.split.train[-1]]
        self._last_date = int(last.astype("datetime64[D]").astype(np.int64))

    @property
    def valid_days(self) -> NDArray[np.int64]:
        return self._assembly.valid_days

    def blocks(self, epoch: int) -> list[tuple[int, int]]:
        return self._assembly.blocks(epoch)

    def valid_blocks(self) -> list[tuple[int, int]]:
        return self._assembly.valid_blocks()

    def batch(self, first: int, count: int) -> DayBatch:
        return self._assembly.batch(first, count)

    def to_device(self, batch: DayBatch, device: torch.device) -> DayBatch:
        moved = self._assembly.to_device(batch, device)
        features = moved.features.clone()  # what was given may be a view of the whole panel
        for row, date in enumerate(moved.span_dates):
            if date <= self._last_date:
                self._spike(features[row], date)
        return replace(moved, features=features)

    def _spike(self, features: Tensor, date: int) -> None:
        """Of one day, in place."""
        # Dates before 1970 are negative, and seed sequences take none.
        rng = np.random.default_rng((self._seed, date & 0xFFFFFFFF, _STREAM))
        chosen = rng.random(tuple(features.shape)) < self._share
        sizes = np.where(rng.random(int(chosen.sum())) < 0.5, -self._size, self._size).astype(np.float32)
        features[torch.from_numpy(chosen).to(features.device)] = torch.from_numpy(sizes).to(features.device)
