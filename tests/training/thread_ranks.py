"""Ranks as threads of this process: the same agreements, without a network. Each has a network of its own."""

import threading
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor

from atft_gat_fan.training.ranks import Ranks

T = TypeVar("T")
PATIENCE = 60.0


class Meeting:
    """Where `size` threads put something down and take away what all of them did."""

    def __init__(self, size: int) -> None:
        self._barrier = threading.Barrier(size, timeout=PATIENCE)
        self._put: list[object] = [None] * size

    def exchange(self, rank: int, content: T) -> list[T]:
        self._put[rank] = content
        self._barrier.wait()
        taken = list(self._put)
        self._barrier.wait()
        return taken

    def abandon(self) -> None:
        self._barrier.abort()


class ThreadRanks(Ranks):
    def __init__(self, rank: int, size: int, meeting: Meeting) -> None:
        self.rank, self.size, self._meeting = rank, size, meeting

    def sum(self, values: Tensor) -> Tensor:
        total = torch.stack(self._meeting.exchange(self.rank, values.clone())).sum(0)
        return values.copy_(total)

    def gather(self, content: str) -> list[str]:
        return self._meeting.exchange(self.rank, content)


def on_ranks(size: int, work: Callable[[Ranks], T]) -> list[T | BaseException]:
    """What `work` returned or raised on each of `size` ranks at the same time."""
    meeting, results = Meeting(size), [None] * size

    def run(rank: int) -> None:
        try:
            results[rank] = work(ThreadRanks(rank, size, meeting))
        except threading.BrokenBarrierError as error:
            results[rank] = error
        except BaseException as error:  # noqa: BLE001 - handed to the test
            results[rank] = error
            # Those that raise together have nobody waiting; who raises alone must not leave the others there.
            threading.Timer(1.0, meeting.abandon).start()

    threads = [threading.Thread(target=run, args=[rank]) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results
