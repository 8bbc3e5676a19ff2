"""Nothing materialised, the same predictions: `improvements.online_normalization` from a panel to its scores."""

import io
import json
import subprocess
import sys
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
import yaml
from rich.console import Console

from atft_gat_fan.config.load import load_config
from atft_gat_fan.data.conversion import cached_store
from atft_gat_fan.data.materialised import MaterialisedPanel
from atft_gat_fan.data.store import Store
from atft_gat_fan.data.streamed import StreamedPanel
from atft_gat_fan.errors import InterruptedRunError
from atft_gat_fan.inference.asked_days import AskedDays
from atft_gat_fan.inference.predictor import predict_days
from atft_gat_fan.models.network import ATFT_GAT_FAN
from atft_gat_fan.runs.assembly import Assembly, assemble, build_model
from atft_gat_fan.runs.evaluate import evaluate_run
from atft_gat_fan.runs.huber_deltas import huber_deltas
from atft_gat_fan.runs.predict import predict
from atft_gat_fan.runs.run_files import read_metrics
from atft_gat_fan.runs.train import train
from atft_gat_fan.signals import StopSignals
from atft_gat_fan.training.loop import fit
from atft_gat_fan.training.run_folder import RunFolder
from atft_gat_fan.training.settings import TrainSettings
from atft_gat_fan.types import DayBatch

ONLINE = "improvements.online_normalization=true"
SMALL = [
    "model=small", "data.horizons=[1,5]", "batch_size=4", "train.max_steps=50", "train.max_epochs=20",
    "train.tensorboard=false", "early_stopping.enabled=false", "warmup_steps=5", "graph.threshold=0.05",
    "run.num_threads=1", "evaluation.baselines=[reversal,ridge]",
]  # fmt: skip


def panel_of(num_days: int = 220, num_stocks: int = 20, num_features: int = 0, seed: int = 0) -> pl.DataFrame:
    """Features that are hard on float32: large means, heavy tails, rare events, tiny scales, gaps; labels follow one.

    Stocks come and go. With `num_features`, plain ones in their place.
    """
    rng = np.random.default_rng(seed)
    days = np.busday_offset("2015-01-01", np.arange(num_days), roll="forward")
    rows = num_days * num_stocks
    signal = rng.normal(size=rows)
    if num_features:
        features = {f"plain{i}": rng.standard_normal(rows, dtype=np.float32) for i in range(num_features)}
    else:
        features = {
            "signal": signal,
            "large": 1e4 + signal + rng.normal(size=rows),
            "larger": -3e5 + rng.normal(size=rows),
            "tails": rng.standard_t(2, size=rows) * 1e6,
            "rare": (rng.random(rows) < 0.02).astype(float),
            "tiny": 1e-6 + 1e-9 * rng.normal(size=rows),
            "gaps": np.where(rng.random(rows) < 0.5, np.nan, rng.normal(size=rows)),
        }
    frame = pl.DataFrame(
        {
            "Date": np.repeat(days, num_stocks),
            "Code": np.tile([f"S{i:03d}" for i in range(num_stocks)], num_days),
            **features,
            "returns_1d": 0.02 * rng.normal(size=rows),
            "target_1d": 0.01 * (signal + rng.normal(size=rows)),
            "target_5d": 0.02 * (signal + rng.normal(size=rows)),
        }
    ).fill_nan(None)
    absent = (pl.col("Code") < "S003") & (pl.col("Date") > days[num_days // 2])
    late = (pl.col("Code") > "S016") & (pl.col("Date") < days[num_days // 4])
    return frame.filter(~absent & ~late)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("panel")
    panel_of().write_parquet(folder / "panel.parquet")
    return [f"data.source={folder / 'panel.parquet'}", f"data.cache={folder / 'cache'}"]


def assembled(*overrides: str, statistics: Path | None = None) -> Assembly:
    settle = None if statistics is None else lambda store, split: statistics
    return assemble(load_config([*SMALL, *overrides]), lambda stage, share: None, settle=settle)


def fitted(assembly: Assembly, folder: Path) -> ATFT_GAT_FAN:
    settings = TrainSettings.from_config(assembly.config, assembly.plan, huber_deltas(assembly))
    with RunFolder(folder) as opened:
        result = fit(build_model(assembly), assembly, settings, opened, Console(file=io.StringIO()), StopSignals())
    assert result.steps == 50
    return result.model


def test_the_switch_decides_where_features_are_normalised(source):
    off, on = assembled(*source), assembled(*source, ONLINE)
    assert isinstance(off.batches.data, MaterialisedPanel)
    assert isinstance(on.batches.data, StreamedPanel)
    assert off.normalizer.to_json() == on.normalizer.to_json()
    assert off.blocks(3) == on.blocks(3)
    assert off.valid_blocks() == on.valid_blocks()


def test_on_trains_the_bits_of_off(source, tmp_path):
    """Predictions have to agree within 0.1 %, for the same weights and after 50 steps: they are equal."""
    off, on = assembled(*source), assembled(*source, ONLINE)
    trained = [fitted(assembly, tmp_path / name) for name, assembly in (("off", off), ("on", on))]
    for (name, one), other in zip(trained[0].state_dict().items(), trained[1].state_dict().values(), strict=True):
        assert torch.equal(one, other), name
    for model in (build_model(off), trained[0]):
        one, other = (predict_days(model, assembly.batches, off.split.valid).scores for assembly in (off, on))
        np.testing.assert_array_equal(one, other)
        assert np.isfinite(one).sum() > 300


class KilledAt:
    """Training data that stop the process, as it were, at the n-th batch."""

    def __init__(self, assembly: Assembly, n: int) -> None:
        self._assembly, self._left = assembly, n

    def __getattr__(self, name: str):
        return getattr(self._assembly, name)

    def batch(self, first: int, count: int) -> DayBatch:
        self._left -= 1
        if self._left <= 0:
            raise InterruptedRunError("killed", 130)
        return self._assembly.batch(first, count)


def test_a_resumed_run_ends_with_the_same_bits(source, tmp_path):
    straight = fitted(assembled(*source, ONLINE), tmp_path / "straight").state_dict()
    folder, statistics = tmp_path / "killed", tmp_path / "normalizer.json"
    overrides = [*source, ONLINE, "train.checkpoint_every=7", "data.num_workers=2"]
    assembly = assembled(*overrides, statistics=statistics)
    settings = TrainSettings.from_config(assembly.config, assembly.plan, None)
    with RunFolder(folder) as opened, pytest.raises(InterruptedRunError), pytest.warns(UserWarning, match="loader"):
        fit(build_model(assembly), KilledAt(assembly, 31), settings, opened, Console(file=io.StringIO()), StopSignals())
    assert statistics.exists()
    assert list((folder / "checkpoints").iterdir()), "there is something to resume from"
    resumed = fitted(assembled(*overrides, statistics=statistics), folder).state_dict()
    for name, tensor in straight.items():
        assert torch.equal(resumed[name], tensor), name


@pytest.fixture(scope="module")
def runs(source, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A finished run with the switch on and one with it off."""
    folder = tmp_path_factory.mktemp("runs")
    return {
        name: train(load_config([*SMALL, *source, *switch, f"run.dir={folder / name}"]), Console(quiet=True))
        for name, switch in (("on", [ONLINE]), ("off", []))
    }


def predicted(run: Path, out: Path, day: date | None = None) -> pl.DataFrame:
    source = yaml.safe_load((run / "config.yaml").read_text())["data"]["source"]
    predict([run], source, AskedDays(day, day), out, Console(quiet=True))
    return pl.read_parquet(out)


@pytest.mark.parametrize(("name", "kind"), [("on", "online"), ("off", "materialised")])
def test_predict_repeats_the_evaluation(runs, tmp_path, name, kind):
    run = runs[name]
    assert json.loads((run / "plan.json").read_text())["normalizer"] == {"kind": kind}
    assert (run / "normalizer.json").exists()
    evaluated = pl.read_parquet(run / "predictions.parquet")
    again = predicted(run, tmp_path / "scores.parquet").join(evaluated, on=["date", "code"], how="semi")
    assert again.equals(evaluated)


def test_evaluating_again_gives_the_same_scores_and_metrics(runs):
    for run in runs.values():
        evaluated, metrics = pl.read_parquet(run / "predictions.parquet"), read_metrics(run)
        evaluate_run(run, "test", Console(quiet=True))
        assert pl.read_parquet(run / "predictions.parquet").equals(evaluated)
        assert read_metrics(run) == metrics


def test_scores_and_baselines_do_not_depend_on_the_switch(runs):
    for table in ("predictions.parquet", "baselines.parquet"):
        on, off = (pl.read_parquet(run / table) for run in runs.values())
        assert on.height > 0
        assert on.equals(off)


@pytest.mark.parametrize("name", ["on", "off"])
def test_predicting_a_day_normalises_its_window_alone(runs, tmp_path, monkeypatch, name):
    read: set[int] = set()
    plain = Store.block

    def noted(store, first, count, window):
        read.update(range(first - window + 1, first + count))
        return plain(store, first, count, window)

    day = pl.read_parquet(runs[name] / "predictions.parquet")["date"].max()
    monkeypatch.setattr(Store, "block", noted)
    assert predicted(runs[name], tmp_path / "scores.parquet", day).height > 10
    assert len(read) == 20


MEMORY = """
import io, json, sys
from pathlib import Path
from rich.console import Console
from atft_gat_fan.config.load import load_config
from atft_gat_fan.runs.assembly import assemble, build_model
from atft_gat_fan.training.loop import fit
from atft_gat_fan.training.run_folder import RunFolder
from atft_gat_fan.training.settings import TrainSettings
from atft_gat_fan.signals import StopSignals

def private():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) * 1024

config = load_config(sys.argv[2:])
assembly = assemble(config, lambda stage, share: None)
peak = private()

class Sampled:
    def __getattr__(self, name):
        return getattr(assembly, name)

    def batch(self, first, count):
        global peak
        peak = max(peak, private())
        return assembly.batch(first, count)

settings = TrainSettings.from_config(config, assembly.plan, None)
with RunFolder(Path(sys.argv[1])) as folder:
    fit(build_model(assembly), Sampled(), settings, folder, Console(file=io.StringIO()), StopSignals())
print(json.dumps({"peak": peak, "days": len(assembly.store.days)}))
"""


@pytest.mark.slow
def test_private_memory_does_not_grow_with_the_days(tmp_path):
    """Of the days more, online training holds nothing; materialised, it holds their panel.

    What malloc keeps varies by some tens of MB from run to run, hence a panel of 144 MB more and half of it as the
    line between the two. `benchmarks/memory.py` measures the ratio on a large one.
    """
    shorter, longer, num_stocks, num_features = 200, 800, 150, 400
    peaks: dict[tuple[int, str], int] = {}
    for num_days in (shorter, longer):
        file = tmp_path / f"{num_days}.parquet"
        panel = panel_of(num_days, num_stocks, num_features=num_features)
        panel.write_parquet(file)
        days = panel["Date"].unique().sort()
        for switch in ("true", "false"):
            overrides = [
                f"data.source={file}", f"data.cache={tmp_path / 'cache'}", "model=small", "model.gat.enabled=false",
                "data.horizons=[1,5]", "batch_size=1", "train.max_steps=3", "train.tensorboard=false",
                f"split.train_end={days[-60]}", f"split.valid_end={days[-44]}", "run.num_threads=1",
                f"improvements.online_normalization={switch}",
            ]  # fmt: skip
            # Here, so that what conversion leaves in memory is not the training's.
            cached_store(load_config(overrides), lambda stage, share: None)
            done = subprocess.run(
                [sys.executable, "-c", MEMORY, str(tmp_path / f"{num_days}-{switch}"), *overrides],
                capture_output=True, text=True, check=False,
            )  # fmt: skip
            assert done.returncode == 0, done.stderr
            found = json.loads(done.stdout)
            assert found["days"] == num_days
            peaks[num_days, switch] = found["peak"]
    more = (longer - shorter) * num_stocks * num_features * 4
    assert peaks[longer, "true"] < peaks[shorter, "true"] + 0.5 * more
    assert peaks[longer, "false"] > peaks[shorter, "false"] + 0.5 * more
