"""Finished runs are compared by what they left and by their data; what is not finished is refused by name."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from atft_gat_fan.cli.main import app
from atft_gat_fan.errors import ConfigError, StorageError
from atft_gat_fan.runs.compare import compare_runs, names_of
from tests.runs.tiny import quiet, tiny_run


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two finished runs of other seeds, `a` and `b`, and the cache of their data."""
    place = tmp_path_factory.mktemp("compared")
    tiny_run(place / "a", place / "cache", "seed=1")
    tiny_run(place / "b", place / "cache", "seed=2", "improvements.huber_loss=true")
    return place


def test_two_runs_side_by_side(place: Path, tmp_path: Path) -> None:
    comparison = compare_runs([place / "a", place / "b"], tmp_path / "c.html", quiet())
    facts = comparison.to_json()
    assert {key: value for key, value in facts["config"].items() if key.startswith(("seed", "improvements"))} == {
        "seed": {"a": 1, "b": 2},
        "improvements.huber_loss": {"a": False, "b": True},
    }
    assert next(iter(facts["plan"])).startswith("loss.")
    means = {run: facts["runs"][run]["test"]["rank_ic"]["1d"] for run in ("a", "b")}
    delta = facts["paired"]["b"]["delta_rank_ic"]["1d"]
    assert delta["mean"] == pytest.approx(means["b"] - means["a"], abs=1e-12)  # the same days
    assert delta["low"] < delta["mean"] < delta["high"]
    assert facts["runs"]["a"]["train"]["parameters"] > 0
    assert (tmp_path / "c.html").read_text().startswith("<!doctype html>")


def test_the_command_prints_json_alone_and_leaves_the_page(place: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    result = CliRunner().invoke(app, ["compare", str(place / "a"), str(place / "b"), "--out", str(page), "--json"])
    assert result.exit_code == 0, result.stderr
    facts = json.loads(result.stdout)
    assert facts["page"] == str(page)
    assert set(facts["runs"]) == {"a", "b"}
    assert "ΔRankIC" in result.stderr
    assert page.exists()


@pytest.mark.parametrize("arguments", [["a"], ["a", "a"], ["a", "a/../a", "b"]])
def test_fewer_than_two_runs_are_a_usage_error(place: Path, arguments: list[str]) -> None:
    result = CliRunner().invoke(app, ["compare", *(str(place / name) for name in arguments)])
    assert result.exit_code == 2
    with pytest.raises(ConfigError, match="two or more different runs"):
        compare_runs([place / name for name in arguments], place / "never.html", quiet())
    assert not (place / "never.html").exists()


def test_all_that_is_not_finished_is_named(place: Path, tmp_path: Path) -> None:
    states = {"going": "running", "stopped": "interrupted", "broken": "failed"}
    for name, status in states.items():
        shutil.copytree(place / "a", tmp_path / name)
        (tmp_path / name / "run_state.json").write_text(json.dumps({"status": status}))
    with pytest.raises(StorageError) as caught:
        compare_runs([place / "a", *(tmp_path / name for name in (*states, "nowhere"))], tmp_path / "c.html", quiet())
    for found in (
        "going: a run that is going on",
        "stopped: a run that was interrupted",
        "broken: a run that has failed",
    ):
        assert found in str(caught.value)
    assert f"{tmp_path / 'nowhere'}: no run" in str(caught.value)
    assert str(place / "a:") not in str(caught.value)


def test_without_its_data_a_run_keeps_its_metrics_and_is_not_compared_by_day(place: Path, tmp_path: Path) -> None:
    shutil.copytree(place / "b", tmp_path / "moved")
    config = (tmp_path / "moved" / "config.yaml").read_text()
    (tmp_path / "moved" / "config.yaml").write_text(config.replace("source: synthetic", "source: /gone.parquet"))
    facts = compare_runs([place / "a", tmp_path / "moved"], tmp_path / "c.html", quiet()).to_json()
    assert "/gone.parquet" in facts["paired"]["moved"]["reason"]
    assert facts["runs"]["moved"]["test"]["rank_ic"]["1d"] is not None


def test_scores_that_are_not_those_of_the_metrics_are_not_compared(place: Path, tmp_path: Path) -> None:
    """As when prices were revised since: here the market has another seed."""
    shutil.copytree(place / "b", tmp_path / "revised")
    config = (tmp_path / "revised" / "config.yaml").read_text()
    (tmp_path / "revised" / "config.yaml").write_text(config.replace("signal: 0.25", "signal: 0.26"))
    (pair,) = compare_runs([place / "a", tmp_path / "revised"], tmp_path / "c.html", quiet()).pairs
    assert "when evaluated" in pair.reason
    assert pair.delta_rank_ic == {}


def test_damage_is_named(place: Path, tmp_path: Path) -> None:
    shutil.copytree(place / "b", tmp_path / "b")
    (tmp_path / "b" / "plan.json").write_bytes(b"[1]")
    with pytest.raises(StorageError, match=r"plan\.json: expected the plan"):
        compare_runs([place / "a", tmp_path / "b"], tmp_path / "c.html", quiet())
    (tmp_path / "b" / "metrics.json").write_bytes(b'{"test": {}}')
    with pytest.raises(StorageError, match=r"none of test\.days"):
        compare_runs([place / "a", tmp_path / "b"], tmp_path / "c.html", quiet())


def test_scores_come_from_the_test_days_alone(place: Path, tmp_path: Path) -> None:
    comparison = compare_runs([place / "a", place / "b"], tmp_path / "c.html", quiet())
    days = json.loads((place / "a" / "data.json").read_text())["test days"].split()
    judged = comparison.reference.judged
    assert judged is not None
    assert [str(len(judged.days)), str(judged.days[0]), str(judged.days[-1])] == [days[0], days[2], days[4]]
    assert np.isfinite(judged.scores).any()


def test_names_are_as_short_as_tells_them_apart(tmp_path: Path) -> None:
    assert names_of([tmp_path / "x" / "run", tmp_path / "y" / "other"]) == ["run", "other"]
    assert names_of([tmp_path / "x" / "run", tmp_path / "y" / "run"]) == ["x/run", "y/run"]
