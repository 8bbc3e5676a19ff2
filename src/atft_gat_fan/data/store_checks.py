"""All that is wrong with a store's files, from reading every byte of them."""

import hashlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Shaped

from atft_gat_fan.data.store_manifest import Shard, open_shard, read_manifest
from atft_gat_fan.data.store_shard import PER_DAY, Layout, Ranges, block_problem, format_of, framing_problem
from atft_gat_fan.errors import DataError, Problem

READ_BYTES = 1 << 20


@dataclass(frozen=True)
class _Section:
    """Bytes of a file that share a checksum, and what to say where they do not match it."""

    descriptor: int
    ranges: Ranges
    sha256: str
    problem: Problem

    @property
    def nbytes(self) -> int:
        return sum(stop - start for start, stop in self.ranges)

    def matches(self) -> bool:
        # Read, not mapped: a file that is cut short meanwhile ends the read and not the process.
        found, buffer = hashlib.sha256(), memoryview(bytearray(READ_BYTES))
        for start, stop in self.ranges:
            while start < stop:
                try:
                    count = os.preadv(self.descriptor, [buffer[: min(READ_BYTES, stop - start)]], start)
                except OSError:
                    return False  # a bad sector is damage, and there may be more to report
                if not count:
                    return False
                found.update(buffer[:count])
                start += count
        return found.hexdigest() == self.sha256


def check_store(folder: Path, progress: Callable[[float], None] | None = None) -> None:
    """Verifies the manifest and every byte of the files, on all cores; `progress` is told the share that is done.

    Raises DataError with all damage: file, column, block and dates.
    """
    manifest = read_manifest(folder)
    layout = Layout(manifest.feature_names, manifest.horizons)
    days = np.array(manifest.days, dtype="datetime64[D]")
    problems = find_damage(folder, manifest.shards, layout, days, progress)
    if problems:
        raise DataError(problems, source=str(folder))


def find_damage(
    folder: Path,
    shards: Sequence[Shard],
    layout: Layout,
    days: Shaped[np.ndarray, " days"],
    progress: Callable[[float], None] | None = None,
) -> list[Problem]:
    """What is wrong with the files of `shards`: first those that cannot be opened; `days` are the panel's."""
    problems: list[Problem] = []
    sections: list[_Section] = []
    with ExitStack() as opened, ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="check") as executor:
        for shard in shards:
            try:
                descriptor = open_shard(folder, shard)
                opened.callback(os.close, descriptor)
                sections += _sections(folder, shard, descriptor, layout, days[shard.first_held : shard.stop])
            except DataError as error:
                problems += error.problems
        done, total = 0, sum(section.nbytes for section in sections)
        for section, matches in zip(sections, executor.map(_Section.matches, sections), strict=True):
            if not matches:
                problems.append(section.problem)
            done += section.nbytes
            if progress is not None:
                progress(done / total)
    return problems


def _sections(
    folder: Path, shard: Shard, descriptor: int, layout: Layout, dates: Shaped[np.ndarray, " held"]
) -> list[_Section]:
    form, path = format_of(folder, shard, layout), folder / shard.file
    framing = _Section(descriptor, form.framing(shard.nbytes), shard.framing, framing_problem(path))
    blocks = [
        _Section(descriptor, [form.block_range(name, block)], sha256, block_problem(path, name, block, dates))
        for name in PER_DAY
        for block, sha256 in enumerate(shard.blocks[name])
    ]
    return [framing, *blocks]
