"""Bytes that are not what was written: named, told of, and gone on from where they still are."""

import json
import os
import shutil
from collections.abc import Callable
from itertools import product
from pathlib import Path

import pytest

FILES = ("model.safetensors", "optimizer.safetensors", "best.safetensors", "progress.json", "manifest.json")


def flip(file: Path) -> None:
    """One bit, in the middle."""
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def cut(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


DAMAGE: dict[str, Callable[[Path], None]] = {"flipped": flip, "truncated": cut, "missing": Path.unlink}
QUICK = {("flipped", "model.safetensors"), ("truncated", "manifest.json")}
CASES = [
    pytest.param(*case, marks=() if case in QUICK else pytest.mark.slow, id="-".join(case))
    for case in product(DAMAGE, FILES)
]
STOP = """
import os, signal, sys
def audit(event, args):
    if event == "open" and ".step_00000006" in str(args[0]) and str(args[0]).endswith("model.safetensors"):
        os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(audit)
"""
"""Killed inside of the third checkpoint: those of steps 2 and 4 are there."""


def events(run: Path, kind: str) -> list[dict]:
    lines = (json.loads(line) for line in (run / "events.jsonl").read_text().splitlines())
    return [line for line in lines if line["event"] == kind]


@pytest.fixture(scope="module")
def killed(commands, small_run, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("killed")
    command = ["train", *small_run.arguments, *small_run.places(folder / "cache", folder / "run")]
    assert commands.atft(*command, before=STOP).code == -9
    assert sorted(path.name for path in (folder / "run" / "checkpoints").glob("step_*")) == [
        "step_00000002_epoch_0000", "step_00000004_epoch_0000",
    ]  # fmt: skip
    return folder


@pytest.fixture
def broken(killed, tmp_path) -> tuple[Path, Path]:
    """The folder of the killed run, to be damaged; and its cache."""
    return Path(shutil.copytree(killed / "run", tmp_path / "run")), killed / "cache"


@pytest.mark.fault(
    "newest checkpoint truncated, bit-flipped or without a file", "said loudly; the one before; same bits"
)
@pytest.mark.parametrize(("damage", "file"), CASES)
def test_a_damaged_checkpoint_is_said_and_the_one_before_used(damage, file, commands, small_run, broken, struck):
    run, cache = broken
    newest = run / "checkpoints" / "step_00000004_epoch_0000"
    DAMAGE[damage](newest / file)
    answer = commands.atft("train", *small_run.arguments, *small_run.places(cache, run)).succeeded()
    (warning,) = [event["message"] for event in events(run, "warning")]
    struck(str(newest / file) in warning)
    assert "step_00000002" in warning
    assert str(newest / file) in answer.err.replace("\n", "")
    assert events(run, "start")[-1]["resumed_from"] == 2
    assert (run / "checkpoints" / f"damaged_{newest.name}").is_dir(), "kept for who wants to look"
    trained = run / "model" / "weights.safetensors"
    assert trained.read_bytes() == (small_run.folder / "model" / "weights.safetensors").read_bytes()


@pytest.mark.fault("every checkpoint damaged", "74, each named; nothing deleted")
def test_without_an_intact_checkpoint_each_is_named(commands, small_run, broken, struck):
    run, cache = broken
    flip(run / "checkpoints" / "step_00000004_epoch_0000" / "model.safetensors")
    cut(run / "checkpoints" / "step_00000002_epoch_0000" / "optimizer.safetensors")
    answer = commands.atft("train", *small_run.arguments, *small_run.places(cache, run))
    answer.refused(
        74,
        "step_00000004_epoch_0000/model.safetensors",
        "step_00000002_epoch_0000/optimizer.safetensors",
        "run.fresh=true",
    )
    struck("2 damaged" in answer.err)
    assert len(list((run / "checkpoints").iterdir())) >= 2


@pytest.mark.fault("a trained model damaged", "predict, evaluate and report refuse it (74), named")
@pytest.mark.parametrize("file", ["model.json", "weights.safetensors"])
@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_model_is_not_used(damage, file, commands, small_run, tmp_path, struck):
    run = Path(shutil.copytree(small_run.folder, tmp_path / "run"))
    DAMAGE[damage](run / "model" / file)
    predict = ["predict", run, "--data", small_run.panel, "--out", tmp_path / "out.parquet"]
    for command in (predict, ["evaluate", run], ["report", run]):
        answer = commands.atft(*command)
        answer.refused(74, file)
        struck(str(run / "model") in answer.err)
    assert not (tmp_path / "out.parquet").exists()


UNDERWAY = """
import os, sys, numpy
def strike():
    print("STRUCK", file=sys.stderr)
    {strike}
def audit(event, args):
    if event == "os.rename" and "/.step_00000002" in str(args[0]):
        strike()
sys.addaudithook(audit)
"""
"""As the first checkpoint is done."""
FLIP = """
    with open({file!r}, "r+b") as file:
        byte = file.seek({at}) and file.read(1)[0] ^ 1
        file.seek({at})
        file.write(bytes([byte]))
"""


@pytest.fixture
def store(commands, small_run, tmp_path) -> Path:
    """Read anew for each batch, as one with online normalisation is; its last file is that of the newest days."""
    commands.atft("data", "build", small_run.panel, "--out", tmp_path / "store", "data.horizons=[1,5]").succeeded()
    return tmp_path / "store"


def train_on(store: Path, run: Path, small_run) -> list[str]:
    return [
        "train", *small_run.arguments, f"data.source={store}", f"data.cache={run.parent / 'cache'}", f"run.dir={run}",
        "improvements.online_normalization=true",
    ]  # fmt: skip


@pytest.mark.fault("store truncated while it is read", "65 before the next batch: file and bytes named")
def test_a_store_that_is_cut_short_is_noticed_before_the_next_batch(commands, small_run, store, tmp_path, struck):
    file = min(store.glob("*.arrow"))
    command = train_on(store, tmp_path / "run", small_run)
    answer = commands.atft(*command, before=UNDERWAY.format(strike=f"os.truncate({str(file)!r}, 4096)"))
    struck("STRUCK" in answer.err)
    answer.refused(65, str(file), "truncated", "4096")
    assert len(events(tmp_path / "run", "train")) <= 2
    state = json.loads((tmp_path / "run" / "run_state.json").read_text())
    assert "truncated" in state["exit_reason"]


@pytest.mark.fault("store bit-flipped while it is read", "65: file, column, block and dates named")
def test_a_store_that_is_damaged_is_noticed_when_it_is_read(commands, small_run, store, tmp_path, struck):
    """In the block of the newest days, which are read last: what was read already is known to have been good."""
    manifest = json.loads((store / "manifest.json").read_bytes())
    shard = manifest["shards"][-1]
    file = store / shard["file"]
    features = len(shard["stocks"]) * len(manifest["feature_names"]) * 4
    at = shard["body"] + (shard["stop"] - shard["first_held"]) * features - 4
    answer = commands.atft(
        *train_on(store, tmp_path / "run", small_run), before=UNDERWAY.format(strike=FLIP.format(file=str(file), at=at))
    )
    struck("STRUCK" in answer.err)
    answer.refused(65, file.name, "column features", "block", manifest["days"][-1])
    checked = commands.atft("data", "check", store)
    checked.refused(65, file.name, "column features", manifest["days"][-1])
