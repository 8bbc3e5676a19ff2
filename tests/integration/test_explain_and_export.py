"""`atft explain` and `atft export` on a finished run, as a user gets them."""

import json
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from rich.console import Console

from atft_gat_fan.config.load import load_config
from atft_gat_fan.errors import DataError, GateError
from atft_gat_fan.inference.export_check import Parity
from atft_gat_fan.runs import export as export_module
from atft_gat_fan.runs.explain import Request, explain
from atft_gat_fan.runs.export import export_run
from atft_gat_fan.runs.run_files import PREDICTIONS, read_metrics
from atft_gat_fan.runs.scores import STRETCH, variables_over_time
from atft_gat_fan.runs.train import train

QUIET = Console(quiet=True)
FILES = {"explain.html", "explanation.json", "explanation.parquet", "neighbours.parquet", "stocks.parquet"}


@pytest.fixture(scope="session")
def day(finished_run) -> date:
    """A day that the evaluation scored, with later ones after it."""
    return pl.read_parquet(finished_run.folder / PREDICTIONS)["date"].unique().sort()[-5]


def test_the_explained_scores_are_the_evaluated_ones_to_the_bit(finished_run, day: date, tmp_path: Path) -> None:
    evaluated = pl.read_parquet(finished_run.folder / PREDICTIONS).filter(date=day)
    code = evaluated["code"][3]
    explain(Request(run=finished_run.folder, day=day, days=10, code=code, out=tmp_path / "out"), QUIET)
    assert {file.name for file in (tmp_path / "out").iterdir()} == FILES
    found = pl.read_parquet(tmp_path / "out" / "stocks.parquet").filter(part="score")
    wide = found.pivot("item", index="code", values="value").sort("code")
    assert wide["code"].to_list() == evaluated["code"].to_list()
    for name in ("1d", "2d", "3d", "5d", "10d"):
        assert wide[name].cast(pl.Float32).equals(evaluated[f"horizon_{name}"].rename(name)), name
    stock = json.loads((tmp_path / "out" / "explanation.json").read_text())["stock"]
    assert stock["rank"]["1d"] == evaluated.filter(code=code)["rank_1d"].item()
    metadata = pl.read_parquet_metadata(tmp_path / "out" / "explanation.parquet")
    assert metadata["model"] == json.loads((tmp_path / "out" / "explanation.json").read_text())["model"]


def test_the_report_shows_the_weights_over_time(finished_run) -> None:
    found = variables_over_time(finished_run.folder, "test")
    metrics = read_metrics(finished_run.folder)["test"]
    assert found.weights.shape == (-(-metrics["days"] // STRETCH), len(metrics["variable_importance"]))
    np.testing.assert_allclose(found.weights.sum(axis=1), 1.0, atol=1e-6)
    # Stretches weigh alike here and stock-days there.
    np.testing.assert_allclose(found.weights.mean(axis=0), list(metrics["variable_importance"].values()), atol=0.02)
    assert "What the model looks at, over time" in (finished_run.folder / "report.html").read_text()


def test_a_panel_that_ends_on_the_day_explains_it_alike(finished_run, panel, day: date, tmp_path: Path) -> None:
    panel.filter(pl.col("Date") <= day).write_parquet(tmp_path / "ends.parquet")
    explain(Request(run=finished_run.folder, day=day, days=5, out=tmp_path / "whole"), QUIET)
    explain(
        Request(run=finished_run.folder, source=str(tmp_path / "ends.parquet"), days=5, out=tmp_path / "ends"), QUIET
    )
    for name in ("explanation.parquet", "stocks.parquet", "neighbours.parquet"):
        assert pl.read_parquet(tmp_path / "whole" / name).equals(pl.read_parquet(tmp_path / "ends" / name)), name


def test_what_is_not_in_the_data_is_named_with_what_is_near(finished_run, day: date, tmp_path: Path) -> None:
    request = Request(run=finished_run.folder, day=day, days=2, out=tmp_path / "out")
    with pytest.raises(DataError, match="near: S00"):
        explain(Request(**{**vars(request), "code": "S00"}), QUIET)
    with pytest.raises(DataError, match="nearest of the days"):
        explain(Request(**{**vars(request), "day": date(2015, 12, 27)}), QUIET)
    assert not (tmp_path / "out").exists()


def test_the_tool_explains_and_exports(atft, finished_run, tmp_path: Path) -> None:
    explained = atft("explain", str(finished_run.folder), "--days", "3", "--out", str(tmp_path / "out"), "--json")
    assert explained.code == 0, explained.err
    assert explained.json["days"] == 3
    page = (tmp_path / "out" / "explain.html").read_text()
    assert "atft explain" in page
    exported = atft("export", str(finished_run.folder), "--out", str(tmp_path / "model.pt2"), "--json")
    assert exported.code == 0, exported.err
    assert exported.json["largest_relative_difference"] <= 1e-5
    described = json.loads((tmp_path / "model.pt2.json").read_text())
    assert described["file"] == "torch"
    assert described["model"] == exported.json["model"]
    assert {entry["date"] for entry in described["parity"]["days"]} == set(exported.json["days"])


def test_a_file_that_does_not_agree_is_not_written(finished_run, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(export_module, "export", lambda *args: b"")
    monkeypatch.setattr(export_module, "runner", lambda *args: lambda inputs: [])
    wrong = Parity("2016-01-04", stocks=20, near_ties=2, difference=3e-4, at_near_ties=0.1)
    monkeypatch.setattr(export_module, "parity", lambda *args: [wrong])
    (tmp_path / "model.onnx").write_bytes(b"the one before")
    with pytest.raises(GateError, match=r"2016-01-04.*3\.0e-04 over 18 stocks"):
        export_run(finished_run.folder, None, tmp_path / "model.onnx", None, QUIET)
    assert (tmp_path / "model.onnx").read_bytes() == b"the one before"
    assert [file.name for file in tmp_path.iterdir()] == ["model.onnx"]
    monkeypatch.setattr(export_module, "runner", lambda *args: None)
    facts = export_run(finished_run.folder, None, tmp_path / "model.onnx", None, QUIET)
    assert facts["compared"] is False
    assert "onnxruntime" in facts["why"]
    assert json.loads((tmp_path / "model.onnx.json").read_text())["parity"] is None


@pytest.mark.slow
def test_permutation_finds_the_features_that_move_a_planted_market(tmp_path: Path) -> None:
    """In the plain world slow_1 and slow_2 alone move returns; four other columns are noise."""
    run = train(
        load_config(
            [
                "data=synthetic",
                "data.synthetic.world=regimes",
                "data.synthetic.null_twin=true",
                "data.synthetic.num_stocks=60",
                "data.synthetic.num_days=420",
                "data.synthetic.signal=0.3",
                "data.horizons=[1]",
                "data.features=[slow_1,slow_2,news,coverage,wave,line]",
                f"data.cache={tmp_path / 'cache'}",
                f"run.dir={tmp_path / 'run'}",
                "run.num_threads=1",
                "model=small",
                "labels.transform=rank",
                "batch_size=8",
                "optimizer.lr=0.004",
                "train.max_epochs=3",
                "evaluation.baselines=[]",
            ]
        ),
        QUIET,
    )
    explain(Request(run=run, days=60, permutation_days=15, out=tmp_path / "out"), QUIET)
    found = json.loads((tmp_path / "out" / "explanation.json").read_text())["permutation"]
    drops = {name: entry["rank_ic_drop"]["1d"] for name, entry in found["features"].items()}
    moves = {name: entry["rank_change"]["1d"] for name, entry in found["features"].items()}
    print(f"\nRankIC {found['rank_ic']['1d']:.3f}, drops {drops}")
    assert set(drops) == {"slow_1", "slow_2", "news", "coverage", "wave", "line"}
    for measure in (drops, moves):
        assert sorted(measure, key=measure.__getitem__)[:-3:-1] == ["slow_1", "slow_2"]
        noise = max(abs(value) for name, value in measure.items() if not name.startswith("slow"))
        assert measure["slow_1"] > 3 * noise
        assert measure["slow_2"] > 1.5 * noise, "the square of it moves returns, which is harder to learn"
