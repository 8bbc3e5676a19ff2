"""Kill a run while LightGBM learns beside its network: it goes on with the next booster, to the same bits."""

import json
import shutil
from pathlib import Path

import pytest

from atft_gat_fan.config.load import load_config
from atft_gat_fan.errors import ConfigError
from atft_gat_fan.runs.blend import require_blend

BLEND = [
    "model.blend.enabled=true", "model.blend.lightgbm.num_rounds=10", "model.blend.lightgbm.min_data_in_leaf=20",
    "model.blend.lightgbm.num_leaves=7",
]  # fmt: skip
KILL = """
import os, signal
from atft_gat_fan.runs import blend
def kill(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)
"""
KILLS = {
    "between two boosters": """
keep = blend._keep
blend._keep = lambda file, *rest: kill() if file.name == "5d_0.json" else keep(file, *rest)
""",
    "in the middle of a booster": """
done = blend._part_done
blend._part_done = lambda report, number, count, share: kill() if (number, share > 0.4) == (1, True) else done(
    report, number, count, share
)
""",
    "as the weights are chosen": "blend.choose_weight = kill",
    "as the model is written": """
from atft_gat_fan.inference import bundle
write = bundle.replace_durably
bundle.replace_durably = lambda file, content: kill() if file.name == "model.json" else write(file, content)
""",
}


FIRST = "in the middle of a booster"
"""In every run of the slow tests; the others in `make faults`."""


@pytest.fixture(scope="module")
def command(small_run) -> list[str]:
    try:
        require_blend(load_config(BLEND[:1]))
    except ConfigError as error:
        pytest.skip(str(error))
    return ["train", *small_run.arguments, *BLEND]


@pytest.fixture(scope="module")
def straight(commands, command, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("straight")
    commands.atft(*command, f"data.cache={folder / 'cache'}", f"run.dir={folder / 'run'}").succeeded()
    return folder


def outcome(run: Path) -> dict[str, object]:
    """What must not depend on having been killed: the model, its scores' metrics."""
    files = {file.name: file.read_bytes() for file in (run / "model").iterdir()}
    description = json.loads(files.pop("model.json"))
    # Of the folder that the run is in.
    for key in ("data", "sha256"):
        description.pop(key)
    description["training"].pop("config")
    files.pop("reference.json")  # has the checksum of the description
    metrics = json.loads((run / "metrics.json").read_text())
    return {**files, "model": description, **{key: metrics[key] for key in ("blend", "valid", "test")}}


@pytest.mark.slow
@pytest.mark.fault(
    "kill −9 while LightGBM learns beside the network, or as the blend is weighed or written",
    "finished boosters are kept; goes on to the same bits",
)
@pytest.mark.parametrize(
    "where", [FIRST, *(pytest.param(where, marks=pytest.mark.exhaustive) for where in KILLS if where != FIRST)]
)
def test_a_killed_blend_ends_with_the_same_bits(where, commands, command, straight, tmp_path, struck):
    run = tmp_path / "run"
    places = [f"data.cache={straight / 'cache'}", f"run.dir={run}"]
    killed = commands.atft(*command, *places, before=KILL + KILLS[where])
    struck(killed.code == -9)
    assert not (run / "model" / "model.json").exists(), "no model without its other part"
    commands.atft("predict", run, "--data", "synthetic", "--out", tmp_path / "x.parquet").refused(74, "trained model")
    left = {file.name: file.stat().st_mtime_ns for file in (run / "blend").glob("*.json")}
    assert "1d_0.json" in left
    commands.atft(*command, *places).succeeded()
    assert outcome(run) == outcome(straight / "run")
    now = {file.name: file.stat().st_mtime_ns for file in (run / "blend").glob("*.json")}
    assert left.items() <= now.items(), "what was finished is not done again"
    shutil.rmtree(run)
