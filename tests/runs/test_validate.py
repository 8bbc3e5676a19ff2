"""A validation as a whole: paired to the bit, repeatable, and never running a finished trial again."""

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from rich.console import Console

from atft_gat_fan.config.load import load_config, overridden
from atft_gat_fan.errors import ConfigError
from atft_gat_fan.runs.assembly import assemble, build_model
from atft_gat_fan.runs.validate import Request, base_config, describe_plan, prepare, validate
from atft_gat_fan.validation.arms import make_arms

SMALL = [
    "data=synthetic",
    "data.synthetic.num_days=330",
    "data.synthetic.num_stocks=12",
    "data.horizons=[1,2]",
    "graph.lookback=20",
    "graph.min_periods=10",
    "train.max_steps=8",
    "validation.seeds=[1,2]",
    "validation.stress.lr_factors=[10]",
    "validation.stress.spike_shares=[0.001]",
    "validation.timing.rounds=1",
]


def quiet() -> Console:
    return Console(file=io.StringIO())


def request(tmp_path: Path, *arguments: str, **keywords) -> Request:
    places = [f"data.cache={tmp_path / 'cache'}", f"run.dir={tmp_path / 'validation'}"]
    return Request([*SMALL, *places, *arguments], **keywords)


def test_every_arm_begins_with_the_same_trunk_and_sees_the_same_days(tmp_path: Path) -> None:
    config = load_config([*SMALL, "model=small", f"data.cache={tmp_path}"])
    arms = make_arms(config)
    variants = [
        assemble(overridden(config, (*arms.baseline, *arm.overrides)), lambda *_: None) for arm in arms.variants
    ]
    baseline = assemble(overridden(config, arms.baseline), lambda *_: None)
    weights = dict(build_model(baseline).named_parameters())
    for variant in variants:
        assert variant.blocks(0) == baseline.blocks(0)
        theirs = dict(build_model(variant).named_parameters())
        different = {name for name in weights if not torch.equal(weights[name], theirs[name])}
        assert all("head" in name for name in different), different
        assert len(different) < len(weights) / 4


def test_the_commands_keys_win_over_what_is_laid_over_and_a_phase_switches_its_improvements_on() -> None:
    config = base_config(Request(["batch_size=4"], phase=1))
    assert (config.batch_size, config.model.hidden_size) == (4, 16)
    assert [arm.name for arm in make_arms(config).variants] == ["output_head_small_init", "huber_loss", "all"]
    full = base_config(Request(full=True))
    assert full.model == load_config([]).model
    assert full.validation.leave_one_out


def test_the_plan_is_made_without_training_and_estimates_the_time(tmp_path: Path) -> None:
    prepared = prepare(request(tmp_path, only=["use_ema"]), quiet())
    plan = describe_plan(prepared)
    assert plan["trials"] == {"rank_ic": 4, "stress": 2, "timing": 1}
    assert plan["estimated_seconds"] > 0
    assert not (tmp_path / "validation").exists()
    with pytest.raises(ConfigError, match="--gate"):
        prepare(request(tmp_path, gates=["nothing"]), quiet())
    with pytest.raises(ConfigError, match=r"leave LightGBM out.*model\.blend\.enabled=false"):
        prepare(request(tmp_path, "model.blend.enabled=true"), quiet())


@pytest.mark.slow
def test_a_validation_measures_resumes_and_repeats(tmp_path: Path) -> None:
    wanted = request(tmp_path, only=["online_normalization"], gates=["rank_ic_1d>=0.001"])
    prepared = prepare(wanted, quiet())
    result = validate(prepared, quiet())
    found = result.improvements["online_normalization"]
    delta = found.delta_rank_ic["1d"]
    assert (delta.mean, found.verdict) == (0.0, "neutral"), "on trains the bits of off"
    assert found.time.ratio > 0
    assert found.memory.ratio > 0
    assert found.divergence.pairs == 1
    assert not result.gates[0].held
    values = json.loads((tmp_path / "validation" / "validation.json").read_text())
    assert values["improvements"]["online_normalization"]["verdict"] == "neutral"
    assert "neutral" in (tmp_path / "validation" / "validation.html").read_text()
    outcomes = sorted((tmp_path / "validation").rglob("trial.json"))
    written = [file.stat().st_mtime_ns for file in outcomes]
    assert len(outcomes) == len(prepared.jobs)
    assert not list((tmp_path / "validation").rglob("checkpoints"))
    again = validate(prepare(wanted, quiet()), quiet())
    assert again.to_json() == result.to_json()
    assert [file.stat().st_mtime_ns for file in outcomes] == written
    # One more seed: what is there is used, and only the new is trained.
    more = prepare(request(tmp_path, "validation.seeds=[1,2,3]", only=["online_normalization"]), quiet())
    assert describe_plan(more)["finished"] == {"rank_ic": 4, "stress": 2, "timing": 1}


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGKILL, marks=pytest.mark.exhaustive)])
def test_a_validation_that_is_ended_goes_on_and_leaves_no_process(tmp_path: Path, number: signal.Signals) -> None:
    command = [sys.executable, "-m", "atft_gat_fan.cli", "validate", *request(tmp_path).arguments]
    command += ["--only", "use_ema", "validation.stress.num_seeds=0", "validation.timing.rounds=0"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        until(lambda: list(tmp_path.rglob("trial.json")))
        process.send_signal(number)
        code = process.wait(60)
    assert code == (143 if number == signal.SIGTERM else -signal.SIGKILL)
    if number == signal.SIGTERM:
        assert not running(tmp_path), "those who ask it to stop may take the files away"
    finished = {file: file.stat().st_mtime_ns for file in tmp_path.rglob("trial.json")}
    assert finished
    gated = subprocess.run([*command, "--gate", "rank_ic_1d>=1"], capture_output=True, check=False, text=True)
    assert gated.returncode == 3, gated.stderr
    assert "rank_ic_1d>=1: measured" in gated.stderr
    assert all(file.stat().st_mtime_ns == written for file, written in finished.items())
    assert len(list(tmp_path.rglob("trial.json"))) == 4


def running(folder: Path) -> list[str]:
    """Processes that have the folder in their command line."""
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit() and int(process.name) != os.getpid():
            try:
                words = (process / "cmdline").read_bytes()
            except OSError:
                continue
            if str(folder).encode() in words and b"runs.trial" in words:
                found.append(process.name)
    return found


def until(condition) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)
