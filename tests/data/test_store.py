import json
import os
import resource
import signal
import subprocess
import sys
import time
from dataclasses import fields
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from numpy.testing import assert_array_equal

from atft_gat_fan.data.batches import as_tensor
from atft_gat_fan.data.store import Block, Store, first_predictable, write_store
from atft_gat_fan.errors import ConfigError, DataError, StorageError


def arrays(block: Block) -> dict[str, np.ndarray]:
    return {field.name: getattr(block, field.name) for field in fields(block)}


def shard_files(store: Store) -> list[Path]:
    return sorted(store.path.glob("*.arrow"))


def flip_a_bit(path: Path, position: int) -> None:
    body = bytearray(path.read_bytes())
    body[position] ^= 1
    path.write_bytes(body)


def test_every_value_comes_back_and_what_was_not_there_is_missing(make_frame, make_store):
    frame = make_frame()
    store = make_store(frame, shard_days=7)
    assert store.codes == tuple(f"C{i:02d}" for i in range(6))
    assert_array_equal(store.days, frame["date"].unique().sort().to_numpy())
    whole = {name: store.column(name) for name in ("features", "labels", "returns", "dollar_volume", "present")}
    seen = np.zeros_like(whole["present"])
    for row in frame.iter_rows(named=True):
        cell = np.searchsorted(store.days, np.datetime64(row["date"])), store.codes.index(row["code"])
        seen[cell] = True
        stored = [
            *whole["features"][cell],
            *whole["labels"][cell],
            whole["returns"][cell],
            whole["dollar_volume"][cell],
        ]
        given = [row[name] for name in ("f0", "f1", "f2", "target_1d", "target_3d", "returns_1d", "dollar_volume")]
        assert_array_equal(stored, np.array(given, dtype=np.float32))
    assert 0 < seen.sum() < seen.size, "the panel has missing stock-days"
    assert_array_equal(whole["present"], seen)
    assert np.isnan(whole["features"][~seen]).all()
    assert np.isnan(whole["labels"][~seen]).all()


def test_what_a_store_says_of_itself_survives(make_frame, make_store):
    make_store(make_frame())
    store = make_store(make_frame(), max_window=9)  # replaces the first
    assert store.feature_names == ("f0", "f1", "f2")
    assert store.horizons == (1, 3)
    assert store.static_categories == ("banks", "mines")
    assert_array_equal(store.static, [1, 2, 1, 0, 0, 0])
    assert (store.max_window, store.fingerprint) == (9, "abc")
    assert store.metadata == {"source": "random", "counts": [1, 2]}
    store.check()


def test_row_order_does_not_matter(make_frame, make_store):
    frame = make_frame()
    ordered, shuffled = (
        make_store(frame, name="a"),
        make_store(frame.sample(fraction=1.0, shuffle=True, seed=1), name="b"),
    )
    assert (ordered.path / "manifest.json").read_bytes() == (shuffled.path / "manifest.json").read_bytes()


@pytest.mark.parametrize("shard_days", [3, 7, 16])
def test_blocks_are_the_same_whatever_the_shards(make_frame, make_store, shard_days):
    frame = make_frame()
    one, many = make_store(frame, name="one"), make_store(frame, name="many", shard_days=shard_days, max_window=6)
    assert len(shard_files(many)) > 1
    for window, count in ((1, 1), (4, 3), (6, 1), (2, 5)):
        assert many.breaks(count, window) == ()
        for first in range(first_predictable(window), len(one.days) - count + 1):
            expected, found = arrays(one.block(first, count, window)), arrays(many.block(first, count, window))
            assert expected["features"].shape[0] == window + count - 1
            for name, array in expected.items():
                assert_array_equal(found[name], array)


def test_longer_spans_than_shards_repeat_break_at_their_first_days(make_frame, make_store):
    store = make_store(make_frame(), shard_days=10, max_window=6)
    assert store.breaks(count=4, window=4) == (10, 20)
    assert [store.shard_of(day) for day in (0, 9, 10, 29)] == [0, 0, 1, 2]
    assert_array_equal(store.block(10, 10, 6).returns, store.column("returns", slice(5, 20)))
    with pytest.raises(AssertionError, match="not held"):
        store.block(6, 8, 4)


def test_tensors_of_a_block_lie_inside_the_map_of_its_file(make_frame, make_store):
    store = make_store(make_frame(), shard_days=10)
    for first in (4, 12, 25):
        maps = {}
        block = store.block(first, 3, 5)
        for line in Path("/proc/self/maps").read_text().splitlines():
            if line.endswith(str(shard_files(store)[store.shard_of(first + 2)])):
                start, stop = (int(end, 16) for end in line.split()[0].split("-"))
                maps[start] = stop
        assert maps
        for name, array in arrays(block).items():
            if name == "stocks":
                continue
            tensor = as_tensor(array)
            assert tensor.is_contiguous()
            assert tensor.shape == array.shape
            begin, end = tensor.data_ptr(), tensor.data_ptr() + tensor.nbytes
            assert any(start <= begin and end <= stop for start, stop in maps.items()), name
            assert not array.flags.writeable


def test_days_without_a_whole_window_are_refused(make_frame, make_store):
    store = make_store(make_frame())
    for first, count in ((3, 1), (29, 2), (-1, 1)):
        with pytest.raises(DataError, match="expected days 4 to 29") as error:
            store.block(first, count, 5)
        assert error.value.exit_code == 65
    with pytest.raises(ConfigError, match="at most 64, got 65"):
        store.block(29, 1, 65)


def test_a_folder_without_a_manifest_is_not_a_store(make_frame, make_store, tmp_path):
    store = make_store(make_frame())
    (store.path / "manifest.json").unlink()
    for path in (store.path, tmp_path / "nothing"):
        with pytest.raises(DataError, match=str(path)) as error:
            Store.open(path)
        assert error.value.exit_code == 65


WRITE_FOREVER = """
import sys, polars as pl
from pathlib import Path
from atft_gat_fan.data.store import write_store
frame = pl.read_ipc(sys.argv[1])
print("ready", flush=True)
while True:
    write_store(Path(sys.argv[2]), frame, feature_names=["f0", "f1", "f2"], horizons=[1, 3], static=None, metadata={},
                fingerprint="", shard_days=3)
"""


def test_a_killed_writer_leaves_no_store_or_a_whole_one(make_frame, tmp_path):
    make_frame(60, 40).write_ipc(tmp_path / "frame.arrow")
    target = tmp_path / "store"
    command = [sys.executable, "-c", WRITE_FOREVER, str(tmp_path / "frame.arrow"), str(target)]
    for wait in (0.0, 0.05, 0.11):
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            assert process.stdout.readline() == b"ready\n"
            time.sleep(wait)
            process.send_signal(signal.SIGKILL)
        left = [path for path in tmp_path.iterdir() if path.is_dir() and path.suffix in (".partial", ".old")]
        if target.exists():
            Store.open(target).check()
        for path in left:
            if not (path / "manifest.json").exists():
                with pytest.raises(DataError):
                    Store.open(path)


def test_a_full_disk_is_an_error_and_the_store_that_was_there_stays(make_frame, make_store, tmp_path):
    before = make_store(make_frame())
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        with pytest.raises(StorageError, match=str(before.path)) as error:
            make_store(make_frame(300, 60))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert error.value.exit_code == 74
    assert os.listdir(tmp_path) == ["store"]
    Store.open(before.path).check()


def test_a_folder_that_is_not_a_store_is_never_replaced(make_frame, make_store, tmp_path):
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "thesis.txt").write_text("years of work")
    with pytest.raises(StorageError, match="something else"):
        make_store(make_frame())
    assert (tmp_path / "store" / "thesis.txt").exists()


@pytest.mark.parametrize("where", [0.0, 0.3, 0.9, 0.9999])
def test_a_flipped_bit_is_named_by_check_and_by_the_first_block(make_frame, make_store, where):
    store = make_store(make_frame(), shard_days=10, max_window=6)
    damaged = shard_files(store)[1]
    flip_a_bit(damaged, int(where * damaged.stat().st_size))
    with pytest.raises(DataError, match=damaged.name) as error:
        store.check()
    assert not any(other.name in str(error.value) for other in shard_files(store) if other != damaged)
    fresh = Store.open(store.path)
    fresh.block(5, 2, 5)
    with pytest.raises(DataError, match=damaged.name):
        fresh.block(12, 2, 5)


def test_a_truncated_or_missing_file_is_named_on_open(make_frame, make_store):
    store = make_store(make_frame(), shard_days=10)
    short, gone = shard_files(store)[:2]
    os.truncate(short, short.stat().st_size - 1)
    gone.unlink()
    with pytest.raises(DataError) as error:
        Store.open(store.path)
    first, second = map(str, error.value.problems)
    assert short.name in first
    assert "truncated" in first
    assert gone.name in second


def test_a_file_cut_short_under_a_reader_is_named_before_it_is_touched(make_frame, make_store):
    store = make_store(make_frame())
    store.block(10, 2, 5)
    (file,) = shard_files(store)
    os.truncate(file, 100)
    with pytest.raises(DataError, match=f"truncated.*{file.name}"):
        store.block(10, 2, 5)


def edit_manifest(store: Store, edit) -> Path:
    path = store.path / "manifest.json"
    body = json.loads(path.read_text())
    edit(body)
    path.write_text(json.dumps(body))
    return path


@pytest.mark.parametrize("name", ["../outside.arrow", "/etc/passwd", "a/../../b", "..", ""])
def test_a_manifest_that_points_outside_its_folder_is_refused(make_frame, make_store, name):
    store = make_store(make_frame())
    path = edit_manifest(store, lambda body: body["shards"][0].update(file=name))
    with pytest.raises(DataError, match="inside the store") as error:
        Store.open(store.path)
    assert str(path) in str(error.value)


def test_a_link_that_leaves_the_folder_is_refused(make_frame, make_store, tmp_path):
    store = make_store(make_frame())
    (file,) = shard_files(store)
    file.rename(tmp_path / file.name)
    file.symlink_to(tmp_path / file.name)
    with pytest.raises(DataError, match="inside the store"):
        Store.open(store.path)


def test_another_version_or_an_edited_or_damaged_manifest_is_refused(make_frame, make_store):
    store = make_store(make_frame())
    path = store.path / "manifest.json"
    whole = path.read_bytes()
    for edit, message in (
        (lambda body: body.update(version=99), "version 2, found 99"),
        (lambda body: body["codes"].reverse(), "checksum"),
        (lambda body: body.pop("days"), "days"),
    ):
        edit_manifest(store, edit)
        with pytest.raises(DataError, match=message) as error:
            Store.open(store.path)
        assert str(path) in str(error.value)
        path.write_bytes(whole)
    path.write_bytes(whole[:-20])
    with pytest.raises(DataError, match="damaged"):
        Store.open(store.path)


def test_frames_that_cannot_be_stored_are_refused_with_all_their_problems(make_frame, make_store, tmp_path):
    frame = make_frame()
    bad = pl.concat([frame, frame[:2]]).with_columns(
        f1=pl.when(pl.col("date") == frame["date"][0], pl.col("code") == "C00").then(np.inf).otherwise("f1")
    )
    with pytest.raises(DataError) as error:
        make_store(bad)
    duplicate, infinite = map(str, error.value.problems)
    assert "2020-01-01 C00" in duplicate
    assert "f1" in infinite
    assert "2020-01-01 C00" in infinite
    with pytest.raises(DataError, match="rows, found none"):
        make_store(frame[:0])
    with pytest.raises(DataError, match="dollar_volume"):
        make_store(frame.drop("dollar_volume"))
    assert not list(tmp_path.iterdir())


def test_values_too_large_for_float32_are_refused(make_frame, make_store):
    frame = make_frame().with_columns(f0=pl.col("f0").cast(pl.Float64) * 1e39)
    with pytest.raises(DataError, match="f0"):
        make_store(frame)


def test_stores_need_a_name_for_each_column(make_frame, tmp_path):
    with pytest.raises(DataError, match="target_2d"):
        write_store(
            tmp_path / "s", make_frame(), feature_names=["f0"], horizons=[2], static=None, metadata={}, fingerprint=""
        )
