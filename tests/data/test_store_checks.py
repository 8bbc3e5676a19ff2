"""Damage: any byte of a store, named by a check and by whoever first reads it, and by nobody else."""

import errno
import os
import re
from functools import partial, partialmethod
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from atft_gat_fan.data.store import Store
from atft_gat_fan.data.store_checks import check_store
from atft_gat_fan.data.store_shard import BLOCK_DAYS
from atft_gat_fan.errors import DataError, StorageError

COLUMNS = ("features", "labels", "returns", "dollar_volume", "present")
SHARD_DAYS, MAX_WINDOW, NUM_DAYS = 75, 12, 120
LAST = slice(SHARD_DAYS - MAX_WINDOW + 1, NUM_DAYS)
"""Days that the second of the two files holds: a block of 32 and one of 24."""


@pytest.fixture
def store(make_frame, make_store) -> Store:
    return make_store(make_frame(NUM_DAYS), shard_days=SHARD_DAYS, max_window=MAX_WINDOW)


def last_file(store: Store) -> Path:
    return sorted(store.path.glob("*.arrow"))[1]


def column_bytes(file: Path) -> dict[str, tuple[int, int, int]]:
    """Per column: first byte, bytes a day, days; as Arrow tells them, not our own reader."""
    with pa.memory_map(str(file)) as mapped:
        whole = mapped.read_buffer()
        batch = pa.ipc.open_file(whole).get_batch(0)
        found = {}
        for name in batch.schema.names:
            values = batch.column(name).values.buffers()[1]
            found[name] = values.address - whole.address, values.size // batch.num_rows, batch.num_rows
        return found


def flip(file: Path, position: int, bit: int = 0) -> None:
    with file.open("r+b") as opened:
        opened.seek(position)
        (byte,) = opened.read(1)
        opened.seek(position)
        opened.write(bytes([byte ^ (1 << bit)]))


@pytest.mark.parametrize("block", [0, 1])
@pytest.mark.parametrize("column", COLUMNS)
def test_a_flipped_bit_is_named_with_its_column_block_and_dates_and_harms_no_other(store, column, block):
    file = last_file(store)
    start, row, num_days = column_bytes(file)[column]
    days = range(LAST.start + block * BLOCK_DAYS, min(LAST.start + (block + 1) * BLOCK_DAYS, LAST.stop))
    assert num_days == LAST.stop - LAST.start
    where = (
        rf"damaged.*{file.name}, column {column}, block {block}, {store.days[days[0]]} to {store.days[days[-1]]}\]"
        ".*data build"
    )
    rng = np.random.default_rng(block)
    first, behind = (start + (day - LAST.start) * row for day in (days[0], days[-1] + 1))
    for position in (first, int(rng.integers(first, behind)), behind - 1):
        bit = int(rng.integers(8))
        flip(file, position, bit)
        with pytest.raises(DataError, match=where) as error:
            store.check()
        assert len(error.value.problems) == 1
        fresh = Store.open(store.path)
        fresh.block(SHARD_DAYS - 1, 1, 5)  # of the other file
        others = [name for name in COLUMNS if name != column]
        for other in others:
            fresh.column(other)
        for day in range(SHARD_DAYS, NUM_DAYS):
            if day in days:
                for _ in range(2):
                    with pytest.raises(DataError, match=where) as error:
                        fresh.block(day, 1, 1)
                    assert len(error.value.problems) == 1
                with pytest.raises(DataError, match=where):
                    fresh.column(column, slice(day, day + 1))
            else:
                fresh.block(day, 1, 1)
        flip(file, position, bit)
    store.check()
    for day in range(SHARD_DAYS, NUM_DAYS):
        fresh.block(day, 1, 1)


def test_a_flipped_bit_outside_the_columns_is_named_too(store):
    file = last_file(store)
    covered = np.zeros(file.stat().st_size, np.bool_)
    for start, row, num_days in column_bytes(file).values():
        covered[start : start + row * num_days] = True
    outside = np.flatnonzero(~covered)
    header, footer = outside[outside < covered.argmax()], outside[outside > np.flatnonzero(covered)[-1]]
    gaps = np.setdiff1d(outside, np.concatenate([header, footer]))
    assert len(header) > 100
    assert len(footer) > 100
    rng = np.random.default_rng(0)
    for position in map(int, [*rng.choice(header, 10), *gaps, *rng.choice(footer, 10), 0, len(covered) - 1]):
        flip(file, position)
        with pytest.raises(DataError, match=f"damaged.*{file.name}, Arrow's framing") as error:
            store.check()
        assert len(error.value.problems) == 1
        fresh = Store.open(store.path)
        fresh.block(40, 20, 12)
        with pytest.raises(DataError, match=f"damaged.*{file.name}, Arrow's framing"):
            fresh.block(SHARD_DAYS, 1, 5)
        flip(file, position)
    store.check()


def test_a_flipped_bit_of_the_manifest_is_named(store):
    path = store.path / "manifest.json"
    rng = np.random.default_rng(0)
    for position in map(int, rng.choice(path.stat().st_size, 100, replace=False)):
        bit = int(rng.integers(8))
        flip(path, position, bit)
        for read in (Store.open, check_store, lambda _: store.check()):
            with pytest.raises(DataError, match=str(path)):
                read(store.path)
        flip(path, position, bit)
    store.check()


def test_a_check_reports_all_damage_at_once(store):
    short, file = sorted(store.path.glob("*.arrow"))
    columns = column_bytes(file)
    for column in ("present", "features"):
        start, row, num_days = columns[column]
        flip(file, start)
        flip(file, start + num_days * row - 1)
    flip(file, 3)
    os.truncate(short, short.stat().st_size - 1)
    with pytest.raises(DataError) as error:
        store.check()
    truncated, *problems = map(str, error.value.problems)
    assert truncated.startswith("truncated")
    assert str(short) in truncated
    assert [re.split(r"\]|, 20", problem.split(f"{file}, ")[1])[0] for problem in problems] == [
        "Arrow's framing",
        "column features, block 0",
        "column features, block 1",
        "column present, block 0",
        "column present, block 1",
    ]
    short.unlink()
    with pytest.raises(DataError, match=f"found none.*{short.name}"):
        store.check()


def test_progress_of_a_check_is_the_share_of_the_bytes(store):
    shares: list[float] = []
    store.check(shares.append)
    assert shares == sorted(shares)
    assert 0 < shares[0] < 0.5
    assert shares[-1] == 1.0


def test_a_truncated_or_missing_file_is_named_on_open(store):
    gone, short = sorted(store.path.glob("*.arrow"))
    os.truncate(short, short.stat().st_size - 1)
    gone.unlink()
    with pytest.raises(DataError) as error:
        Store.open(store.path)
    first, second = map(str, error.value.problems)
    assert gone.name in first
    assert short.name in second
    assert "truncated" in second
    assert error.value.exit_code == 65


@pytest.mark.parametrize("size", [100, 10**6])
def test_a_file_of_another_size_under_a_reader_is_named_before_it_is_touched(store, size):
    file = last_file(store)
    store.block(NUM_DAYS - 5, 2, 5)
    os.truncate(file, size)
    what = "truncated" if size == 100 else "longer"
    for read in (lambda: store.block(NUM_DAYS - 5, 2, 5), lambda: store.column("returns"), store.check):
        with pytest.raises(DataError, match=f"{what}.*{size}.*{file.name}"):
            read()
    store.block(40, 2, 5)


def test_a_file_cut_short_during_a_check_is_damaged(store, monkeypatch):
    """Read and not mapped: the kernel would kill the process at the first page that is gone."""
    file = last_file(store)
    read = os.preadv

    def cut_first(*arguments: Any) -> int:
        os.truncate(file, 0)
        return read(*arguments)

    monkeypatch.setattr(os, "preadv", cut_first)
    with pytest.raises(DataError, match=file.name):
        store.check()


def test_a_bad_sector_is_damage(store, monkeypatch):
    file = last_file(store)
    start, row, _ = column_bytes(file)["returns"]
    read = os.preadv

    def fail(descriptor: int, buffers: Any, offset: int) -> int:
        if offset == start + BLOCK_DAYS * row:
            raise OSError(errno.EIO, "Input/output error")
        return read(descriptor, buffers, offset)

    monkeypatch.setattr(os, "preadv", fail)
    with pytest.raises(DataError, match=f"{file.name}, column returns, block 1") as error:
        store.check()
    assert len(error.value.problems) == 1


@pytest.mark.parametrize("name", ["manifest.json", "days-"])
def test_a_file_that_may_not_be_read_is_a_storage_error(store, monkeypatch, name):
    """Whoever may read all files runs tests too, so that permissions alone show nothing."""
    allowed = {"open": os.open, "read_bytes": Path.read_bytes}

    def refuse(path: Path, *arguments: Any, call: str, **named: Any) -> Any:
        if Path(path).name.startswith(name):
            raise PermissionError(errno.EACCES, "Permission denied")
        return allowed[call](path, *arguments, **named)

    monkeypatch.setattr(os, "open", partial(refuse, call="open"))
    monkeypatch.setattr(Path, "read_bytes", partialmethod(refuse, call="read_bytes"))
    for read in (Store.open, check_store):
        with pytest.raises(StorageError, match=f"{store.path / name}.*Permission denied") as error:
            read(store.path)
        assert error.value.exit_code == 74
