"""Ranks as processes that torchrun started, on one machine or several, over torch.distributed: gloo, and NCCL for GPUs.

No wait is without an end. Where a rank is gone, its closed connections end the others at once, and where it only
is silent, `distributed.timeout` does. A rank that ends for a reason leaves it where the others look.
"""

import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from types import TracebackType
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

from atft_gat_fan.config.schema import DistributedConfig
from atft_gat_fan.config.settings import RankVariables
from atft_gat_fan.errors import AtftError, ConfigError, RankError
from atft_gat_fan.training.ranks import Ranks

T = TypeVar("T")

TRY_AGAIN = 75
"""Exit code where nothing is known to be wrong but that a rank is gone: the same command goes on."""
GLANCE, BEAT = 0.05, 1.0
"""Seconds between two looks for rank 0, and between two signs of life of it where the time-out is not short."""
LOOK_BACK = timedelta(seconds=10)
"""How long the last words of a rank are asked for, where the process that keeps them may be gone."""
LINGER = 5.0
"""Seconds that rank 0 waits for the others to have heard why it ended: its process may be what keeps the words."""
ENDED, LEFT, ALIVE = "ended", "left", "alive"


class ProcessRanks(Ranks):
    """One of several processes. Use as a context manager: what is raised inside is left for the others as the reason.

    Every agreement raises RankError where another rank has ended, or was not heard of for `timeout` seconds.
    """

    def __init__(self, rank: int, size: int, store: Store, timeout: int) -> None:
        self.rank, self.size = rank, size
        self._store, self._timeout = store, timeout
        self._open = True
        self._turns, self._beaten = 0, 0.0

    @contextmanager
    def answered(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:  # what torch.distributed raises, its own errors among them
            raise self._lost(_in_short(error)) from error

    def sum(self, values: Tensor) -> Tensor:
        with self.answered():
            dist.all_reduce(values)
        return values

    def gather(self, content: str) -> list[str]:
        # Not torch's all_gather_object, which unpickles what it is sent.
        own = torch.frombuffer(bytearray(content.encode() + b"\n"), dtype=torch.uint8)
        lengths = self.sum(torch.tensor([len(own) if rank == self.rank else 0 for rank in range(self.size)])).tolist()
        padded = torch.zeros(max(lengths), dtype=torch.uint8)
        padded[: len(own)] = own
        all_of_them = [torch.empty_like(padded) for _ in range(self.size)]
        with self.answered():
            dist.all_gather(all_of_them, padded)
        contents = zip(all_of_them, lengths, strict=True)
        return [each[: length - 1].numpy().tobytes().decode() for each, length in contents]

    def beat(self) -> None:
        if not self.first or time.monotonic() - self._beaten < min(BEAT, self._timeout / 4):
            return
        self._beaten = time.monotonic()
        with self.answered():
            self._store.add(ALIVE, 1)
            if self._store.check([ENDED]):
                raise RuntimeError("another rank ended while rank 0 was at work for all")

    def first_then_others(self, work: Callable[[], T], poll: Callable[[], None]) -> T:
        self._turns += 1
        turn = f"turn {self._turns}"
        if not self.first:
            self._wait_for(turn, poll)
            return work()
        result = work()
        with self.answered():
            self._store.set(turn, "done")
        return result

    def part(self) -> None:
        self.meet()
        self._close()

    def _wait_for(self, turn: str, poll: Callable[[], None]) -> None:
        alive, since = 0, time.monotonic()
        while True:
            poll()
            with self.answered():
                if self._store.check([turn]):
                    return
                if self._store.check([ENDED]):
                    raise RuntimeError("rank 0 ended before it was done")
                sign = self._store.add(ALIVE, 0)
                if sign != alive:
                    alive, since = sign, time.monotonic()
                elif time.monotonic() - since > self._timeout:
                    raise RuntimeError(f"nothing was heard of rank 0 for {self._timeout} s")
            time.sleep(GLANCE)

    def _lost(self, found: str) -> RankError:
        reason = self._last_words()
        if reason is None:
            return RankError(
                f"expected all {self.size} processes of this training, found that one is gone or was silent for "
                f"{self._timeout} s (distributed.timeout): {found}. What was saved is kept: start the same command "
                "again to resume",
                TRY_AGAIN,
            )
        rank, exit_code, message = reason
        return RankError(f"ended with rank {rank} of {self.size}, which says: {message}", exit_code)

    def _last_words(self) -> tuple[int, int, str] | None:
        """Of the rank that ended first: its number, exit code and message. None of one that was killed."""
        with suppress(RuntimeError):  # the store may have been a part of what is gone
            self._store.set_timeout(LOOK_BACK)
            if self._store.check([ENDED]):
                rank, exit_code, message = json.loads(self._store.get(ENDED))
                return rank, exit_code, message
        return None

    def _leave(self, error: BaseException) -> None:
        """End before the others do, and tell them why."""
        with suppress(RuntimeError):  # they will see that this process is gone
            self._store.set_timeout(LOOK_BACK)
            if not isinstance(error, RankError):  # that is only passed on
                words = json.dumps([self.rank, _exit_code(error), str(error) or type(error).__name__])
                self._store.compare_set(ENDED, "", words)
            self._store.add(LEFT, 1)
        self._close()
        if self.first:
            self._linger()

    def _linger(self) -> None:
        until = time.monotonic() + LINGER
        with suppress(RuntimeError):
            while self._store.check([ENDED]) and self._store.add(LEFT, 0) < self.size and time.monotonic() < until:
                time.sleep(GLANCE)

    def _close(self) -> None:
        self._open = False
        dist.destroy_process_group()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._open:
            return
        if error is not None:
            self._leave(error)
        else:
            self.part()


def open_ranks(config: DistributedConfig, variables: RankVariables, device: torch.device) -> Ranks:
    """Meet the other processes that torchrun started; by itself where there are none.

    With a GPU, that of this process's number on its machine becomes the current one. Raises ConfigError where
    `variables` are not complete, a GPU is lacking, or others were expected and there are none; RankError where the
    others do not come.
    """
    if variables.world_size == 1:
        if config.strategy != "auto":
            raise ConfigError(
                f"expected several processes (distributed.strategy={config.strategy}), found one; start it with "
                "`torchrun --nproc-per-node N -m atft_gat_fan.cli train …`, or use distributed.strategy=auto"
            )
        return Ranks()
    if variables.missing or variables.rank >= variables.world_size:
        found = f"RANK={variables.rank}" if not variables.missing else f"no {', '.join(variables.missing)}"
        raise ConfigError(
            f"expected the variables that torchrun sets for WORLD_SIZE={variables.world_size} processes, found "
            f"{found}; start it with torchrun, or unset WORLD_SIZE"
        )
    backend = "gloo"
    if device.type == "cuda":
        backend = "cpu:gloo,cuda:nccl"
        _take_gpu(variables)
    return _met(config.timeout, variables, backend)


def _take_gpu(variables: RankVariables) -> None:
    if variables.local_rank >= torch.cuda.device_count():
        raise ConfigError(
            f"expected a GPU for each process, found {torch.cuda.device_count()} for the one of LOCAL_RANK="
            f"{variables.local_rank}; start as many processes a machine as it has GPUs, or use run.device=cpu"
        )
    torch.cuda.set_device(variables.local_rank)


def _met(seconds: int, variables: RankVariables, backend: str) -> ProcessRanks:
    rank, size, timeout = variables.rank, variables.world_size, timedelta(seconds=seconds)
    try:
        # torch's own reading of the variables: whether torchrun keeps the store or rank 0 does is between those two.
        store, *_ = next(rendezvous(f"env://?rank={rank}&world_size={size}", timeout=timeout))
        group = PrefixStore("group", store)
        dist.init_process_group(backend, store=group, rank=rank, world_size=size, timeout=timeout)
    except (RuntimeError, ValueError) as error:
        raise RankError(
            f"expected {size} processes to meet at MASTER_ADDR:MASTER_PORT within {seconds} s (distributed.timeout), "
            f"found: {_in_short(error)}; start all of them, with addresses that "
            "all can reach",
            TRY_AGAIN,
        ) from error
    return ProcessRanks(rank, size, PrefixStore("atft", store), seconds)


def _exit_code(error: BaseException) -> int:
    return error.exit_code if isinstance(error, AtftError) else 1


def _in_short(error: Exception) -> str:
    """The fact in what torch and gloo say, without places in their code and without advice."""
    line = (str(error) or type(error).__name__).splitlines()[0]
    return re.sub(r"^\[/[^]]*\] ", "", line).split(". ")[0]
