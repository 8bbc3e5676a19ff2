"""A folder like a checkout where the commands of the documentation can be run: the same tree, smaller networks.

What is small is the configuration that commands find in their folder, so that each runs as it is written.
"""

import os
import shutil
import stat
import sys
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import polars as pl

from atft_gat_fan.config.schema import SyntheticConfig
from atft_gat_fan.data.sources.synthetic import synthetic_panel
from tests.contracts.documents import ROOT

SMALL = """\
# @package _global_
batch_size: 16
compile: false
run: {num_threads: 1}
model: {hidden_size: 8, variable_size: 2, num_heads: 2, gat: {num_heads: 2}}
train: {max_steps: 4}
evaluation: {baselines: [reversal]}
validation:
  overrides: []
  seeds: [1]
  folds: 1
  stress: {num_seeds: 0}
  timing: {rounds: 0}
"""
PERIOD = "\nstart: 2015-01-01\nend: 2017-12-31\n"
"""That of the panels, too, and of the thirty years of the sample a tenth."""
PANEL = SyntheticConfig(num_stocks=12, num_days=768)
LAST_DAY = date(2017, 12, 11)
RUN = "runs/demo"
"""What pages look at that do not train."""
PANELS = ("panel.parquet", "nasdaq_2003_2017.parquet")


@dataclass(frozen=True)
class SmallCheckout:
    folder: Path
    environment: dict[str, str]


def make_small_checkout(folder: Path) -> SmallCheckout:
    """`configs/`, `scripts/`, the doors, a `.venv` that stands for this Python, and the panels that pages speak of."""
    for name in ("configs", "scripts", "src/training", "src/utils", "benchmarks"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "results"))
    (folder / "src" / "atft_gat_fan").symlink_to(ROOT / "src" / "atft_gat_fan")
    tree = folder / "configs" / "atft"
    for option in (tree / "train").glob("*.yaml"):
        own = option.read_text().replace("# @package _global_", "")
        option.write_text(SMALL + ("" if own.strip().endswith("{}") else own))
    sample = tree / "data" / "sample.yaml"
    sample.write_text(sample.read_text() + PERIOD)
    _make_programs(folder / ".venv" / "bin")
    panel = synthetic_panel(PANEL).filter(pl.col("Date") <= LAST_DAY)
    assert panel["Date"].max() == LAST_DAY
    for name in PANELS:
        panel.write_parquet(folder / name)
    panel.rename({"Code": "ticker", "Date": "day", "Close": "px"}).write_parquet(folder / "vendor.parquet")
    return SmallCheckout(folder, _environment(folder))


def lend_run(finished: SmallCheckout, checkout: SmallCheckout) -> None:
    """Give `checkout` the RUN of another."""
    for name in (RUN, ".cache"):
        shutil.copytree(finished.folder / name, checkout.folder / name)


def _make_programs(folder: Path) -> None:
    folder.mkdir(parents=True)
    for name, arguments in {"python": "", "atft": " -m atft_gat_fan.cli"}.items():
        program = folder / name
        program.write_text(f'#!/bin/sh\nexec {sys.executable}{arguments} "$@"\n')
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
    (folder / "activate").write_text("")


def _environment(folder: Path) -> dict[str, str]:
    own = {name: value for name, value in os.environ.items() if name in ("LANG", "LD_LIBRARY_PATH", "TMPDIR")}
    return own | {
        "PATH": f"{folder / '.venv' / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT / "src"),
        "HOME": str(folder),
        "COLUMNS": "160",
        "OMP_NUM_THREADS": "1",
    }
