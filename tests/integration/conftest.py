"""One small finished run for the tests that look at what a run leaves."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from atft_gat_fan.config.schema import SyntheticConfig
from atft_gat_fan.data.sources.synthetic import synthetic_panel


@pytest.fixture(scope="session")
def small() -> list[str]:
    """Overrides that make a run of seconds."""
    return [
        "model=small",
        "batch_size=16",
        "train.max_epochs=2",
        "run.num_threads=1",
        "evaluation.lightgbm.num_rounds=20",
    ]


@dataclass(frozen=True)
class Result:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Atft = Callable[..., Result]


@pytest.fixture(scope="session")
def atft() -> Atft:
    """The tool, as a user calls it: arguments in, exit code and both streams out."""

    def call(*arguments: str, cwd: Path | None = None) -> Result:
        program = Path(sys.executable).with_name("atft")
        done = subprocess.run([program, *arguments], capture_output=True, text=True, cwd=cwd, check=False)
        return Result(done.returncode, done.stdout, done.stderr)

    return call


@pytest.fixture(scope="session")
def panel() -> pl.DataFrame:
    """Prices, volumes and sectors of 24 stocks over 320 days, with listings and delistings."""
    return synthetic_panel(SyntheticConfig(num_stocks=24, num_days=320, signal=0.4))


@dataclass(frozen=True)
class FinishedRun:
    folder: Path
    panel: Path
    arguments: list[str]
    """Of `atft train`."""


@pytest.fixture(scope="session")
def finished_run(
    atft: Atft, small: list[str], panel: pl.DataFrame, tmp_path_factory: pytest.TempPathFactory
) -> FinishedRun:
    folder = tmp_path_factory.mktemp("finished")
    panel.write_parquet(folder / "panel.parquet")
    arguments = [
        *small,
        f"data.source={folder / 'panel.parquet'}",
        f"data.cache={folder / 'cache'}",
        f"run.dir={folder / 'run'}",
    ]
    result = atft("train", *arguments)
    assert result.code == 0, result.err
    return FinishedRun(folder / "run", folder / "panel.parquet", arguments)
