"""Building a store shard by shard: what is there already, who may build, what a failed build leaves."""

import errno
import os
import resource
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from atft_gat_fan.data import store_writer
from atft_gat_fan.data.store import Block, Store
from atft_gat_fan.data.store_manifest import read_manifest
from atft_gat_fan.data.store_shard import Layout, ShardSpan
from atft_gat_fan.data.store_writer import StoreWriter
from atft_gat_fan.errors import DataError, InterruptedRunError, StorageError

LAYOUT = Layout(("f0", "f1"), (1,))
DAYS = np.datetime64("2021-01-01") + np.arange(100)
LISTED = {"A": (0, 100), "B": (0, 15), "C": (8, 60), "E": (30, 70)}


@dataclass
class Builder:
    """Builds one and the same panel at `path`: shards of 20 days, 4 repeated; notes which it filled."""

    path: Path
    num_days: int = 50
    listed: dict[str, tuple[int, int]] | None = None
    key: str = "key"
    corrected: int | None = None
    """A day whose values are others."""
    layout: Layout = LAYOUT

    def writer(self) -> StoreWriter:
        return StoreWriter(
            self.path, key=self.key, days=DAYS[: self.num_days], layout=self.layout, max_window=5, shard_days=20
        )

    def codes(self, span: ShardSpan) -> list[str]:
        listed = LISTED if self.listed is None else self.listed
        return sorted(code for code, (first, stop) in listed.items() if first < span.stop and stop > span.first_held)

    def inputs(self, span: ShardSpan) -> str:
        held = self.corrected is not None and span.first_held <= self.corrected < span.stop
        return repr((self.codes(span), self.corrected if held else None))

    def fill(self, span: ShardSpan, block: Block) -> None:
        for row, day in enumerate(range(span.first_held, span.stop)):
            for stock, code in enumerate(self.codes(span)):
                first, stop = (LISTED if self.listed is None else self.listed)[code]
                if first <= day < stop:
                    block.present[row, stock] = True
                    block.features[row, stock] = day, ord(code)
                    block.returns[row, stock] = -1.0 if day == self.corrected else 0.5

    def run(self) -> tuple[Store, list[int]]:
        filled = []
        with self.writer() as writer:
            for span in writer.spans:
                if not writer.have(span, self.inputs(span)):
                    with writer.shard(span, self.codes(span), self.inputs(span)) as block:
                        self.fill(span, block)
                    filled.append(span.position)
            return writer.finish(static={"A": "banks"}, metadata={"n": 1}, fingerprint=str(self.num_days)), filled


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "store"


def content(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in path.iterdir()}


def identity(path: Path) -> dict[str, tuple[int, int]]:
    return {file.name: (file.stat().st_ino, file.stat().st_mtime_ns) for file in path.glob("*.arrow")}


def rebuilt(builder: Builder, tmp_path: Path) -> dict[str, bytes]:
    """The files of a build of the same from nothing."""
    other = Builder(tmp_path / "elsewhere", builder.num_days, builder.listed, "other", builder.corrected)
    return content(other.run()[0].path)


def test_what_is_filled_is_stored_and_all_else_is_missing(target):
    store, filled = Builder(target).run()
    assert filled == [0, 1, 2]
    assert [(span.first_held, span.first, span.stop) for span in store.spans] == [
        (0, 0, 20),
        (16, 20, 40),
        (36, 40, 50),
    ]
    assert store.codes == ("A", "B", "C", "E")
    assert_array_equal(store.static, [1, 0, 0, 0])
    assert [store.block(day, 1, 1).stocks.tolist() for day in (0, 20, 40)] == [[0, 1, 2], [0, 2, 3], [0, 2, 3]]
    present = store.column("present")
    for stock, code in enumerate(store.codes):
        first, stop = LISTED[code]
        assert present[:, stock].nonzero()[0].tolist() == list(range(first, min(stop, 50)))
    assert_array_equal(
        store.column("features")[present], [(day, ord(store.codes[n])) for day, n in np.argwhere(present)]
    )
    assert np.isnan(store.column("features")[~present]).all()
    assert np.isnan(store.column("labels")).all()
    assert os.listdir(target.parent) == ["store"]
    assert (store.metadata, store.fingerprint) == ({"n": 1}, "50")


def test_shards_begin_where_they_did_whatever_is_appended():
    for num_days in range(1, 100, 7):
        spans, longer = (Builder(Path("x"), count).writer().spans for count in (num_days, 100))
        assert [(span.first_held, span.first) for span in spans] == [
            (span.first_held, span.first) for span in longer if span.first < num_days
        ]


def test_an_append_writes_the_last_shard_and_the_new_ones_alone(target, tmp_path):
    before, _ = Builder(target).run()
    kept = identity(target)
    after, filled = (grown := Builder(target, 75, LISTED | {"D": (60, 100), "0": (45, 50)})).run()
    assert filled == [2, 3]
    assert after.codes == ("0", "A", "B", "C", "D", "E")
    still = {name: which for name, which in identity(target).items() if name in kept}
    assert len(still) == 2
    assert still.items() <= kept.items()
    assert content(target) == rebuilt(grown, tmp_path)
    assert_array_equal(before.column("present")[:, 0], True)  # one who reads goes on with the store of then
    assert before.codes == ("A", "B", "C", "E")
    before.block(49, 1, 5)


def test_a_correction_writes_the_shards_that_hold_the_day(target, tmp_path):
    Builder(target).run()
    for day, expected in ((17, [0, 1]), (30, [0, 1]), (None, [1])):
        builder = Builder(target, corrected=day)
        _, filled = builder.run()
        assert filled == expected
        assert content(target) == rebuilt(builder, tmp_path)


@pytest.mark.parametrize("change", ["columns", "horizons", "window", "dates"])
def test_a_shard_of_another_form_is_never_taken_over(target, change, monkeypatch):
    Builder(target).run()
    builder = Builder(target)
    if change == "columns":
        builder.layout = Layout(("f0", "g1"), (1,))
    elif change == "horizons":
        builder.layout = Layout(("f0", "f1"), (2,))
    elif change == "dates":
        monkeypatch.setitem(globals(), "DAYS", DAYS + 1)
    else:
        monkeypatch.setattr(
            Builder,
            "writer",
            lambda self: StoreWriter(self.path, key="", days=DAYS[:50], layout=LAYOUT, max_window=7, shard_days=20),
        )
    # A longer window changes nothing for the first shard, which has no days before its own.
    assert builder.run()[1] == ([1, 2] if change == "window" else [0, 1, 2])


def test_a_damaged_shard_is_not_taken_over(target):
    good = content(Builder(target).run()[0].path)
    file = sorted(target.glob("*.arrow"))[1]
    body = bytearray(file.read_bytes())
    body[len(body) // 2] ^= 1
    file.write_bytes(body)
    assert Builder(target).run()[1] == [1]
    assert content(target) == good
    (target / "manifest.json").write_text("{}")
    assert Builder(target).run()[1] == [0, 1, 2]
    assert content(target) == good


def break_off(builder: Builder, count: int, error: BaseException) -> None:
    """A build that ends with `error` in the middle of a shard, `count` shards being finished."""

    def build() -> None:
        with builder.writer() as writer:
            for span in writer.spans[: count + 1]:
                with writer.shard(span, builder.codes(span), builder.inputs(span)) as block:
                    builder.fill(span, block)
                    if span.position == count:
                        raise error

    with pytest.raises(type(error)) as caught:
        build()
    assert caught.value is error


@pytest.mark.parametrize("there", [False, True])
@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(1), InterruptedRunError("stopped", 143)])
def test_what_an_interrupted_build_finished_is_found_again(target, error, there):
    if there:
        Builder(target, corrected=3).run()
    break_off(Builder(target, corrected=18), 2, error)
    assert target.exists() == there
    (work,) = (entry for entry in target.parent.iterdir() if entry != target)
    assert work.name.startswith(".store")
    finished = identity(next(work.rglob("shards")))
    assert len(finished) == 2
    (store, filled) = Builder(target, corrected=18).run()
    assert filled == ([] if there else [2])
    assert finished.items() <= identity(target).items()
    store.check()
    assert os.listdir(target.parent) == ["store"]


@pytest.mark.parametrize("error", [DataError("bad row"), OSError("cannot read the source"), RuntimeError("bug")])
def test_a_failed_build_leaves_the_old_store_and_nothing_else(target, error):
    before = content(Builder(target, corrected=3).run()[0].path)
    break_off(Builder(target), 2, error)
    assert content(target) == before
    assert os.listdir(target.parent) == ["store"]


def test_leaving_without_an_end_leaves_nothing(target):
    builder = Builder(target)
    with builder.writer() as writer, writer.shard(writer.spans[0], ["A"], "x"):
        pass
    assert not list(target.parent.iterdir())


def test_two_processes_do_not_build_one_store(target):
    script = (
        "import sys; from pathlib import Path; import numpy as np; from atft_gat_fan.data.store_shard import Layout;"
        "from atft_gat_fan.data.store_writer import StoreWriter;"
        "writer = StoreWriter(Path(sys.argv[1]), key='other', layout=Layout(('f0',), (1,)),"
        " days=np.array(['2021-01-01'], 'datetime64[D]'))\n"
        "with writer: print('holding', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", script, str(target)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"holding\n"
        with pytest.raises(StorageError, match=f"{target}.*process {process.pid} ") as error:
            Builder(target).run()
        assert error.value.exit_code == 74
        process.kill()
    assert Builder(target).run()[1] == [0, 1, 2]
    assert os.listdir(target.parent) == ["store"]


def test_what_a_build_of_another_key_left_is_deleted(target):
    break_off(Builder(target, key="old"), 1, KeyboardInterrupt())
    (work,) = target.parent.iterdir()
    (old,) = (entry for entry in work.iterdir() if entry.is_dir())
    with Builder(target, key="new").writer() as writer:
        assert not old.exists()
        assert writer.folder.parent == work
        assert not any(writer.have(span, Builder(target).inputs(span)) for span in writer.spans)


def test_what_else_the_build_keeps_lives_as_long_as_its_shards(target):
    builder = Builder(target)
    break_off(builder, 1, KeyboardInterrupt())
    (shards,) = target.parent.rglob("shards")
    staged = shards.parent / "staged"
    staged.write_text("rows")
    break_off(builder, 2, KeyboardInterrupt())
    assert staged.read_text() == "rows"
    builder.run()
    assert os.listdir(target.parent) == ["store"]
    assert not (target / "staged").exists()


def test_a_link_to_a_store_is_followed(target, tmp_path):
    elsewhere = tmp_path / "big disk"
    elsewhere.mkdir()
    Builder(elsewhere / "store", corrected=3).run()
    target.symlink_to(elsewhere / "store")
    _, filled = Builder(target).run()
    assert filled == [0]
    assert target.is_symlink()
    assert os.listdir(elsewhere) == ["store"]


def test_a_store_deleted_while_it_is_built_anew_is_an_error(target):
    Builder(target).run()
    builder = Builder(target)
    with builder.writer() as writer:
        assert all(writer.have(span, builder.inputs(span)) for span in writer.spans)
        shutil.rmtree(target)
        with pytest.raises(StorageError, match="deleted meanwhile"):
            writer.finish(static=None, metadata={}, fingerprint="")
    assert not list(target.parent.iterdir())


@pytest.mark.parametrize("there", [False, True])
def test_a_full_disk_is_an_error_and_the_store_that_was_there_stays(target, there):
    before = content(Builder(target, corrected=3).run()[0].path) if there else None
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    # Smaller than a shard; a larger one would be the same with more days.
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_500, limits[1]))
    try:
        with pytest.raises(StorageError, match=f"{target}.*free the disk") as error:
            Builder(target).run()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert error.value.exit_code == 74
    assert os.listdir(target.parent) == (["store"] if there else [])
    if before is not None:
        assert content(target) == before


def test_a_disk_without_room_for_a_shard_is_met_before_its_map_is_touched(target, monkeypatch):
    """In the map it would kill the process."""

    def refuse(descriptor: int, start: int, nbytes: int) -> None:
        assert start == 0
        assert nbytes == os.fstat(descriptor).st_size
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", refuse)
    with pytest.raises(StorageError, match="No space left"):
        Builder(target).run()
    assert not list(target.parent.iterdir())


def test_a_disk_full_at_the_last_moment_leaves_the_old_store_and_nothing_else(target, monkeypatch):
    """The new shards stand beside the old by then."""
    before = content(Builder(target, corrected=3).run()[0].path)

    def refuse(folder: Path, manifest: object) -> None:
        assert len(list(folder.glob("*.arrow"))) > 3
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(store_writer, "write_manifest", refuse)
    with pytest.raises(StorageError, match="No space left"):
        Builder(target).run()
    assert content(target) == before
    assert os.listdir(target.parent) == ["store"]


def test_a_folder_that_is_not_a_store_is_never_replaced(target):
    target.mkdir()
    (target / "thesis.txt").write_text("years of work")
    with pytest.raises(StorageError, match="something else"):
        Builder(target).run()
    assert os.listdir(target.parent) == ["store"]
    assert (target / "thesis.txt").exists()


def test_files_of_others_in_the_folder_stay(target):
    Builder(target, corrected=3).run()
    (target / "README.md").write_text("whose it is")
    store, _ = Builder(target).run()
    assert (target / "README.md").exists()
    assert len(list(target.iterdir())) == 3 + len(store.spans) - 1


def test_a_reader_that_opens_while_the_store_is_replaced_gets_the_new_one(target, monkeypatch):
    Builder(target).run()
    calls: list[Path] = []

    def replaced_after_reading(folder: Path) -> object:
        manifest = read_manifest(folder)
        if not calls:
            calls.append(folder)
            Builder(folder, corrected=3).run()
        return manifest

    monkeypatch.setattr("atft_gat_fan.data.store_reader.read_manifest", replaced_after_reading)
    assert Store.open(target).column("returns")[3, 0] == -1.0
