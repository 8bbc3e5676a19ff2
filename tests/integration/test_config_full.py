"""`cp config_full.yaml config.yaml`, then the memo's trainer: everything on, in one run."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml
from safetensors.numpy import load_file

from atft_gat_fan.config.load import load_config

ROOT = Path(__file__).parents[2]
FAKE_KEY = "f00dfacef00dfacef00dfacef00dfacef00dface"
TINY = [
    "data=synthetic", "data.synthetic.num_stocks=10", "data.synthetic.num_days=260", "model=small", "batch_size=8",
    "loss.huber_delta=auto", "train.max_epochs=2", "train.log_every=5", "run.dir=run", "run.num_threads=1",
    "evaluation.baselines=[reversal]",
]  # fmt: skip

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class SwitchedOn:
    checkout: Path
    log: str

    @property
    def run(self) -> Path:
        return self.checkout / "run"

    def json(self, name: str) -> Any:
        return json.loads((self.run / name).read_text())


@pytest.fixture(scope="module")
def switched_on(tmp_path_factory: pytest.TempPathFactory) -> SwitchedOn:
    checkout = tmp_path_factory.mktemp("checkout")
    for folder in ("configs", "src/training"):
        shutil.copytree(ROOT / folder, checkout / folder)
    shutil.copy(checkout / "configs/atft/config_full.yaml", checkout / "configs/atft/config.yaml")
    environment = {**os.environ, "WANDB_MODE": "offline", "WANDB_API_KEY": FAKE_KEY}
    done = subprocess.run(
        [sys.executable, "src/training/integrated_trainer.py", *TINY],
        cwd=checkout, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return SwitchedOn(checkout, done.stdout + done.stderr)


def test_every_available_improvement_is_in_the_plan(switched_on: SwitchedOn):
    plan = switched_on.json("plan.json")
    assert plan["head"] == {"init_std": 0.01, "layer_scale": 0.1}
    assert plan["graph_attention"]["temperature"] == 0.8
    assert plan["freq_dropout"]["p"] == 0.1
    assert plan["loss"] == {"kind": "huber", "delta": "auto", "by": ["improvements.huber_loss"]}
    assert plan["ema"]["by"] == ["improvements.use_ema"]
    assert plan["normalizer"] == {"kind": "online"}
    assert plan["loggers"] == ["jsonl", "tensorboard", "wandb"]


def test_it_trained_evaluated_and_reported(switched_on: SwitchedOn):
    assert switched_on.json("run_state.json")["status"] == "finished"
    assert (switched_on.run / "report.html").stat().st_size > 0
    assert switched_on.json("metrics.json")["test"]["days"] > 0
    groups = switched_on.json("param_groups.json")
    scale = next(group for group in groups if any("scale" in name for name in group["names"]))
    assert (scale["group"], scale["decay"]) == ("head", False)


def test_the_bundle_has_the_averaged_weights_and_the_raw_ones_beside_them(switched_on: SwitchedOn):
    averaged, raw = (
        load_file(switched_on.run / "model" / name) for name in ("weights.safetensors", "weights_raw.safetensors")
    )
    assert averaged.keys() == raw.keys()
    assert any((averaged[name] != raw[name]).any() for name in averaged)
    description = switched_on.json("model/model.json")
    content = (switched_on.run / "model" / "weights_raw.safetensors").read_bytes()
    assert description["raw_weights_sha256"] == hashlib.sha256(content).hexdigest()
    assert description["spec"]["head_layer_scale"] == 0.1
    assert len(description["training"]["huber_deltas"]) == 5


def test_predict_repeats_the_evaluation_with_the_averaged_weights(atft, switched_on: SwitchedOn):
    out = switched_on.checkout / "scores.parquet"
    (switched_on.run / "model" / "weights_raw.safetensors").rename(switched_on.checkout / "aside")
    try:
        panel = _panel(switched_on)
        result = atft("predict", "run", "--data", str(panel), "--out", str(out), cwd=switched_on.checkout)
    finally:
        (switched_on.checkout / "aside").rename(switched_on.run / "model" / "weights_raw.safetensors")
    assert result.code == 0, result.err
    evaluated = pl.read_parquet(switched_on.run / "predictions.parquet")
    same_days = pl.read_parquet(out).join(evaluated.select("date", "code"), on=["date", "code"], how="semi")
    assert same_days.equals(evaluated)


def test_no_file_has_the_key_of_the_logging_service(switched_on: SwitchedOn):
    files = [file for file in switched_on.checkout.rglob("*") if file.is_file()]
    assert any("wandb" in file.as_posix() for file in files)
    assert not [file for file in files if FAKE_KEY.encode() in file.read_bytes()]
    assert FAKE_KEY not in switched_on.log


def test_switching_back_is_another_run(switched_on: SwitchedOn):
    """The same command with the old config.yaml is refused in this folder, with every switch that decides weights."""
    shutil.copy(ROOT / "configs/atft/config.yaml", switched_on.checkout / "configs/atft/config.yaml")
    done = subprocess.run(
        [sys.executable, "src/training/integrated_trainer.py", *TINY],
        cwd=switched_on.checkout, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 78
    full = yaml.safe_load((ROOT / "configs/atft/config_full.yaml").read_text())["improvements"]
    off = load_config().improvements.model_dump()
    for name, value in full.items():
        named = f"improvements.{name}: " in done.stderr
        assert named == (value != off[name] and name not in ("enable_wandb", "auto_recover_oom")), name


def _panel(switched_on: SwitchedOn) -> Path:
    """The built store of the run."""
    stores = [path for path in (switched_on.checkout / ".cache" / "atft").iterdir() if path.name != "graphs"]
    assert len(stores) == 1
    return stores[0]
