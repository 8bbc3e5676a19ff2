"""The supervisor beside a training that dies: what it starts again, what it passes on, and what it says and writes."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from atft_gat_fan.config.load import load_config
from atft_gat_fan.data.conversion import convert
from atft_gat_fan.errors import AtftError
from atft_gat_fan.runs.supervisor import Patience, newest_step, supervise

WORKER = Path(__file__).with_name("supervised_worker.py")
QUICK = Patience(first_delay=0.01, longest_delay=0.02, max_restarts=3)


@dataclass
class Supervised:
    """A run folder whose training is the worker."""

    run: Path
    overrides: list[str] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)

    def command(self, lives: list[list[Any]]) -> list[str]:
        return [sys.executable, "-S", str(WORKER), str(self.run), json.dumps(lives)]

    def start(self, *lives: list[Any], patience: Patience = QUICK) -> int:
        config = load_config([f"run.dir={self.run}", f"data.cache={self.run.parent / 'cache'}", *self.overrides])
        return supervise(config, self.command(list(lives)), self.messages.append, patience)

    @property
    def record(self) -> dict[str, Any]:
        return json.loads((self.run / "supervisor.json").read_text())

    @property
    def codes(self) -> list[int]:
        return [life["exit_code"] for life in self.record["lives"]]


@pytest.fixture
def supervised(tmp_path: Path) -> Supervised:
    return Supervised(tmp_path / "run")


@pytest.mark.fault("a supervised training dies of SIGKILL, SIGBUS or SIGSEGV", "started again; why is said and written")
@pytest.mark.parametrize(
    ("ending", "code", "words"),
    [("kill", 137, "out-of-memory killer"), ("bus", 135, "atft data check"), ("segv", 139, "SIGSEGV")],
)
def test_a_killed_training_is_started_again(supervised, struck, ending, code, words):
    assert supervised.start([3, ending], [8, 0]) == 0
    struck(supervised.codes == [code, 0])
    record = supervised.record
    assert (record["status"], [life["step"] for life in record["lives"]]) == ("finished", [3, 8])
    (message,) = supervised.messages
    for told in (message, f"at step 3, {record['lives'][0]['reason']}"):
        assert words in told
        assert "at step 3, killed by" in told
    assert all(life["started"] <= life["ended"] for life in record["lives"])


@pytest.mark.fault("a supervised training exits with 75 unasked", "started again")
def test_a_training_that_asks_for_it_is_started_again(supervised, struck):
    assert supervised.start([3, 75], [8, 75], [9, 0]) == 0
    struck(supervised.codes == [75, 75, 0])


@pytest.mark.fault("a supervised training fails by itself", "its exit code is passed on; not started again")
@pytest.mark.parametrize("code", [1, 2, 65, 69, 70, 74, 78, 130, 143])
def test_any_other_exit_code_is_passed_on(supervised, struck, code):
    assert supervised.start([3, code]) == code
    struck(supervised.codes == [code])
    assert supervised.record["status"] == "failed"
    assert not supervised.messages


@pytest.mark.fault("a supervised training dies twice at one step", "not started again: a crash loop, written with why")
@pytest.mark.parametrize(
    ("lives", "codes"),
    [
        ([[3, "kill"], [3, "kill"]], [137, 137]),
        ([[3, "segv"], [3, "kill"]], [139, 137]),
        ([[None, "kill"], [None, "kill"]], [137, 137]),
        ([[3, "kill"], [2, "kill"], [3, "kill"]], [137, 137, 137]),
    ],
)
def test_a_crash_loop_is_not_fed(supervised, struck, lives, codes):
    with pytest.raises(AtftError, match="died twice") as caught:
        supervised.start(*lives, [9, 0])
    struck(supervised.codes == codes)
    assert caught.value.exit_code == 1
    record = supervised.record
    assert record["status"] == "crash loop"
    for told in (record["reason"], str(caught.value)):
        assert "before the first step" in told if lives[0][0] is None else "at step 3" in told
        assert "batch_size=4" in told
        assert "gradient_checkpointing=true" in told
    assert str(supervised.run) in str(caught.value)


def test_deaths_at_different_steps_are_no_loop(supervised):
    assert supervised.start([3, "kill"], [5, "kill"], [4, "kill"], [9, "kill"], [12, "kill"], [20, 0]) == 0


@pytest.mark.fault("a supervised training asks again and again, without a step", "given up after the cap on restarts")
def test_a_training_that_comes_no_further_is_given_up(supervised, struck):
    with pytest.raises(AtftError, match="no further after 3 restarts"):
        supervised.start(*[[3, 75]] * 9)
    struck(supervised.codes == [75] * 4)
    assert supervised.record["status"] == "gave up"


def test_a_step_further_is_worth_new_patience(supervised):
    assert supervised.start(*[[step // 3, 75] for step in range(12)], [20, 0]) == 0


def test_waiting_doubles_up_to_a_minute():
    assert [Patience().delay(restarts) for restarts in range(8)] == [1, 2, 4, 8, 16, 32, 60, 60]


@pytest.mark.fault("a store is truncated under a supervised training", "SIGBUS: the file is named, with its sizes")
@pytest.mark.parametrize("place", ["source", "cache"])
def test_a_truncated_store_is_named(supervised, struck, tmp_path, place):
    store = tmp_path / "cache" / "store"
    small = ["data=synthetic", "data.synthetic.num_stocks=5", "data.synthetic.num_days=90"]
    convert(load_config(small), store, lambda stage, share: None)
    (file,) = store.glob("days-*.arrow")
    whole = file.stat().st_size
    supervised.overrides = [
        f"data.cache={store.parent}",
        f"data.source={store}" if place == "source" else "data=sample",
    ]
    assert supervised.start([3, f"bus {file}"], [8, 65]) == 65
    struck(supervised.codes == [135, 65])
    (message,) = supervised.messages
    assert f"truncated: expected {whole} bytes, found 4096 [{file}]" in message
    assert "atft data build" in message


PARENT = """
import json, sys
from atft_gat_fan.config.load import load_config
from atft_gat_fan.runs.supervisor import Patience, supervise
run, command = sys.argv[1], json.loads(sys.argv[2])
code = supervise(load_config([f"run.dir={run}"]), command, print, Patience(first_delay=60))
assert "torch" not in sys.modules
sys.exit(code)
"""


def appears(file: Path) -> str:
    deadline = time.monotonic() + 60
    while not (file.exists() and file.read_text()):
        assert time.monotonic() < deadline, f"{file} never came"
        time.sleep(0.02)
    return file.read_text()


@pytest.fixture
def in_a_process(supervised: Supervised) -> Callable[..., "subprocess.Popen[str]"]:
    """The supervisor of these lives, in a process group of its own, as a shell would start it."""

    def start(*lives: list[Any]) -> "subprocess.Popen[str]":
        arguments = [str(supervised.run), json.dumps(supervised.command(list(lives)))]
        return subprocess.Popen(
            [sys.executable, "-c", PARENT, *arguments], text=True, stdout=subprocess.PIPE, start_new_session=True
        )

    return start


@pytest.mark.fault("SIGTERM, SIGINT or SIGUSR1 to the supervisor", "passed on once; its exit code; not started again")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
@pytest.mark.parametrize("kill", [os.kill, os.killpg], ids=["process", "terminal"])
def test_a_signal_is_passed_on_and_ends_it(supervised, in_a_process, struck, number, kill):
    parent = in_a_process([3, "wait"], [9, 0])
    appears(supervised.run / "waiting")
    kill(parent.pid, number)
    assert parent.wait(60) == 7
    struck(json.loads(appears(supervised.run / "signals")) == [number.name])
    assert supervised.codes == [7]
    assert (supervised.record["status"], number.name in supervised.record["reason"]) == ("stopped", True)


@pytest.mark.fault("SIGTERM while the supervisor waits to start again", "exit 143 at once")
def test_a_signal_ends_the_waiting(supervised, in_a_process, struck):
    parent = in_a_process([3, "kill"], [9, 0])
    struck("starting" not in parent.stdout.readline())  # it says so before it waits a minute
    began = time.monotonic()
    parent.terminate()
    assert parent.wait(30) == 143
    assert time.monotonic() - began < 10
    assert supervised.codes == [137]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child that its parent died")
@pytest.mark.fault("SIGKILL to the supervisor", "the training is told to save and stop; none is left alone")
def test_no_training_outlives_its_supervisor(supervised, in_a_process, struck):
    parent = in_a_process([3, "wait"])
    appears(supervised.run / "waiting")
    parent.kill()
    struck(parent.wait(60) == -signal.SIGKILL)
    assert json.loads(appears(supervised.run / "signals")) == ["SIGTERM"]


def test_starting_over_happens_once(supervised):
    (supervised.run / "checkpoints").mkdir(parents=True)
    (supervised.run / "events.jsonl").write_text('{"step": 70}\n')
    supervised.overrides = ["run.fresh=true"]
    assert supervised.start([3, "kill"], [None, 0]) == 0
    assert not (supervised.run / "checkpoints").exists()
    assert [life["step"] for life in supervised.record["lives"]] == [3, 3]


def test_without_a_log_the_newest_checkpoint_tells_the_step(tmp_path):
    assert newest_step(tmp_path) is None
    for name in ("step_00000008_epoch_0001", "step_00000040_epoch_0002_return_1", ".step_00000044_epoch_0002.tmp"):
        (tmp_path / "checkpoints" / name).mkdir(parents=True)
    assert newest_step(tmp_path) == 40
    (tmp_path / "events.jsonl").write_text('{"event": "train", "step": 120}\n{"event": "wa')
    assert newest_step(tmp_path) == 120


@pytest.mark.fault("a supervisor.json that cannot be written", "said; the training is looked after all the same")
def test_a_record_that_cannot_be_written_ends_nothing(supervised, struck):
    (supervised.run / "supervisor.json").mkdir(parents=True)
    assert supervised.start([3, "kill"], [8, 0]) == 0
    struck([message for message in supervised.messages if "cannot write" in message])


SMALL = [
    "data=synthetic", "data.synthetic.num_stocks=12", "data.synthetic.num_days=320", "model=small", "batch_size=16",
    "train.max_epochs=2", "train.checkpoint_every=3", "train.log_every=1", "run.num_threads=1",
    "evaluation.lightgbm.num_rounds=5",
]  # fmt: skip


def atft_train(folder: Path, *arguments: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "atft_gat_fan.cli", "train", *SMALL, f"run.dir={folder / 'run'}"]
    command += [f"data.cache={folder.parent / 'cache'}", *arguments]
    folder.mkdir()
    with (folder / "log").open("w") as log:
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)


@pytest.mark.slow
@pytest.mark.fault("SIGKILL to a real training under `atft train --supervise`", "the same bits as one left alone")
def test_a_supervised_training_ends_with_the_same_bits(tmp_path, struck):
    alone = atft_train(tmp_path / "alone")
    assert alone.wait(300) == 0, (tmp_path / "alone/log").read_text()
    supervised = atft_train(tmp_path / "supervised", "--supervise", "--json", "run.fresh=true")
    run = tmp_path / "supervised/run"
    while (newest_step(run) or 0) < 5:
        assert supervised.poll() is None, (tmp_path / "supervised/log").read_text()
        time.sleep(0.01)
    os.kill(json.loads((run / "supervisor.json").read_text())["lives"][-1]["process"], signal.SIGKILL)
    out, _ = supervised.communicate(timeout=300)
    log = (tmp_path / "supervised/log").read_text()
    assert supervised.returncode == 0, log
    assert json.loads(out)["run"] == str(run), "the training's own result, and nothing else"
    record = json.loads((run / "supervisor.json").read_text())
    struck([life["exit_code"] for life in record["lives"]] == [137, 0])
    assert record["lives"][0]["step"] >= 5
    assert "supervisor: the training ended at step" in log
    for name in ("model/weights.safetensors", "normalizer.json"):
        assert (run / name).read_bytes() == (tmp_path / "alone/run" / name).read_bytes(), name
    test, expected = (json.loads((of / "metrics.json").read_text())["test"] for of in (run, tmp_path / "alone/run"))
    assert test == expected


@pytest.mark.fault("SIGTERM to the supervisor of a training that is still starting", "exit 143; none is left alone")
def test_a_signal_before_the_training_stands(tmp_path, struck):
    supervised = atft_train(tmp_path / "supervised", "--supervise")
    process = json.loads(appears(tmp_path / "supervised/run/supervisor.json"))["lives"][0]["process"]
    supervised.terminate()
    assert supervised.wait(60) == 143
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)
    struck(json.loads((tmp_path / "supervised/run/supervisor.json").read_text())["status"] == "stopped")
