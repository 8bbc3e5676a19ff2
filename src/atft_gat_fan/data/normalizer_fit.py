"""Statistics of the training days in one streaming pass, kept in a file so that a resumed run reads them back."""

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import reduce
from pathlib import Path

import numpy as np
from jaxtyping import Int64

from atft_gat_fan.data.durable_files import replace_durably
from atft_gat_fan.data.normalizer import Normalizer
from atft_gat_fan.data.running_moments import RunningMoments
from atft_gat_fan.data.store import Store
from atft_gat_fan.errors import DataError, Problem, StorageError
from atft_gat_fan.untrusted import parse_json, read_plain

Progress = Callable[[float], None]
"""Told the share of the days that is done."""

DAYS_AT_A_TIME = 32
MOST_BYTES = 1 << 24
"""Of a file of statistics: some ten thousand features."""


def fit_normalizer(
    store: Store, days: Int64[np.ndarray, " days"], *, strict: bool, progress: Progress | None = None
) -> Normalizer:
    """Statistics of the known values of `days` (positions), the training days; nothing else is read.

    Each day's moments are computed by itself, by threads, and merged in the order of the days: the result depends
    neither on the number of threads nor on how the store is divided into files. Columns that are constant or empty on
    those days are dropped, or with `strict` refused: DataError, as when none is left.
    """
    assert len(days) > 0, "expected training days"
    moments = reduce(RunningMoments.merge, _daily_moments(store, days, progress))
    dropped = {
        name: "empty" if empty else "constant"
        for name, empty, constant in zip(store.feature_names, moments.count == 0, moments.constant, strict=True)
        if constant
    }
    if dropped and (strict or len(dropped) == len(store.feature_names)):
        where = f"{store.path}, {store.days[days[0]]} to {store.days[days[-1]]}"
        mend = "leave it out of data.features" + (", or set data.strict=false to drop it" if strict else "")
        raise DataError(
            [
                Problem(f"feature {name}: expected different values on the training days, found it {why}", where, mend)
                for name, why in dropped.items()
            ]
        )
    kept = ~moments.constant
    return Normalizer(
        input_names=store.feature_names,
        feature_names=tuple(name for name in store.feature_names if name not in dropped),
        mean=moments.mean[kept],
        std=moments.std[kept],
        counts=moments.count[kept],
        dropped=dropped,
    )


def kept_normalizer(
    file: Path, store: Store, days: Int64[np.ndarray, " days"], *, strict: bool, progress: Progress | None = None
) -> Normalizer:
    """`fit_normalizer`, read back from `file` where that holds the statistics of the same store and days.

    A file that is damaged or of other data is written anew: the same days give the same bits. Raises StorageError
    where it cannot be written.
    """
    key = _key(store, days, strict)
    found = _read(file, key)
    if found is not None:
        return found
    normalizer = fit_normalizer(store, days, strict=strict, progress=progress)
    body = {"key": key, "normalizer": normalizer.to_json()}
    try:
        replace_durably(file, json.dumps({**body, "sha256": _digest(body)}, indent=1, allow_nan=False).encode())
    except OSError as error:
        raise StorageError(f"{file}: cannot write: {error.strerror}; free space or choose another run.dir") from error
    return normalizer


def _daily_moments(
    store: Store, days: Int64[np.ndarray, " days"], progress: Progress | None
) -> Iterator[RunningMoments]:
    with ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="statistics") as threads:
        for first in range(0, len(days), DAYS_AT_A_TIME):
            yield from threads.map(lambda day: _moments(store, int(day)), days[first : first + DAYS_AT_A_TIME])
            if progress is not None:
                progress(min(1.0, (first + DAYS_AT_A_TIME) / len(days)))


def _moments(store: Store, day: int) -> RunningMoments:
    """Of the stocks present on a day alone: how many rows a file has for absent ones must not move a rounding."""
    block = store.block(day, 1, 1)
    return RunningMoments.of(block.features[0][block.present[0]])


def _key(store: Store, days: Int64[np.ndarray, " days"], strict: bool) -> str:
    """What the statistics depend on, as one SHA-256."""
    facts = [store.fingerprint, list(store.feature_names), np.datetime_as_string(store.days[days]).tolist(), strict]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def _read(file: Path, key: str) -> Normalizer | None:
    try:
        body = parse_json(read_plain(file, MOST_BYTES))
        sha256 = body.pop("sha256")
        if sha256 != _digest(body) or body["key"] != key:
            return None
        return Normalizer.from_json(body["normalizer"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):  # whatever is not a file of ours
        return None


def _digest(body: object) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
