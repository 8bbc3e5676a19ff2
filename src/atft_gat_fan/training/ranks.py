"""What the processes of one training (its ranks) ask of each other. Alone there is nobody to ask.

Every rank runs the same program on its share of the days and comes to the same agreements in the same order. So what
goes wrong on one of them between two agreements must reach the next one: `tried` holds it until then, and after it all
ranks raise the same.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from types import TracebackType
from typing import Self, TypeVar

import torch
from torch import Tensor

from atft_gat_fan.signals import StopRequested, StopSignals
from atft_gat_fan.training.out_of_memory import is_out_of_memory

T = TypeVar("T")

NUM_SIGNS = 2


@dataclass(frozen=True)
class Trouble:
    """What kept a rank from its work, without the frames and tensors of it: a stop request, or memory ran out."""

    ran_out: bool
    message: str = ""

    @property
    def signs(self) -> tuple[float, float]:
        """How it is told to the others: [stopped, ran out of memory], to be summed over the ranks."""
        return (0.0, 1.0) if self.ran_out else (1.0, 0.0)


def tried(work: Callable[[], T]) -> T | Trouble:
    """What `work` returns, or what all ranks have to know. Whatever else it raises ends this rank, and so the others.

    The work holds no agreements.
    """
    try:
        return work()
    except StopRequested:
        return Trouble(ran_out=False)
    except (MemoryError, RuntimeError, OSError) as error:
        if not is_out_of_memory(error):
            raise
        return Trouble(ran_out=True, message=(str(error) or type(error).__name__).splitlines()[0])


def signs_of(own: object) -> tuple[float, float]:
    """The signs of what `tried` returned."""
    return own.signs if isinstance(own, Trouble) else (0.0, 0.0)


def heed(stopped: float, ran_out: float, own: object) -> None:
    """Raise what the summed signs say, the same on every rank: StopRequested first, then MemoryError."""
    if stopped:
        raise StopRequested
    if ran_out:
        raise MemoryError(own.message if isinstance(own, Trouble) else "memory ran out on another rank")


def at_once(work: Callable[[], T]) -> T:
    """What `work` returns: for those who agree in another place, or have nobody to agree with."""
    return work()


class Ranks:
    """One process by itself: each agreement is its own word. `ProcessRanks` are several."""

    rank = 0
    size = 1

    @property
    def alone(self) -> bool:
        return self.size == 1

    @property
    def first(self) -> bool:
        """Whether this is rank 0, which alone writes, logs and shows."""
        return self.rank == 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def sum(self, values: Tensor) -> Tensor:
        """The sum over all ranks, in place; the same bits on each of them."""
        return values

    def answered(self) -> AbstractContextManager[None]:
        """Around agreements that torch makes by itself: where they break off, RankError, as of those here."""
        return nullcontext()

    def gather(self, content: str) -> list[str]:
        """What each rank says, in their order."""
        return [content]

    def beat(self) -> None:
        """Rank 0, at work while the others wait in `first_then_others`: still alive. RankError where another ended."""

    def first_then_others(self, work: Callable[[], T], poll: Callable[[], None]) -> T:
        """Rank 0 does the work, then the others do it, and find what it left. They `poll` while they wait."""
        return work()

    def part(self) -> None:
        """The last agreement: all are through, and each goes on, or ends, by itself."""

    def tell(self, content: str) -> str:
        """What rank 0 says."""
        return self.gather(content)[0]

    def meet(self) -> None:
        """Wait until all ranks are here."""
        self.any(False)

    def any(self, flag: bool) -> bool:
        """Whether one of the ranks says so."""
        return flag if self.alone else bool(self.sum(torch.tensor([int(flag)])))

    def every(self, flag: bool) -> bool:
        """Whether all of the ranks say so."""
        return not self.any(not flag)

    def together(self, work: Callable[[], T]) -> T:
        """Each rank's own `work`; where one of them was stopped or ran out of memory, that is raised on all.

        Raises StopRequested, MemoryError (MemoryError on the others, whatever it was on that one).
        """
        if self.alone:
            return work()
        done = tried(work)
        stopped, ran_out = self.sum(torch.tensor(signs_of(done))).tolist()
        heed(stopped, ran_out, done)
        assert not isinstance(done, Trouble)
        return done

    def rounds(self, items: Iterable[T]) -> Iterator[list[T]]:
        """One of this rank's items at a time, or none, until no rank has one left."""
        remaining = iter(items)
        if self.alone:
            yield from ([item] for item in remaining)
            return
        while True:
            item = [*_next(remaining)]
            if not self.any(bool(item)):
                return
            yield item

    def share_stop(self, signals: StopSignals) -> None:
        """A stop request that one rank got becomes one of each."""
        if self.alone:
            return
        own = signals.received
        number = max(map(int, self.gather(str(0 if own is None else int(own)))))
        if own is None and number:
            signals.hear(number)


def _next(remaining: Iterator[T]) -> Iterator[T]:
    for item in remaining:
        yield item
        return
