"""How the days of a step and of a validation are divided over ranks."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from atft_gat_fan.types import DayBatch

T = TypeVar("T")


@dataclass(frozen=True)
class BlockPart:
    """The days start..stop-1 of the block of `count` days that begins with `first` (a position in the panel)."""

    first: int
    count: int
    start: int
    stop: int

    def of(self, batch: DayBatch) -> DayBatch:
        """The part of the block's batch. It keeps all stocks of the block, by whose places dropout is drawn."""
        return batch if self.stop - self.start == self.count else batch.part(self.start, self.stop)


def step_share(blocks: Sequence[tuple[int, int]], rank: int, size: int, *, divisible: bool = True) -> list[BlockPart]:
    """The rank's days of an optimizer step, in as few runs as can be: none where there are fewer days than ranks.

    The shares of all ranks hold each day once, and differ by one day at most; by whole blocks where these are not
    `divisible`.
    """
    if not divisible:
        return whole_blocks(blocks, rank, size)
    days = sum(count for _, count in blocks)
    first, stop = days * rank // size, days * (rank + 1) // size
    parts, behind = [], 0
    for start, count in blocks:
        own = max(0, first - behind), min(count, stop - behind)
        if own[0] < own[1]:
            parts.append(BlockPart(start, count, *own))
        behind += count
    return parts


def whole_blocks(blocks: Sequence[tuple[int, int]], rank: int = 0, size: int = 1) -> list[BlockPart]:
    """Every `size`-th block from number `rank` on, undivided: a block's scores depend on nothing but its days."""
    return [BlockPart(first, count, 0, count) for first, count in blocks[rank::size]]


def in_order(by_rank: Sequence[Sequence[T]]) -> list[T]:
    """What was made of `whole_blocks`, one item a round, back in the order of the blocks."""
    rounds = max(map(len, by_rank), default=0)
    return [items[number] for number in range(rounds) for items in by_rank if number < len(items)]
