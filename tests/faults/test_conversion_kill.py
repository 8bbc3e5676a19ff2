"""A conversion that is killed goes on from what it had finished, and ends with the bits of one that was not."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from atft_gat_fan.config.schema import Config, DataConfig, SyntheticConfig
from atft_gat_fan.data.conversion import convert
from atft_gat_fan.data.sources.synthetic import synthetic_panel

SHARD_DAYS = 64

# Kills itself where it is told to: in a stage, at the n-th report of its progress; or at the n-th call of a method.
WORKER = """
import os, signal, sys
from pathlib import Path
from atft_gat_fan.config.schema import Config, DataConfig
from atft_gat_fan.data import conversion, panel_staging
from atft_gat_fan.data.shard_filling import ShardRows
from atft_gat_fan.data.store_writer import StoreWriter

source, out, where, count = sys.argv[1:]
panel_staging.CHUNK_ROWS = 500
calls = 0

def reach(point):
    global calls
    calls += point == where
    if calls == int(count):
        os.kill(os.getpid(), signal.SIGKILL)

def after(cls, name):
    method = getattr(cls, name)
    def wrapped(self, *args, **kwargs):
        result = method(self, *args, **kwargs)
        reach(name)
        return result
    setattr(cls, name, wrapped)

after(ShardRows, "fill")
after(StoreWriter, "shard")
after(StoreWriter, "column")
convert = conversion.convert
convert(Config(data=DataConfig(source=source)), Path(out), lambda stage, share: reach(stage), shard_days=64)
"""

# Stage or method, and what a conversion has finished when it is killed there.
POINTS = {
    "checking": ("checking the panel", 2, False, 0),
    "before staging": ("comparing with what is there", 2, False, 0),
    "in staging": ("sorting rows by day", 3, False, 0),
    "staged": ("writing the store", 1, True, 0),
    "between shards": ("shard", 3, True, 2),
    "in a shard": ("fill", 3, True, 2),
    "before the manifest": ("column", 1, True, 4),
}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("source") / "panel.parquet"
    synthetic_panel(SyntheticConfig(num_stocks=20, num_days=220)).sort("Code").write_parquet(path, row_group_size=400)
    return path


def resume(source: Path, out: Path) -> list[str]:
    """The stages it went through."""
    stages: list[str] = []
    convert(
        Config(data=DataConfig(source=str(source))), out, lambda stage, _: stages.append(stage), shard_days=SHARD_DAYS
    )
    return stages


@pytest.fixture(scope="module")
def whole(source: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    out = tmp_path_factory.mktemp("whole") / "store"
    resume(source, out)
    return {file.name: file.read_bytes() for file in out.iterdir()}


@pytest.mark.fault("kill −9 of a conversion, in any of its stages", "goes on from what it had finished, same bytes")
@pytest.mark.parametrize("point", POINTS)
def test_a_killed_conversion_goes_on(
    source: Path, whole: dict[str, bytes], tmp_path: Path, struck: Callable[[object], None], point: str
) -> None:
    where, count, staged, finished = POINTS[point]
    out = tmp_path / "store"
    arguments = [str(source), str(out), where, str(count)]
    killed = subprocess.run([sys.executable, "-c", WORKER, *arguments], capture_output=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    struck(killed.returncode)
    assert not out.exists()
    shards = {file.stat().st_ino: file.name for file in tmp_path.glob(".store.building/*/shards/*.arrow")}
    assert len(shards) == finished
    stages = resume(source, out)
    assert ("sorting rows by day" not in stages) == staged
    assert {file.name: file.read_bytes() for file in out.iterdir()} == whole
    # Finished shards are the files they were, not written again.
    assert shards.items() <= {file.stat().st_ino: file.name for file in out.iterdir()}.items()
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from atft_gat_fan.config.schema import Config, DataConfig
from atft_gat_fan.data.conversion import convert
from atft_gat_fan.errors import StorageError

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), int(sys.argv[3])))
try:
    convert(Config(data=DataConfig(source=sys.argv[1])), Path(sys.argv[2]), lambda stage, share: None, shard_days=64)
except StorageError as error:
    sys.exit(f"refused: {error}")
"""


@pytest.mark.fault("no file may grow (RLIMIT_FSIZE) while a panel is converted", "explained; leaves nothing behind")
@pytest.mark.parametrize(("limit", "words"), [(50_000, "cannot sort rows"), (400_000, "cannot write the store")])
def test_a_full_disk_is_told_and_leaves_nothing(
    source: Path, tmp_path: Path, struck: Callable[[object], None], limit: int, words: str
) -> None:
    arguments = [str(source), str(tmp_path / "store"), str(limit)]
    done = subprocess.run([sys.executable, "-c", FULL_DISK, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    struck("File too large" in done.stderr)
    assert "refused: " in done.stderr
    assert words in done.stderr
    assert os.listdir(tmp_path) == []


def test_rows_staged_of_an_older_panel_are_not_used(source: Path, tmp_path: Path) -> None:
    panel, out = tmp_path / "panel.parquet", tmp_path / "store"
    pl.read_parquet(source).write_parquet(panel)
    arguments = [str(panel), str(out), "writing the store", "1"]
    subprocess.run([sys.executable, "-c", WORKER, *arguments], capture_output=True, check=False)
    assert list(tmp_path.glob(".store.building/*/rows/*"))
    pl.read_parquet(source).with_columns(pl.col("Close") * 2).write_parquet(panel)
    assert "sorting rows by day" in resume(panel, out)
