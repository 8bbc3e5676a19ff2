"""Let memory run out, once, for all that is large, and for real, and see what becomes of the training."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file

WORKER = Path(__file__).with_name("memory_worker.py")
SETTINGS = {"max_epochs": 1, "max_steps": 6, "checkpoint_every": 2, "log_every": 1, "batch_size": 8}
WITH_EMA = {**SETTINGS, "ema": {"decay": 0.9, "warmup": True}}
# Each operator runs once or more a step: the N-th call is in the middle of the training.
ONCE = {
    "forward": ["nth", "mkldnn_rnn_layer", 4],
    "backward": ["nth", "mkldnn_rnn_layer_backward", 4],
    "optimizer": ["nth", "_foreach_sqrt", 20],
    "average": ["nth", "_foreach_lerp_.Scalar", 4],
}
LARGEST = 400_000  # bytes: what the LSTM keeps of 2 days; of a whole batch of 8 it is 1.3 MB
LEAST = 12_000  # less than the LSTM of a network this small needs for 32 stocks of one day
BIG = {**SETTINGS, "max_steps": 2}
BIG_STOCKS = 3000


class Runs:
    def __init__(self, root: Path) -> None:
        self.root, self.endings = root, {}

    def do(self, jobs: list[tuple[str, dict, int, list]]) -> None:
        """(folder, settings, stocks, fault), one after another in one worker."""
        written = [
            {"run": str(self.root / name), "settings": settings, "stocks": stocks, "fault": fault}
            for name, settings, stocks, fault in jobs
        ]
        file = self.root / "jobs.json"
        file.write_text(json.dumps(written))
        done = subprocess.run([sys.executable, str(WORKER), str(file)], capture_output=True, text=True, timeout=500)
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stderr, done.stderr
        # The last line: oneDNN prints to stdout too where it finds no memory.
        for (name, *_), ending in zip(jobs, json.loads(done.stdout.splitlines()[-1]), strict=True):
            self.endings.setdefault(name, []).append(ending)

    def struck(self, name: str) -> list[str]:
        file = self.root / name / "struck"
        return file.read_text().split() if file.exists() else []

    def events(self, name: str, kind: str) -> list[dict]:
        lines = (json.loads(line) for line in (self.root / name / "events.jsonl").read_text().splitlines())
        return [line for line in lines if line["event"] == kind]

    def message(self, name: str) -> str:
        return json.loads((self.root / name / "error.json").read_text())

    def outcome(self, name: str) -> dict[str, bytes]:
        """Final weights, metrics, and all tensors of the last checkpoint."""
        run = self.root / name
        last = max((run / "checkpoints").glob("step_*"))
        files = [run / "final.safetensors", run / "history.json", *sorted(last.glob("*.safetensors"))]
        return {file.name: file.read_bytes() for file in files}


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Runs:
    runs = Runs(tmp_path_factory.mktemp("runs"))
    runs.do(
        [
            ("straight", WITH_EMA, 40, []),
            *((where, WITH_EMA, 40, fault) for where, fault in ONCE.items()),
            ("small", WITH_EMA, 40, ["largest", LARGEST]),
            ("killed", WITH_EMA, 40, ["kill", LARGEST, 5]),
            ("killed", WITH_EMA, 40, ["largest", LARGEST]),
            ("never", WITH_EMA, 40, ["largest", LEAST]),
        ]
    )
    return runs


@pytest.mark.fault(
    "out of memory in the forward or backward pass", "the days done again; the bits of an undisturbed run"
)
@pytest.mark.parametrize("where", ["forward", "backward"])
def test_a_step_that_ran_out_once_is_done_again_to_the_same_bits(runs, struck, where):
    struck(runs.struck(where))
    assert runs.endings[where] == [0]
    (relief,) = runs.events(where, "relief")
    assert (relief["stamp"], relief["freed"]) == ("exact", True)
    assert "allocate" in relief["why"]
    assert runs.outcome(where) == runs.outcome("straight")
    assert not runs.events(where, "return"), "nothing was lost"


@pytest.mark.fault(
    "out of memory in the optimizer or the average", "back to the checkpoint, replayed; nothing half updated"
)
@pytest.mark.parametrize("where", ["optimizer", "average"])
def test_an_update_that_ran_out_is_replayed_from_the_checkpoint(runs, struck, where):
    struck(runs.struck(where))
    assert runs.endings[where] == [0]
    (relief,) = runs.events(where, "relief")
    assert relief["one_by_one"]
    assert len(runs.events(where, "return")) == 1
    found, expected = (load_file(runs.root / name / "final.safetensors") for name in (where, "straight"))
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert (found[name] - tensor).norm() <= 1e-5 * tensor.norm(), name


@pytest.mark.fault("no batch fits, only pieces of it do", "trained and scored in pieces; equal to rounding")
def test_what_never_fits_whole_is_done_in_pieces_for_good(runs, struck):
    refusals = runs.struck("small")
    struck(refusals)
    assert runs.endings["small"] == [0]
    told = runs.events("small", "relief")
    assert len(told) == len(refusals), "once it fits, it never fails again"
    assert told[-1]["days"] == 2
    assert told[-1]["stamp"] == "fp-equivalent"
    small, straight = (runs.events(name, "train") for name in ("small", "straight"))
    assert [event["loss"] for event in small] == pytest.approx([event["loss"] for event in straight], rel=1e-3)


@pytest.mark.fault("SIGKILL after memory ran out", "resumes with the same relief to the same bits")
def test_killed_under_relief_it_goes_on_under_it(runs, struck):
    refused = runs.struck("small")
    assert runs.struck("killed") == [*refused, "killed"], "the second start found no reason to ask for less"
    struck(runs.endings["killed"] == [-9, 0])
    assert runs.events("killed", "start")[1]["resumed_from"] > 0
    assert runs.outcome("killed") == runs.outcome("small")


@pytest.mark.fault("one day that never fits", "exit 69 with what it needs and what there is; the checkpoint stays")
def test_a_day_that_never_fits_says_what_it_needs(runs, struck):
    refusals = runs.struck("never")
    struck(refusals)
    assert runs.endings["never"] == [69]
    told = runs.events("never", "relief")
    assert (told[-1]["days"], told[-1]["stocks"], told[-1]["by_day"]) == (1, 32, True), "nothing was left untried"
    message = runs.message("never")
    assert message.startswith("MemoryLimitError: expected one day of 40 stocks and 4 features to fit in memory")
    assert "gradients, optimizer and averages" in message
    assert "free" in message
    assert list((runs.root / "never" / "checkpoints").iterdir())


@pytest.fixture(scope="module")
def limited(tmp_path_factory) -> Runs:
    """A market that needs a quarter of a gigabyte, with as much, and with a fifth of it."""
    runs = Runs(tmp_path_factory.mktemp("limited"))
    runs.do([("free", BIG, BIG_STOCKS, [])])
    room = int((runs.root / "free" / "grown").read_text()) // 5
    off = {**BIG, "executor": "plain"}
    runs.do(
        [
            ("on", BIG, BIG_STOCKS, ["room", room]),
            ("off", off, BIG_STOCKS, ["room", room]),
            ("off", BIG, BIG_STOCKS, ["room", room]),
        ]
    )
    return runs


@pytest.mark.slow
@pytest.mark.fault("an address space too small (RLIMIT_AS), recovery on", "trained to the end in pieces")
def test_a_real_limit_is_trained_under_in_pieces(limited, struck):
    assert limited.endings["on"] == [0]
    told = limited.events("on", "relief")
    struck(told and "allocate" in told[0]["why"])
    assert told[-1]["days"] < 8
    losses = [[event["loss"] for event in limited.events(name, "train")] for name in ("on", "free")]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


@pytest.mark.slow
@pytest.mark.fault(
    "an address space too small, recovery off", "exit 69 with this run's levers; goes on once one is pulled"
)
def test_off_the_levers_are_named_and_the_run_can_go_on_with_one(limited, struck):
    assert limited.endings["off"] == [69, 0]
    message = limited.message("off")
    struck("allocate" in message)
    for lever in (
        "batch_size=4 instead of 8",
        "improvements.online_normalization=true",
        "gradient_checkpointing=true",
        "improvements.auto_recover_oom=true",
    ):
        assert lever in message
    assert "use_ema" not in message
    assert limited.events("off", "finish")
