"""The batches of one rank: which parts of a training's blocks are its own, loaded ahead."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial

from atft_gat_fan.data.batches import prefetch
from atft_gat_fan.training.ranks import Ranks
from atft_gat_fan.training.shares import BlockPart, step_share, whole_blocks
from atft_gat_fan.types import DayBatch

Blocks = Sequence[tuple[int, int]]
"""(first day, number of days) of each."""


class RankBatches:
    """`read` makes the batch of a block; `load` calls it, and may call it again. `num_workers` threads work ahead.

    Where the LSTM runs over a block as one (not `divisible`), a part of the block would train something else.
    """

    def __init__(
        self,
        ranks: Ranks,
        read: Callable[[int, int], DayBatch],
        load: Callable[[Callable[[], DayBatch]], DayBatch],
        *,
        divisible: bool,
        num_workers: int,
    ) -> None:
        self._ranks, self._read, self._load_by = ranks, read, load
        self._divisible, self._num_workers = divisible, num_workers

    def share(self, blocks: Blocks) -> list[BlockPart]:
        """This rank's days of an optimizer step over `blocks`."""
        return step_share(blocks, self._ranks.rank, self._ranks.size, divisible=self._divisible)

    def load(self, parts: Sequence[BlockPart]) -> Iterator[DayBatch]:
        """The batches of some parts, in their order."""
        return prefetch([partial(self._load, part) for part in parts], self._num_workers)

    def dealt(self, blocks: Blocks) -> Iterator[DayBatch]:
        """Those of `blocks` that are dealt to this rank, each as a whole."""
        return self.load(whole_blocks(blocks, self._ranks.rank, self._ranks.size))

    def whole(self, blocks: Blocks) -> Iterator[DayBatch]:
        """All of `blocks`, whoever's they are."""
        return self.load(whole_blocks(blocks))

    def _load(self, part: BlockPart) -> DayBatch:
        return part.of(self._load_by(partial(self._read, part.first, part.count)))
