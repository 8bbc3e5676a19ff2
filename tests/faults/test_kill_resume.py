"""Kill, stop, starve and crowd a training, start it again, and compare with one that was left alone.

10 steps an epoch (20 in all), 4 validation batches after each: batch 11 to 14 and 25 to 28 belong to
validations. A checkpoint every 4 steps and after each epoch: steps 4, 8, 10, 12, 16, 20.
"""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

WORKER = Path(__file__).with_name("training_worker.py")
SETTINGS = {"max_epochs": 2, "checkpoint_every": 4, "log_every": 1}
WITH_EMA = {**SETTINGS, "ema": {"decay": 0.9, "warmup": True}}

# fault: the step that the second start resumes from
KILLS = {
    ("batch", 1): None,
    ("batch", 7): 4,
    ("batch", 12): 8,
    ("batch", 15): 10,
    ("batch", 28): 16,
    ("write", 3): 8,
    ("rename", 1): None,
    ("rename", 6): 16,
    ("rotate", 1): 10,
}
# fault: the last step that the killed process did
STEPS_BEFORE = {
    ("batch", 1): 0,
    ("batch", 7): 6,
    ("batch", 12): 10,
    ("batch", 15): 10,
    ("batch", 28): 20,
    ("write", 3): 10,
    ("rename", 1): 4,
    ("rename", 6): 20,
    ("rotate", 1): 10,
}
SIGNALS = {("SIGTERM", 6): 143, ("SIGINT", 12): 130, ("SIGUSR1", 18): 75}
OTHERS = [("SIGTERM2", 7), ("hold", 7), ("disk", 7)]


def events(run: Path, kind: str) -> list[dict]:
    lines = (json.loads(line) for line in (run / "events.jsonl").read_text().splitlines())
    return [line for line in lines if line["event"] == kind]


def outcome(run: Path) -> dict[str, bytes]:
    """All that must not depend on being killed: final weights, last checkpoint's tensors, the history of metrics."""
    last = max((run / "checkpoints").glob("step_*"))
    files = [*sorted(run.glob("final*")), run / "history.json", *sorted(last.glob("*.safetensors"))]
    return {file.name: file.read_bytes() for file in files} | {"checkpoint": last.name.encode()}


@dataclass(frozen=True)
class Runs:
    root: Path
    endings: dict[str, list[int]]

    def path(self, name: str) -> Path:
        return self.root / name

    @property
    def straight(self) -> dict[str, bytes]:
        return outcome(self.path("straight"))

    @property
    def straight_with_ema(self) -> dict[str, bytes]:
        return outcome(self.path("straight-ema"))


def name_of(fault: tuple[str, int], ema: bool = False) -> str:
    return "-".join(map(str, fault)) + ("-ema" if ema else "")


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Runs:
    """Every fault and the run after it, in one worker: its imports cost more than the trainings."""
    root = tmp_path_factory.mktemp("runs")
    jobs = [("straight", None), ("straight-ema", None)]
    for fault in [*KILLS, *SIGNALS, *OTHERS]:
        jobs += [(name_of(fault), fault), *[(name_of(fault), None)] * (2 if fault[0] == "hold" else 1)]
    for fault in [*KILLS, *SIGNALS]:
        jobs += [(name_of(fault, ema=True), fault), (name_of(fault, ema=True), None)]
    written = [
        {"run": str(root / name), "settings": WITH_EMA if name.endswith("-ema") else SETTINGS, "fault": fault or [""]}
        for name, fault in jobs
    ]
    file = root / "jobs.json"
    file.write_text(json.dumps(written))
    done = subprocess.run([sys.executable, str(WORKER), str(file)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    endings: dict[str, list[int]] = {}
    for (name, _), ending in zip(jobs, json.loads(done.stdout), strict=True):
        endings.setdefault(name, []).append(ending)
    return Runs(root, endings)


@pytest.mark.parametrize(("fault", "resumed"), KILLS.items(), ids=str)
def test_killed_anywhere_ends_with_the_same_bits(runs, fault, resumed):
    run = runs.path(name_of(fault))
    assert runs.endings[run.name] == [-9, 0]
    assert outcome(run) == runs.straight
    assert [event["resumed_from"] for event in events(run, "start")] == [None, resumed]


@pytest.mark.parametrize("fault", [*KILLS, *SIGNALS], ids=str)
def test_the_average_ends_with_the_same_bits_too(runs, fault):
    run = runs.path(name_of(fault, ema=True))
    assert runs.endings[run.name] == [SIGNALS.get(fault, -9), 0]
    expected = runs.straight_with_ema
    assert outcome(run) == expected
    assert {"final.safetensors", "final_raw.safetensors", "ema.safetensors", "best_raw.safetensors"} <= expected.keys()
    assert expected["model.safetensors"] == runs.straight["model.safetensors"]


@pytest.mark.parametrize("fault", KILLS, ids=str)
def test_the_kill_came_while_the_run_was_under_way(runs, fault):
    """Without this, the test above could pass with a fault that never struck, or struck after the end."""
    run = runs.path(name_of(fault))
    second = events(run, "start")[1]
    (finish,) = events(run, "finish")
    assert second["time"] < finish["time"]
    before = [event["step"] for event in events(run, "train") if event["time"] < second["time"]]
    after = [event["step"] for event in events(run, "train") if event["time"] > second["time"]]
    assert before == list(range(1, STEPS_BEFORE[fault] + 1))
    assert after == list(range((second["resumed_from"] or 0) + 1, 21))


@pytest.mark.parametrize(("fault", "code"), SIGNALS.items(), ids=str)
def test_a_signal_saves_and_exits_with_its_code(runs, fault, code):
    run = runs.path(name_of(fault))
    assert runs.endings[run.name] == [code, 0]
    steps = [event["step"] for event in events(run, "train")]
    assert steps == list(range(1, 21)), "saved at that very step: nothing is done twice"
    assert outcome(run) == runs.straight
    left = json.loads((run / "error.json").read_text())
    assert fault[0] in left["message"]
    assert (left["state"]["status"], left["state"]["resumable"]) == ("interrupted", True)


def test_a_second_signal_ends_at_once_and_nothing_breaks(runs):
    run = runs.path("SIGTERM2-7")
    assert runs.endings[run.name] == [143, 0]
    assert [event["resumed_from"] for event in events(run, "start")] == [None, 4], "nothing was saved at the signal"
    assert outcome(run) == runs.straight


def test_two_processes_cannot_share_a_run_folder(runs):
    run = runs.path("hold-7")
    assert runs.endings[run.name] == [-9, 74, 0]
    message = (run / "error.json").read_text()
    assert "StorageError" in message
    assert "in use by process" in message
    assert [event["resumed_from"] for event in events(run, "start")] == [None, 4], "the refused one wrote no event"
    assert outcome(run) == runs.straight


def test_a_full_disk_is_named_and_leaves_the_old_checkpoint(runs):
    run = runs.path("disk-7")
    assert runs.endings[run.name] == [74, 0]
    left = json.loads((run / "error.json").read_text())
    assert left["message"].startswith("StorageError")
    assert "step_00000008" in left["message"]
    assert "free space" in left["message"]
    assert left["checkpoints"] == ["step_00000004_epoch_0000"]
    assert (left["state"]["status"], left["state"]["resumable"]) == ("failed", True)
    assert [event["resumed_from"] for event in events(run, "start")] == [None, 4]
    assert outcome(run) == runs.straight


@pytest.fixture(scope="module")
def compiled_runs(tmp_path_factory) -> Runs:
    """50 steps plain and compiled, and a compiled run that was killed; without the tests' shape checks."""
    root = tmp_path_factory.mktemp("compiled")
    settings = {"max_epochs": 5, "early_stopping": False, "log_every": 1, "checkpoint_every": 20}
    jobs = [
        {"run": str(root / "plain"), "settings": {**settings, "compile": False}, "fault": [""]},
        {"run": str(root / "compiled"), "settings": {**settings, "compile": True}, "fault": [""]},
        {"run": str(root / "killed"), "settings": {**settings, "compile": True}, "fault": ["batch", 45]},
        {"run": str(root / "killed"), "settings": {**settings, "compile": True}, "fault": [""]},
    ]
    file = root / "jobs.json"
    file.write_text(json.dumps(jobs))
    done = subprocess.run([sys.executable, str(WORKER), str(file)], capture_output=True, text=True, timeout=1200)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [0, 0, -9, 0], done.stderr
    return Runs(root, {})


@pytest.mark.slow
def test_a_killed_compiled_run_ends_with_the_same_bits(compiled_runs):
    killed, straight = compiled_runs.path("killed"), compiled_runs.path("compiled")
    assert outcome(killed) == outcome(straight)
    starts = events(killed, "start")
    assert [start["compiled"] for start in starts] == [True, True]
    assert starts[1]["resumed_from"] == 30
    assert json.loads((killed / "compiled.json").read_text())


@pytest.mark.slow
def test_compiling_is_recorded_apart_from_the_steps(compiled_runs):
    run = compiled_runs.path("compiled")
    (compiling,) = events(run, "compile")
    assert compiling["seconds"] > 0
    assert (compiling["step"], events(run, "train")[0]["step"]) == (0, 1)
    assert not events(compiled_runs.path("plain"), "compile")


@pytest.mark.slow
def test_compiled_losses_are_the_plain_ones_for_50_steps(compiled_runs):
    plain, compiled = (
        [event["loss"] for event in events(compiled_runs.path(name), "train")] for name in ("plain", "compiled")
    )
    assert len(plain) == 50
    assert compiled == pytest.approx(plain, rel=1e-4)
    assert compiled != plain, "else nothing was compiled"
