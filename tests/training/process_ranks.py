"""Ranks as processes forked from the test, over gloo: for what torch does between them by itself."""

import os
import socket
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from atft_gat_fan.config.schema import DistributedConfig
from atft_gat_fan.config.settings import Environment
from atft_gat_fan.training.process_ranks import open_ranks
from atft_gat_fan.training.ranks import Ranks

TIMEOUT, PATIENCE = 60, 240
"""Seconds that a rank waits for the others, and that the test waits for all of them."""


@dataclass(frozen=True)
class Ended:
    """What a rank returned, or what it raised, in words; or the signal that killed it."""

    value: Any = None
    error: str = ""
    signal: int = 0


def on_processes(size: int, work: Callable[[Ranks], Any], folder: Path, strategy: str = "fsdp") -> list[Ended]:
    """What became of `work` on each of `size` ranks; it may return whatever pickles. One rank is this process."""
    if size == 1:
        return [Ended(work(Ranks()))]
    folder.mkdir(parents=True, exist_ok=True)
    port, until = _free_port(), time.monotonic() + PATIENCE
    processes = [_forked(rank, size, port, work, folder / f"{port}_{rank}.pt", strategy) for rank in range(size)]
    endings: dict[int, int] = {}
    while len(endings) < size and time.monotonic() < until:
        for rank, process in enumerate(processes):
            if rank not in endings and (ended := os.waitpid(process, os.WNOHANG)) != (0, 0):
                endings[rank] = os.waitstatus_to_exitcode(ended[1])
        time.sleep(0.005)
    for rank, process in enumerate(processes):
        if rank not in endings:
            os.kill(process, 9)
            os.waitpid(process, 0)
    assert len(endings) == size, f"ranks that hang: {set(range(size)) - endings.keys()}"
    return [
        Ended(signal=-endings[rank])
        if endings[rank] < 0
        else torch.load(folder / f"{port}_{rank}.pt", weights_only=False)
        for rank in range(size)
    ]


def values(endings: list[Ended]) -> list[Any]:
    """What all ranks returned; none of them failed."""
    assert not any(ended.error or ended.signal for ended in endings), endings
    return [ended.value for ended in endings]


def _forked(rank: int, size: int, port: int, work: Callable[[Ranks], Any], file: Path, strategy: str) -> int:
    process = os.fork()
    if process:
        return process
    try:
        numbers = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": size, "MASTER_PORT": port}
        os.environ.update({name: str(value) for name, value in numbers.items()}, MASTER_ADDR="127.0.0.1")
        config = DistributedConfig(strategy=strategy, timeout=TIMEOUT)
        try:
            with open_ranks(config, Environment.read().ranks, torch.device("cpu")) as ranks:
                ended = Ended(work(ranks))
        except BaseException as error:  # noqa: BLE001 - handed to the test
            traceback.print_exc()
            ended = Ended(error=f"{type(error).__name__}: {error}")
        torch.save(ended, file)
    except BaseException:  # noqa: BLE001 - the child must not go on as its parent
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def _free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port: int = listening.getsockname()[1]
        return port
