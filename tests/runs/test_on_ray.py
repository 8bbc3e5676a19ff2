"""Commands on a Ray cluster: what they leave is what they leave without one, and Ctrl-C saves."""

import fcntl
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from atft_gat_fan.config.load import load_config, run_folder
from atft_gat_fan.runs.run_status import unfinished
from atft_gat_fan.runs.validate import Request, prepare, validate
from atft_gat_fan.runs.walkforward import walkforward
from atft_gat_fan.runs.walkforward_plan import prepare as prepare_walk
from tests.ray_cluster import three_nodes
from tests.runs.tiny import MARKET, TINY, quiet

pytestmark = [pytest.mark.slow, pytest.mark.exhaustive]
pytest.importorskip("ray")
KEYS = [*MARKET, *(f"{key}={str(value).replace(' ', '').replace(chr(39), '')}" for key, value in TINY.items())]
MEASURED = {"seconds", "samples_per_second", "memory", "cuda_memory", "time", "time_ratio"}
"""Keys of time, beside those of memory: no two runs agree on them, wherever they are."""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    with three_nodes() as cluster:
        yield cluster


def test_a_validation_on_ray_is_the_validation_here(cluster: Any, tmp_path: Path) -> None:
    asked = ["validation.seeds=[1,2]", "validation.stress.num_seeds=0", "validation.timing.rounds=0"]
    found = {}
    for name in ("local", "ray"):
        places = [f"data.cache={tmp_path / 'cache'}", f"run.dir={tmp_path / name}", f"trials.executor={name}"]
        request = Request([*KEYS, *asked, *places], only=["huber_loss"])
        validate(prepare(request, quiet()), quiet())
        found[name] = json.loads((tmp_path / name / "validation.json").read_text())
    assert found["ray"]["set_up"]["failed_trials"] == []
    here, there = (json.dumps(masked(found[name]), indent=2) for name in ("local", "ray"))
    assert here == there


def test_a_walk_forward_on_ray_is_the_walk_here(cluster: Any, tmp_path: Path) -> None:
    """Two seeds at once; the second fold of each starts from the first's weights, on whichever node it runs."""
    asked = [
        "walkforward.first_train_days=150", "walkforward.valid_days=40", "walkforward.test_days=60",
        "walkforward.seeds=[1,2]", "walkforward.warm_start=true", "walkforward.workers=2",
    ]  # fmt: skip
    found = {}
    for name in ("local", "ray"):
        places = [f"data.cache={tmp_path / 'cache'}", f"run.dir={tmp_path / name}", f"trials.executor={name}"]
        walk = prepare_walk([*KEYS, *asked, *places], quiet())
        assert len(walk.folds) > 1
        metrics = walkforward(walk, quiet())
        weights = [(run.folder / "model" / "weights.safetensors").read_bytes() for run in walk.runs]
        found[name] = metrics["test"], metrics["folds"], (walk.folder / "predictions.parquet").read_bytes(), weights
    assert found["ray"] == found["local"]


def test_ctrl_c_saves_what_runs_on_the_cluster_and_the_same_command_goes_on(cluster: Any, tmp_path: Path) -> None:
    places = [f"run.root={tmp_path}", f"data.cache={tmp_path / 'cache'}"]
    long = ["train.max_epochs=400", "train.max_steps=4000", "early_stopping.enabled=false"]
    ray = ["trials.executor=ray", f"trials.address={cluster.address}", "trials.workers=2"]
    keys = [*KEYS, *places, *long, *ray]
    command = [sys.executable, "-m", "atft_gat_fan.cli", "train", "-m", *keys, "seed=1,2"]
    folders = [run_folder(load_config([*keys, f"seed={seed}"])) for seed in (1, 2)]

    def interrupt(number: signal.Signals, sessions: int) -> tuple[int, str]:
        """Once every run has come to its `sessions`-th session and validated in it."""
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        deadline = time.monotonic() + 300
        while not all(
            kinds(folder)[-1:] == ["valid"] and kinds(folder).count("start") == sessions for folder in folders
        ):
            assert process.poll() is None, process.communicate()[1]
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.send_signal(number)
        said = process.communicate(timeout=120)[1]
        return process.returncode, said

    code, said = interrupt(signal.SIGINT, sessions=1)
    assert code == 130, said
    assert "stopped by SIGINT between trainings; each has saved where it is" in said
    assert [unfinished(folder) for folder in folders] == ["a run that was interrupted"] * 2
    assert not any(map(is_held, folders))
    assert interrupt(signal.SIGTERM, sessions=2)[0] == 143
    for folder in folders:
        first, second = (event for event in events(folder) if event["event"] == "start")
        assert first["resumed_from"] is None
        assert second["resumed_from"] > 0


def masked(value: Any) -> Any:
    if isinstance(value, dict):
        measured = {key for key in value if key in MEASURED or "memory" in key or "peak" in key}
        return {key: "…" if key in measured else masked(value[key]) for key in value}
    return [masked(each) for each in value] if isinstance(value, list) else value


def events(folder: Path) -> list[dict[str, Any]]:
    file = folder / "events.jsonl"
    lines = file.read_text().splitlines(keepends=True) if file.exists() else []
    return [json.loads(line) for line in lines if line.endswith("\n")]


def kinds(folder: Path) -> Sequence[str]:
    return [event["event"] for event in events(folder) if event["event"] in ("start", "valid")]


def is_held(folder: Path) -> bool:
    with (folder / ".lock").open("r+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return True
    return False
