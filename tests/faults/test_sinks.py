"""Where a run is logged may fail, crash or hang: the training does not notice, and says so once."""

import json
import sys
from pathlib import Path

import pytest

WANDB = "improvements.enable_wandb=true"
CRASH = "raise RuntimeError('crashed')"
HANG = "import time; time.sleep(600)"


def events(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]


def kept(run: Path, small_run) -> None:
    """The record is complete, and the weights are those of a run that nothing happened to."""
    assert [event["step"] for event in events(run) if event["event"] == "train"] == list(range(1, 9))
    assert events(run)[-1]["event"] in ("finish", "warning")
    trained = run / "model" / "weights.safetensors"
    assert trained.read_bytes() == (small_run.folder / "model" / "weights.safetensors").read_bytes()


@pytest.mark.fault("the folder of curves cannot be written", "training goes on, one warning, same bits")
def test_curves_that_cannot_be_drawn_stop_nothing(commands, small_run, tmp_path, struck):
    run = tmp_path / "run"
    (run / "tensorboard").mkdir(parents=True)
    (run / "tensorboard").chmod(0o555)
    command = [*small_run.arguments, *small_run.places(tmp_path / "cache", run), "train.tensorboard=true"]
    answer = commands.atft("train", *command, privileged=False).succeeded()
    struck("Permission denied" in answer.err)
    assert answer.err.count("logging to tensorboard stopped") == 1
    assert not list((run / "tensorboard").iterdir())
    kept(run, small_run)


@pytest.mark.fault("W&B crashes, hangs or is killed", "training goes on, one warning, end within 20 s, same bits")
@pytest.mark.parametrize(
    "code",
    [
        pytest.param(CRASH, id="crash"),
        pytest.param(HANG, id="hang", marks=pytest.mark.slow),
        pytest.param("import os; os.kill(os.getpid(), 9)", id="killed", marks=pytest.mark.slow),
    ],
)
def test_a_wandb_that_fails_delays_and_stops_nothing(code, commands, small_run, tmp_path, struck):
    """A stand-in, put before the real one on the path of its own process."""
    (tmp_path / "stand_in").mkdir()
    (tmp_path / "stand_in" / "wandb.py").write_text(f"open({str(tmp_path / 'came')!r}, 'w').close()\n{code}\n")
    run = tmp_path / "run"
    path = ":".join([str(tmp_path / "stand_in"), *filter(None, sys.path)])
    command = ["train", *small_run.arguments, *small_run.places(tmp_path / "cache", run), WANDB]
    answer = commands.atft(*command, environment={"PYTHONPATH": path}).succeeded()
    struck((tmp_path / "came").exists())
    assert answer.err.count("logging to wandb stopped") == 1
    assert answer.seconds < 60, "15 s for W&B, the rest is the run itself"
    kept(run, small_run)


@pytest.mark.slow
@pytest.mark.fault("no network under W&B, without a login", "recorded offline; training goes on, same bits")
def test_wandb_records_without_a_network(commands, small_run, tmp_path, struck):
    pytest.importorskip("wandb")
    run = tmp_path / "run"
    command = ["train", *small_run.arguments, *small_run.places(tmp_path / "cache", run), WANDB]
    home = {"HOME": str(tmp_path), "WANDB_MODE": "offline", "WANDB_CONFIG_DIR": str(tmp_path), "WANDB_API_KEY": ""}
    probe = "import socket\ntry: socket.create_connection(('127.0.0.1', 9), 1)\nexcept OSError as e: print(e.errno)"
    struck(commands.python(probe, network=False).out.strip() in ("99", "101"))
    answer = commands.atft(*command, network=False, environment=home).succeeded()
    assert "stopped" not in answer.err
    assert list(run.glob("wandb/offline-run-*/*.wandb"))
    kept(run, small_run)
