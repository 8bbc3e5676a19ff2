"""The morning's prediction as cron runs it: a process of its own, on a run that was really trained."""

import json
import subprocess
import sys

import polars as pl

FOREIGN = ("hydra", "omegaconf", "lightning_fabric", "atft_gat_fan.training", "lightgbm", "sklearn", "matplotlib")
WATCHED = f"""
import sys
from atft_gat_fan.cli.main import main
try:
    main(sys.argv[1:])
finally:
    print([name for name in {FOREIGN!r} if name in sys.modules], file=sys.stderr)
"""


def test_the_newest_day_is_as_evaluated_and_needs_no_training_code(finished_run, tmp_path):
    arguments = [
        "predict", finished_run.folder, "--data", finished_run.panel, "--date", "newest", "--out",
        tmp_path / "scores.parquet", "--cache", tmp_path / "cache", "--json",
    ]  # fmt: skip
    done = subprocess.run([sys.executable, "-c", WATCHED, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[-1] == "[]"
    evaluated = pl.read_parquet(finished_run.folder / "predictions.parquet")
    newest = evaluated.filter(pl.col("date") == evaluated["date"].max())
    table = pl.read_parquet(tmp_path / "scores.parquet")
    assert table.equals(newest)
    facts = json.loads(done.stdout)
    assert facts["last"] == str(newest["date"][0]) == facts["first"]
    assert facts["rows"] == facts["stocks"] == table.height
    assert 0.5 < facts["coverage"] <= 1
    assert facts["coverage"] == table.height / (table.height + sum(facts["left_out"].values()))
    assert facts["models"] == {str(finished_run.folder): facts["model"]}


def test_the_model_holds_all_that_its_inputs_are_made_by(finished_run):
    """Features and how they are made, normaliser, horizons, calendar, graph, fingerprint, switches, numerics."""
    model = json.loads((finished_run.folder / "model" / "model.json").read_text())
    data, training = model["data"], model["training"]
    assert model["normalizer"]["feature_names"]
    assert len(model["normalizer"]["mean"]) == len(model["normalizer"]["feature_names"])
    assert (data["features"], data["standardise"], data["window"]) == ("derived", "zscore", 20)
    assert data["columns"]["adj_close"] is None
    assert (data["horizons"], data["exchange"]) == ([1, 2, 3, 5, 10], "XNYS")
    assert {"lookback", "num_neighbours", "threshold", "refresh_days"} <= model["graph"].keys()
    assert model["static_categories"]
    assert training["plan"] == json.loads((finished_run.folder / "plan.json").read_text())
    assert {"config", "source", "seed", "train_days", "valid_days", "best_step"} <= training.keys()
    assert {"torch", "threads", "machine", "cpu", "onednn", "compiled", "chunks"} <= model["numerics"].keys()
