"""`torchrun … -m atft_gat_fan.cli train`: the command as it is documented, on several processes of this machine."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

pytestmark = pytest.mark.slow

KEYS = [
    "model=small", "data=synthetic", "data.synthetic.num_stocks=20", "data.synthetic.num_days=300",
    "train.max_epochs=1", "train.log_every=1", "train.tensorboard=false", "evaluation.baselines=[reversal]",
    "run.num_threads=1", "distributed.timeout=60",
]  # fmt: skip
PATIENCE = 240.0
DRIFT = 0.05 * 1e-3
"""A twentieth of the learning rate, the most that AdamW moves a weight in a step: by shares of that it moves weights
whose gradients are so small that their rounding, and so the order of adding them up, shows in them."""


def command(processes: int, run: Path, *others: str, torchrun: tuple[str, ...] = ()) -> list[str]:
    tool = ["-m", "atft_gat_fan.cli", "train", *KEYS, f"data.cache={run.parent}/cache", f"run.dir={run}", *others]
    if processes == 1:
        return [sys.executable, *tool]
    number = f"--nproc-per-node={processes}"
    return [sys.executable, "-m", "torch.distributed.run", "--standalone", number, *torchrun, *tool]


def trained(processes: int, run: Path, *others: str) -> subprocess.CompletedProcess[str]:
    arguments, environment = command(processes, run, *others), {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        arguments, cwd=run.parent, env=environment, capture_output=True, text=True, check=False, timeout=PATIENCE
    )


def events(run: Path, kind: str) -> list[dict[str, Any]]:
    file = run / "events.jsonl"
    lines = file.read_text().split("\n")[:-1] if file.exists() else []
    return [event for event in map(json.loads, lines) if event["event"] == kind]


def assert_same_model(run: Path, other: Path) -> None:
    weights, others = (load_file(folder / "model" / "weights.safetensors") for folder in (run, other))
    for name, tensor in weights.items():
        assert np.abs(others[name] - tensor).max() <= DRIFT, name
    metrics, expected = (json.loads((folder / "metrics.json").read_text()) for folder in (run, other))
    for horizon, value in metrics["test"]["rank_ic"].items():
        assert value == pytest.approx(expected["test"]["rank_ic"][horizon], abs=2e-3)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run on one process; its folder's neighbour is the cache of all."""
    run = tmp_path_factory.mktemp("torchrun") / "alone"
    done = trained(1, run)
    assert done.returncode == 0, done.stderr
    return run


def test_two_processes_make_the_run_of_one(alone: Path) -> None:
    """Each fetches its data in an empty cache: the first one makes it, the other reads it."""
    run = alone.with_name("two")
    done = trained(2, run, f"data.cache={run.parent}/another-cache")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [str(run)], "one of them has the word"
    assert [event["ranks"] for event in events(run, "start")] == [2]
    steps = [event["step"] for event in events(run, "train")]
    assert steps == list(range(1, len(steps) + 1))
    assert (run / "report.html").exists()
    assert json.loads((run / "run_state.json").read_text())["status"] == "finished"
    assert_same_model(run, alone)


@pytest.mark.exhaustive
def test_two_processes_that_divide_the_weights_make_the_run_of_one(alone: Path) -> None:
    run = alone.with_name("divided")
    done = trained(2, run, "distributed.strategy=fsdp")
    assert done.returncode == 0, done.stderr
    assert [(event["ranks"], event["sharded"]) for event in events(run, "start")] == [(2, True)]
    assert_same_model(run, alone)


@pytest.fixture
def training(alone: Path) -> Iterator[Any]:
    """Starts one that is still under way; whatever is left of it is killed in the end."""
    started: list[subprocess.Popen[str]] = []

    def start(run: Path, *torchrun: str) -> subprocess.Popen[str]:
        arguments = command(2, run, "train.max_epochs=8", "train.checkpoint_every=5", torchrun=torchrun)
        with (run.parent / f"{run.name}.log").open("w") as log:
            process = subprocess.Popen(
                arguments, cwd=run.parent, stdout=log, stderr=log, start_new_session=True, text=True
            )
        started.append(process)
        until = time.monotonic() + PATIENCE
        while len(events(run, "train")) < 7 and time.monotonic() < until:
            assert process.poll() is None, (run.parent / f"{run.name}.log").read_text()
            time.sleep(0.02)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def ranks_of(process: subprocess.Popen[str]) -> list[int]:
    """Processes of the training, by their rank."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    by_rank = {}
    for child in children:
        found = re.search(rb"\0RANK=(\d+)\0", Path(f"/proc/{child}/environ").read_bytes())
        if found:
            by_rank[int(found[1])] = int(child)
    return [by_rank[rank] for rank in sorted(by_rank)]


@pytest.mark.exhaustive
def test_torchrun_that_is_told_to_stop_leaves_a_run_that_goes_on_on_another_number(alone: Path, training: Any) -> None:
    run = alone.with_name("stopped")
    process = training(run)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 1, "as the page says: whatever those of the training were"
    state = json.loads((run / "run_state.json").read_text())
    assert state["status"] == "interrupted"
    assert state["resumable"]
    assert "SIGTERM" in state["exit_reason"]
    done = trained(3, run, "train.max_epochs=8", "train.checkpoint_every=5")
    assert done.returncode == 0, done.stderr
    steps = [event["step"] for event in events(run, "train")]
    assert steps == list(range(1, len(steps) + 1)), "no step is done twice"
    assert [event["ranks"] for event in events(run, "start")] == [2, 3]


@pytest.mark.exhaustive
def test_torchrun_starts_all_of_them_again_where_one_was_killed(alone: Path, training: Any) -> None:
    run = alone.with_name("killed")
    process = training(run, "--max-restarts=1")
    os.kill(ranks_of(process)[1], signal.SIGKILL)
    assert process.wait(PATIENCE) == 0, (run.parent / "killed.log").read_text()
    assert json.loads((run / "run_state.json").read_text())["status"] == "finished"
    first, again = events(run, "start")
    assert first["resumed_from"] is None
    assert again["resumed_from"] >= 5
    assert "traceback" not in (run.parent / "killed.log").read_text().lower()
