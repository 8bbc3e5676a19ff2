"""A disk that is full, a real one: nothing that was there is lost, and with space made all goes on.

It fills up at the very moment that a file is opened to be written, and stays so until the test makes space.
"""

import json
from pathlib import Path
from typing import Any

import pytest

FILL = """
import os, sys
done = []
def fill():
    done.append(True)
    with open({filler!r}, "wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError as error:
            print("FULL", error.errno, file=sys.stderr)
def audit(event, args):
    if event != "open" or not isinstance(args[0], str) or not args[2] & (os.O_WRONLY | os.O_RDWR):
        return
    if not done and {at!r} in args[0]:
        fill()
    if done and {until!r} and {until!r} in args[0] and os.path.exists({filler!r}):
        os.unlink({filler!r})
sys.addaudithook(audit)
"""
FULL = "FULL 28"


def slow(*cases: str) -> list[Any]:
    return [pytest.param(case, marks=pytest.mark.slow) for case in cases]


def filling(disk: Path, at: str, until: str = "") -> str:
    """Fills `disk` as a file with `at` in its path is opened to be written; space is made as one with `until` is."""
    return FILL.format(filler=str(disk / "filler"), at=at, until=until)


def events(run: Path, kind: str) -> list[dict]:
    lines = (json.loads(line) for line in (run / "events.jsonl").read_text().splitlines())
    return [line for line in lines if line["event"] == kind]


def weights(run: Path) -> bytes:
    return (run / "model" / "weights.safetensors").read_bytes()


@pytest.fixture
def disk(commands, tmp_path):
    """The folder of a small disk; and the same as it is seen from here."""
    return tmp_path / "disk", commands.mount(tmp_path / "disk", "24m")


@pytest.mark.fault("disk full during a checkpoint", "74; the one before loads; same bits once there is space")
@pytest.mark.parametrize("file", ["optimizer.safetensors", *slow("model.safetensors", "manifest.json")])
def test_a_checkpoint_that_does_not_fit_leaves_the_one_before(file, commands, small_run, disk, tmp_path, struck):
    inside, outside = disk
    command = ["train", *small_run.arguments, *small_run.places(tmp_path / "cache", inside / "run")]
    at = f".step_00000004_epoch_0000.tmp/{file}"
    answer = commands.atft(*command, before=filling(inside, at))
    struck(FULL in answer.err)
    answer.refused(74, "step_00000004", "No space left", "free space")
    kept = sorted(path.name for path in (outside / "run" / "checkpoints").iterdir())
    assert kept == ["step_00000000_epoch_0000", "step_00000002_epoch_0000"]
    commands.atft(*command).refused(74, "No space left", "free space")
    (outside / "filler").unlink()
    commands.atft(*command).succeeded()
    assert events(outside / "run", "start")[-1]["resumed_from"] == 2
    assert weights(outside / "run") == weights(small_run.folder)


RESULTS = ["weights.safetensors", "model.json", "predictions.parquet", "baselines.parquet", "report.html"]


@pytest.mark.fault("disk full as a result is written", "74; no retraining once there is space")
@pytest.mark.parametrize("name", ["metrics.json", *slow(*RESULTS)])
def test_a_result_that_does_not_fit_is_written_later(name, commands, small_run, disk, tmp_path, struck):
    inside, outside = disk
    command = ["train", *small_run.arguments, *small_run.places(tmp_path / "cache", inside / "run")]
    answer = commands.atft(*command, before=filling(inside, f"/.{name}."))
    struck(FULL in answer.err)
    answer.refused(74, f"{inside / 'run'}", name if "model" not in name and "weights" not in name else "the model")
    assert "No space left" in answer.err
    run = outside / "run"
    assert not list(run.rglob(f"{name}*")), "half a file"
    trained = len(events(run, "train"))
    assert trained == 8
    (outside / "filler").unlink()
    commands.atft(*command).succeeded()
    assert len(events(run, "train")) == trained
    assert weights(run) == weights(small_run.folder)
    assert (run / name).exists() or (run / "model" / name).exists()


@pytest.mark.fault("disk full as an event is logged", "training goes on with a warning, same bits")
def test_a_log_that_does_not_fit_stops_no_training(commands, small_run, disk, tmp_path, struck):
    inside, outside = disk
    command = ["train", *small_run.arguments, *small_run.places(tmp_path / "cache", inside / "run")]
    checkpoint = ".step_"
    answer = commands.atft(*command, before=filling(inside, "/events.jsonl", until=checkpoint)).succeeded()
    struck(FULL in answer.err)
    assert answer.err.count("logging to jsonl stopped") == 1
    assert "No space left" in answer.err
    assert (outside / "run" / "events.jsonl").read_bytes() == b"", "no half line"
    assert weights(outside / "run") == weights(small_run.folder)
    assert "left no record" in (outside / "run" / "report.html").read_text()


@pytest.mark.fault("disk full while a store is built", "74; nothing half opens; built once there is space")
def test_a_store_that_does_not_fit_is_none(commands, small_run, tmp_path, struck):
    inside = tmp_path / "disk"
    outside = commands.mount(inside, "300k")
    store = inside / "store"
    answer = commands.atft("data", "build", small_run.panel, "--out", store)
    answer.refused(74, str(inside))
    struck("No space left" in answer.err)
    assert not (outside / "store" / "manifest.json").exists()
    commands.atft("data", "check", store).refused(65)
    commands.remount(inside, "size=64m")
    commands.atft("data", "build", small_run.panel, "--out", store).succeeded()
    commands.atft("data", "check", store).succeeded()


@pytest.mark.slow
@pytest.mark.fault("disk full as a graph is cached", "training goes on without its cache, same bits")
def test_a_graph_that_cannot_be_cached_is_kept_in_memory(commands, small_run, tmp_path, struck):
    inside = tmp_path / "disk"
    commands.mount(inside, "24m")
    command = ["train", *small_run.arguments, *small_run.places(inside / "cache", tmp_path / "run")]
    answer = commands.atft(*command, before=filling(inside, "/graph")).succeeded()
    struck(FULL in answer.err)
    assert answer.err.count("stay in memory") == 1
    assert weights(tmp_path / "run") == weights(small_run.folder)
