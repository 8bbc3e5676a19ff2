"""A run goes on as what it began as, or not at all: what is different now is named."""

import json
import os
import signal
from pathlib import Path

import polars as pl
import pytest

STOP = f"""
import os, sys
def audit(event, args):
    if event == "open" and ".step_00000006" in str(args[0]) and str(args[0]).endswith("model.safetensors"):
        os.kill(os.getpid(), {signal.SIGKILL.value})
sys.addaudithook(audit)
"""


@pytest.fixture
def killed(commands, small_run, tmp_path) -> list[str]:
    """The command of a run that was killed after its checkpoint of step 4."""
    panel = tmp_path / "panel.parquet"
    os.link(small_run.panel, panel)
    command = [
        "train", *small_run.arguments, *small_run.places(tmp_path / "cache", tmp_path / "run"), f"data.source={panel}",
    ]  # fmt: skip
    assert commands.atft(*command, before=STOP).code == -9
    return command


def content(run: Path) -> dict[str, bytes]:
    return {str(file): file.read_bytes() for file in run.rglob("*") if file.is_file() and file.name != ".lock"}


CHANGES = {
    "data.horizons=[1,2]": "data.horizons",
    "data.features=[Close,Volume]": "data.features",
    "split.train_fraction=0.6": "split.train_fraction",
    "labels.transform=rank": "labels.transform",
    "improvements.use_ema=true": "improvements.use_ema",
    "improvements.huber_loss=true": "improvements.huber_loss",
    "seed=1": "seed",
}


@pytest.mark.fault(
    "features, horizons, split, labels or switches changed between runs", "78, the key named with both values"
)
def test_another_configuration_does_not_go_on(commands, killed, tmp_path, struck):
    before = content(tmp_path / "run")
    for change, key in CHANGES.items():
        answer = commands.atft(*killed, change)
        answer.refused(78, key, "there", "now", "run.fresh=true")
        assert content(tmp_path / "run") == before
        struck(answer.err)


@pytest.mark.slow
@pytest.mark.fault("order of the features changed between runs", "78, the key named")
def test_another_order_of_features_does_not_go_on(commands, small_run, tmp_path, struck):
    pl.read_parquet(small_run.panel).with_columns(x=pl.col("Close") / pl.col("Open"), y=pl.col("High")).write_parquet(
        tmp_path / "panel.parquet"
    )
    command = [
        "train", *small_run.arguments, *small_run.places(tmp_path / "cache", tmp_path / "run"),
        f"data.source={tmp_path / 'panel.parquet'}",
    ]  # fmt: skip
    assert commands.atft(*command, "data.features=[x,y]", before=STOP).code == -9
    answer = commands.atft(*command, "data.features=[y,x]")
    answer.refused(78, "data.features", '["x", "y"] there', '["y", "x"] now')
    struck(answer.err)


CHANGED_DATA = {
    "prices": lambda panel: panel.with_columns(pl.col("Close") * 1.01),
    "stocks": lambda panel: panel.filter(pl.col("Code") != panel["Code"][0]),
    "days": lambda panel: panel.filter(pl.col("Date") != panel["Date"].max()),
}
NAMED = {"prices": "source", "stocks": "codes", "days": "days"}


@pytest.mark.fault("prices, stocks or days changed between runs", "78, what changed named")
@pytest.mark.parametrize("what", CHANGED_DATA)
def test_other_data_does_not_go_on(what, commands, killed, tmp_path, struck):
    panel = tmp_path / "panel.parquet"
    changed = CHANGED_DATA[what](pl.read_parquet(panel))
    panel.unlink()
    changed.write_parquet(panel)
    answer = commands.atft(*killed)
    answer.refused(78, NAMED[what], "run.fresh=true")
    struck(answer.err)
    starts = [
        line
        for line in (tmp_path / "run" / "events.jsonl").read_text().splitlines()
        if json.loads(line)["event"] == "start"
    ]
    assert len(starts) == 1
