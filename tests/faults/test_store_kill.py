"""Kill a store's builder anywhere: there is the old store, or the new one, and the same build goes on from there."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from atft_gat_fan.data.store import Store
from atft_gat_fan.errors import DataError

WORKER = Path(__file__).with_name("store_build_worker.py")
# where it is killed: the shards of three that the second start need not fill, by their positions
KILLS = {
    "in shard 0": (),
    "in shard 2": (0, 1),
    "unrecorded": (),
    "after shard 0": (0,),
    "after shard 2": (0, 1, 2),
    "before the manifest": (0, 1, 2),
    "after the manifest": (0, 1, 2),
    "published": (0, 1, 2),
}
OLD, NEW = 18, 3
"""Corrected days: the first two shards hold the one, the first alone the other."""


def start(target: Path, corrected: int, kill: str | None) -> subprocess.CompletedProcess[str]:
    told = json.dumps({"target": str(target), "corrected": corrected, "kill": kill})
    return subprocess.run([sys.executable, WORKER, told], capture_output=True, text=True, check=False)


def run(target: Path, corrected: int) -> list[int]:
    """The positions of the shards that it filled."""
    done = start(target, corrected, kill=None)
    assert done.returncode == 0, done.stderr
    return [int(line) for line in done.stdout.split()]


def run_and_kill(target: Path, corrected: int, kill: str) -> int:
    """How it ended."""
    done = start(target, corrected, kill)
    assert done.returncode == -signal.SIGKILL, done.stderr
    return done.returncode


def content(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in path.iterdir()}


def shards(folder: Path) -> dict[str, tuple[int, int]]:
    """Inode and time of each finished file of a store or of the work on it."""
    return {file.name: (file.stat().st_ino, file.stat().st_mtime_ns) for file in folder.rglob("*.arrow")}


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    path = tmp_path_factory.mktemp("uninterrupted") / "store"
    assert run(path, NEW) == [0, 1, 2]
    return content(path)


@pytest.mark.fault("kill −9 of a first build of a store", "no store, or a whole one; goes on, same bytes")
@pytest.mark.parametrize("kill", KILLS)
def test_a_first_build_that_is_killed_is_no_store_and_is_resumed(tmp_path, struck, kill, uninterrupted):
    target = tmp_path / "store"
    struck(run_and_kill(target, NEW, kill))
    if kill == "published":
        Store.open(target).check()
    else:
        with pytest.raises(DataError, match="expected a store"):
            Store.open(target)
    before = shards(tmp_path)
    assert run(target, NEW) == [position for position in range(3) if position not in KILLS[kill]]
    assert content(target) == uninterrupted
    unchanged = set(before.items()) & set(shards(target).items())
    assert len(unchanged) == len(KILLS[kill])
    assert os.listdir(tmp_path) == ["store"]


@pytest.mark.fault("kill −9 while a store is replaced", "the old store or the new one; goes on, same bytes")
@pytest.mark.parametrize("kill", ["after shard 0", "before the manifest", "after the manifest", "published"])
def test_a_killed_replacement_is_the_old_store_or_the_new_and_is_resumed(tmp_path, struck, kill, uninterrupted):
    target = tmp_path / "store"
    run(target, OLD)
    old = {name: body for name, body in content(target).items() if name != "manifest.json"}
    assert len(old.keys() & uninterrupted.keys()) == 1
    struck(run_and_kill(target, NEW, kill))
    store = Store.open(target)
    store.check()
    done = kill in ("after the manifest", "published")
    assert store.fingerprint == str(NEW if done else OLD)
    if not done:
        assert old.items() <= content(target).items()
    before = shards(tmp_path)
    # Shard 2 is that of the old store throughout.
    assert run(target, NEW) == [position for position in range(2) if position not in KILLS[kill]]
    assert content(target) == uninterrupted
    unchanged = set(before.items()) & set(shards(target).items())
    assert len(unchanged) == 1 + len({0, 1} & {*KILLS[kill]})
    assert os.listdir(tmp_path) == ["store"]


FILL = """
import sys, threading
from pathlib import Path
import numpy as np
from atft_gat_fan.data.store_shard import Layout
from atft_gat_fan.data.store_writer import StoreWriter

def anonymous():
    (line,) = (line for line in open("/proc/self/status") if line.startswith("RssAnon"))
    return int(line.split()[1]) * 1024

days = np.datetime64("2021-01-01") + np.arange(200)
codes = [f"{i:04d}" for i in range(1000)]
layout = Layout(tuple(f"f{i}" for i in range(390)), (1,))
with StoreWriter(Path(sys.argv[1]), key="key", days=days, layout=layout) as writer:
    start = peak = anonymous()
    done = threading.Event()
    def watch():
        global peak
        while not done.wait(0.005):
            peak = max(peak, anonymous())
    watcher = threading.Thread(target=watch)
    watcher.start()
    with writer.shard(writer.spans[0], codes, "inputs") as block:
        for day in range(200):
            block.features[day] = day
        block.present[...] = True
    store = writer.finish(static=None, metadata={}, fingerprint="")
    for day in range(200):
        store.block(day, 1, 1).features.sum()
    store.check()
    done.set()
    watcher.join()
print(max(peak, anonymous()) - start)
"""


def test_a_shard_of_any_size_takes_no_memory_of_the_process(tmp_path):
    """Neither to write nor to read nor to check it: RssAnon, what cannot be dropped without a swap."""
    done = subprocess.run([sys.executable, "-c", FILL, tmp_path / "store"], capture_output=True, text=True, check=True)
    (file,) = (tmp_path / "store").glob("*.arrow")
    assert file.stat().st_size > 300 * 2**20
    assert int(done.stdout) < 60 * 2**20
