"""How a training's process ended, and what that most often means. Imports no torch: the supervisor stays small."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

from atft_gat_fan.config.memory_levers import memory_levers
from atft_gat_fan.config.schema import Config
from atft_gat_fan.data.remote_copies import copies_in
from atft_gat_fan.data.store_manifest import MANIFEST, open_shard, read_manifest
from atft_gat_fan.errors import DataError, StorageError
from atft_gat_fan.signals import EXIT_CODES

KILLED, BUS_ERROR, SEGMENTATION_FAULT = (128 + number for number in (signal.SIGKILL, signal.SIGBUS, signal.SIGSEGV))
REQUEUE = EXIT_CODES[signal.SIGUSR1]


def exit_code(returncode: int) -> int:
    """As a shell counts: 128 + the signal's number for a process that a signal ended."""
    return 128 - returncode if returncode < 0 else returncode


def explain(code: int, config: Config) -> str:
    """What the exit code of a training says, with what can be done about it."""
    if code == KILLED:
        return (
            "killed by SIGKILL, most often by the kernel's out-of-memory killer (dmesg tells); "
            f"to need less: {levers_of(config)}"
        )
    if code == BUS_ERROR:
        return f"killed by SIGBUS, a mapped file could not be read: {'; '.join(store_findings(config))}"
    if code == SEGMENTATION_FAULT:
        return "killed by SIGSEGV, a fault in a native library or in the machine's memory"
    if code == REQUEUE:
        return "saved, and asked to be started again"
    return f"ended with exit code {code}"


def levers_of(config: Config) -> str:
    """What would lower the need for memory."""
    ema = {"improvements.use_ema": config.improvements.use_ema, "ema.enabled": config.ema.enabled}
    levers = memory_levers(
        batch_size=config.batch_size,
        accumulate=config.accumulate_grad_batches,
        online_normalization=config.improvements.online_normalization,
        gradient_checkpointing=config.gradient_checkpointing,
        ema_keys=[key for key, on in ema.items() if on],
    )
    return "; ".join(levers)


def store_findings(config: Config) -> list[str]:
    """What is wrong with the sizes of the files that the run maps, or that nothing is: a glance, not every byte."""
    stores = list(_stores(config))
    problems = [str(problem) for store in stores for problem in _size_problems(store)]
    if problems:
        return [f"the store is damaged: {problem}" for problem in problems]
    named = ", ".join(str(store) for store in stores) or f"none in {config.data.cache}"
    return [
        f"the files of the store ({named}) have their sizes now, but one may have been truncated or be on a failing "
        "disk; check every byte with `atft data check STORE`"
    ]


def _stores(config: Config) -> Iterator[Path]:
    """The source itself where it is a store, else those in the cache: which of them is this run's only polars knows."""
    source, cache = Path(config.data.source).expanduser(), Path(config.data.cache)
    folders = [source] if (source / MANIFEST).is_file() else [*sorted(cache.glob("*")), *copies_in(cache)]
    return (folder for folder in folders if (folder / MANIFEST).is_file())


def _size_problems(store: Path) -> Iterator[Exception]:
    try:
        shards = read_manifest(store).shards
    except (DataError, StorageError) as error:
        yield error
        return
    for shard in shards:
        try:
            descriptor = open_shard(store, shard)
        except (DataError, StorageError) as error:
            yield error
        else:
            os.close(descriptor)
