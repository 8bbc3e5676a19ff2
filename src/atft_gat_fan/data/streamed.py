"""A panel whose features are normalised batch by batch, on the device that computes; nothing is materialised."""

from dataclasses import replace

import torch

from atft_gat_fan.data.normalizer import Normalizer
from atft_gat_fan.data.online_normalization import OnlineNormalizer
from atft_gat_fan.data.store import Block, Store
from atft_gat_fan.types import DayBatch


class StreamedPanel:
    """Blocks are views of the store's map, features raw with NaN where missing, until `to_device` normalises them.

    That writes into one buffer: the features of a batch are valid until the next batch is put on the device. They
    have the bits of a materialised panel.
    """

    def __init__(self, store: Store, normalizer: Normalizer) -> None:
        self.store, self.normalizer = store, normalizer.aligned_to(store.feature_names)
        self._online: OnlineNormalizer | None = None

    def block(self, first: int, count: int, window: int) -> Block:
        """Views of the span of days first..first+count-1. DataError for days without a whole window."""
        return self.store.block(first, count, window)

    def to_device(self, batch: DayBatch, device: torch.device) -> DayBatch:
        """The batch on the device, its features normalised and finite."""
        if self._online is None or self._online.device != device:
            self._online = OnlineNormalizer(self.normalizer, device)
        batch = batch.to(device)
        return replace(batch, features=self._online(batch.features))
