import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from numpy.testing import assert_array_equal

from atft_gat_fan.data.batches import as_tensor
from atft_gat_fan.data.store import Block, Store, first_predictable, write_store
from atft_gat_fan.data.store_checks import check_store
from atft_gat_fan.data.store_manifest import read_manifest, write_manifest
from atft_gat_fan.errors import ConfigError, DataError


def arrays(block: Block) -> dict[str, np.ndarray]:
    return {field.name: getattr(block, field.name) for field in fields(block)}


def shard_files(store: Store) -> list[Path]:
    return sorted(store.path.glob("*.arrow"))


COLUMNS = ("features", "labels", "returns", "dollar_volume", "present")


def dense(frame: pl.DataFrame) -> dict[str, np.ndarray]:
    """The oracle: every value of a frame at its day and stock, one by one."""
    days, codes = frame["date"].unique().sort().to_list(), frame["code"].unique().sort().to_list()
    cells = len(days), len(codes)
    found = {
        "features": np.full((*cells, 3), np.nan, np.float32),
        "labels": np.full((*cells, 2), np.nan, np.float32),
        "returns": np.full(cells, np.nan, np.float32),
        "dollar_volume": np.full(cells, np.nan, np.float32),
        "present": np.zeros(cells, np.bool_),
    }
    for row in frame.fill_null(np.nan).iter_rows(named=True):
        cell = days.index(row["date"]), codes.index(row["code"])
        found["features"][cell] = [row["f0"], row["f1"], row["f2"]]
        found["labels"][cell] = [row["target_1d"], row["target_3d"]]
        found["returns"][cell] = row["returns_1d"]
        found["dollar_volume"][cell] = row["dollar_volume"]
        found["present"][cell] = True
    return found


def listed(frame: pl.DataFrame, seed: int) -> pl.DataFrame:
    """The frame with all stocks but C00 listed for one stretch of days each, some for a day or two."""
    rng = np.random.default_rng(seed)
    days = frame["date"].unique().sort()
    pieces = [frame.filter(pl.col("code") == "C00")]
    for code in frame["code"].unique().sort()[1:]:
        first = int(rng.integers(len(days)))
        last = min(len(days) - 1, first + int(rng.integers(len(days) // 2)))
        pieces.append(frame.filter(pl.col("code") == code, pl.col("date").is_between(days[first], days[last])))
    return pl.concat(pieces)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(("shard_days", "max_window"), [(7, 1), (10, 6), (40, 33), (256, 64)])
def test_files_hold_the_stocks_of_their_days_and_every_value_comes_back(
    make_frame, make_store, seed, shard_days, max_window
):
    frame = listed(make_frame(90, 12, seed=seed), seed)
    store, expected = make_store(frame, shard_days=shard_days, max_window=max_window), dense(frame)
    assert store.codes == tuple(frame["code"].unique().sort())
    assert_array_equal(store.days, frame["date"].unique().sort().to_numpy())
    assert 0 < expected["present"].sum() < expected["present"].size
    for name in COLUMNS:
        assert_array_equal(store.column(name), expected[name])
        assert_array_equal(store.column(name, slice(37, 52)), expected[name][37:52])
    assert [span.first for span in store.spans] == list(range(0, 90, shard_days))
    for span in store.spans:
        assert (span.first_held, span.stop) == (max(0, span.first - max_window + 1), min(90, span.first + shard_days))
        (held,) = expected["present"][span.first_held : span.stop].any(0).nonzero()
        for first in range(span.first, span.stop):
            window = min(max_window, first + 1)
            block = arrays(store.block(first, 1, window))
            assert_array_equal(block["stocks"], held)
            for name in COLUMNS:
                assert_array_equal(block[name], expected[name][first - window + 1 : first + 1, held])


def test_a_stock_that_has_left_takes_no_room(make_frame, make_store):
    frame = make_frame(60, 40)
    early = frame.filter((pl.col("code") == "C00") | (pl.col("date") < frame["date"].unique().sort()[10]))
    store = make_store(early, shard_days=20, max_window=5)
    sizes = [file.stat().st_size for file in shard_files(store)]
    assert sizes[0] > 10 * sizes[1]
    assert [len(store.block(day, 1, 1).stocks) for day in (0, 19, 20, 59)] == [40, 40, 1, 1]
    assert store.column("present").shape == (60, 40)


def test_files_are_arrow_that_anyone_can_read(make_frame, make_store):
    store = make_store(make_frame(), shard_days=20, max_window=5)
    for span, file in zip(store.spans, shard_files(store), strict=True):
        with pa.ipc.open_file(file) as reader:
            assert reader.num_record_batches == 1
            batch = reader.get_batch(0)
        batch.validate(full=True)
        days = slice(span.first_held, span.stop)
        assert batch.num_rows == days.stop - days.start
        for name in COLUMNS:
            stored = batch.column(name).flatten().to_numpy().reshape(batch.num_rows, -1)
            assert_array_equal(stored, store.column(name, days).reshape(batch.num_rows, -1))


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


def test_threads_may_read_at_once(make_frame, make_store):
    store = make_store(make_frame(120), shard_days=40, max_window=20)
    expected = [arrays(store.block(day, 1, 10)) for day in range(9, 120)]
    fresh = Store.open(store.path)
    with ThreadPoolExecutor(8) as executor:
        found = list(executor.map(lambda day: arrays(fresh.block(day, 1, 10)), [*range(9, 120)] * 4))
    for one, other in zip(found, expected * 4, strict=True):
        for name, array in other.items():
            assert_array_equal(one[name], array)


def test_a_folder_without_a_manifest_is_not_a_store(make_frame, make_store, tmp_path):
    store = make_store(make_frame())
    (store.path / "manifest.json").unlink()
    for path in (store.path, tmp_path / "nothing"):
        with pytest.raises(DataError, match=str(path)) as error:
            Store.open(path)
        assert error.value.exit_code == 65


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
    with pytest.raises(DataError, match=f"inside the store.*{file.name}"):
        Store.open(store.path)
    file.unlink()
    os.mkfifo(file)
    with pytest.raises(DataError, match=f"plain file.*{file.name}"):
        Store.open(store.path)


def test_another_version_or_an_edited_or_damaged_manifest_is_refused(make_frame, make_store):
    store = make_store(make_frame())
    path = store.path / "manifest.json"
    whole = path.read_bytes()
    for edit, message in (
        (lambda body: body.update(version=99), "version 2, found 99"),
        (lambda body: body["codes"].__setitem__(0, "A"), "checksum"),
        (lambda body: body["codes"].reverse(), "increasing"),
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


def test_an_entry_that_cannot_be_true_is_refused(make_frame, make_store):
    """Such as only a program other than ours writes: the manifest's own checksum is right."""
    store = make_store(make_frame())
    whole = read_manifest(store.path)
    (shard,) = whole.shards
    for edit, message in (
        ({"body": shard.nbytes}, f"contradicts itself.*{shard.file}"),
        ({"blocks": {"features": ()}}, f"contradicts itself.*{shard.file}"),
        ({"stop": 31}, "own each day once"),
        ({"first_held": 1}, shard.file),
        ({"stocks": (0, 1, 2, 3, 4, 6)}, f"{shard.file}: expected positions in the 6 codes"),
        ({"stocks": (0, 2, 1)}, "increasing"),
    ):
        write_manifest(store.path, whole.model_copy(update={"shards": (shard.model_copy(update=edit),)}))
        for read in (Store.open, check_store):
            with pytest.raises(DataError, match=message):
                read(store.path)


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
