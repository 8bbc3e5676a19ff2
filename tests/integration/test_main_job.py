"""The main job as a user runs it: train, evaluate, report, predict; and what each leaves behind."""

import json

import polars as pl
import pytest

HORIZONS = ["1d", "2d", "3d", "5d", "10d"]


@pytest.fixture
def metrics(finished_run) -> dict:
    return json.loads((finished_run.folder / "metrics.json").read_text())


def test_a_run_leaves_what_the_design_lists(finished_run):
    for name in (
        "config.yaml", "plan.json", "param_groups.json", "events.jsonl", "checkpoints", "model/weights.safetensors",
        "model/model.json", "predictions.parquet", "metrics.json", "report.html", "run_state.json",
    ):  # fmt: skip
        assert (finished_run.folder / name).exists(), name
    assert json.loads((finished_run.folder / "run_state.json").read_text())["status"] == "finished"


def test_metrics_have_the_promised_form(metrics):
    for split in ("valid", "test"):
        for key in ("rank_ic", "rank_ic_skip1", "rank_ic_liquid", "icir"):
            assert list(metrics[split][key]) == HORIZONS
        assert metrics[split]["days"] > 20
        assert set(metrics[split]["baselines"]) == {"reversal", "momentum", "ridge", "lightgbm"}
        assert list(metrics[split]["baselines"]["reversal"]["rank_ic"]) == HORIZONS
    train = metrics["train"]
    assert {"seconds", "samples_per_second", "peak_rss_bytes", "parameters", "epochs", "numerics"} <= train.keys()


def test_predict_repeats_the_evaluation_bit_for_bit(atft, finished_run, tmp_path):
    out = tmp_path / "scores.parquet"
    result = atft("predict", str(finished_run.folder), "--data", str(finished_run.panel), "--out", str(out))
    assert result.code == 0, result.err
    predicted, evaluated = pl.read_parquet(out), pl.read_parquet(finished_run.folder / "predictions.parquet")
    assert predicted.columns == ["date", "code", *(f"horizon_{h}" for h in HORIZONS), *(f"rank_{h}" for h in HORIZONS)]
    assert predicted.height > evaluated.height
    same_days = predicted.join(evaluated.select("date", "code"), on=["date", "code"], how="semi")
    assert same_days.equals(evaluated)


def test_predict_scores_whoever_is_there_on_the_asked_day(atft, finished_run, panel, tmp_path):
    """Stocks the training never saw, feature columns in another order, one day only."""
    day = panel["Date"].unique().sort()[-1]
    stranger = panel.filter(Code=panel["Code"][0]).with_columns(Code=pl.lit("NEW"), sector33=pl.lit("unheard of"))
    pl.concat([panel, stranger]).select(reversed(panel.columns)).write_parquet(tmp_path / "newer.parquet")
    out = tmp_path / "day.parquet"
    result = atft(
        "predict", str(finished_run.folder), "--data", str(tmp_path / "newer.parquet"), "--date", f"{day}",
        "--out", str(out), "--json",
    )  # fmt: skip
    assert result.code == 0, result.err
    table = pl.read_parquet(out)
    assert result.json["rows"] == table.height
    assert set(table["code"]) == {*panel.filter(Date=day)["Code"], "NEW"}
    assert table["date"].unique().to_list() == [day]
    assert sorted(table["rank_1d"]) == list(range(1, table.height + 1))
    assert result.json["model"] == pl.read_parquet_metadata(out)["model"]


def test_evaluate_and_report_give_the_same_again(atft, finished_run, metrics):
    evaluated = atft("evaluate", str(finished_run.folder), "--json")
    assert evaluated.code == 0, evaluated.err
    assert evaluated.json == metrics["test"]
    assert json.loads((finished_run.folder / "metrics.json").read_text()) == metrics
    page = (finished_run.folder / "report.html").read_text()
    assert atft("report", str(finished_run.folder)).code == 0
    assert (finished_run.folder / "report.html").read_text() == page


def test_a_finished_run_is_shown_again_and_not_trained(atft, finished_run):
    events = (finished_run.folder / "events.jsonl").read_bytes()
    again = atft("train", *finished_run.arguments, "--json")
    assert again.code == 0
    assert again.json["metrics"]["test"]["days"] > 0
    assert (finished_run.folder / "events.jsonl").read_bytes() == events


def test_a_folder_keeps_to_its_configuration(atft, finished_run):
    other = atft("train", *finished_run.arguments, "optimizer.lr=0.002")
    assert other.code == 78
    assert "optimizer.lr" in other.err
    assert "run.fresh=true" in other.err


def test_the_same_seed_gives_the_same_bits(atft, finished_run, tmp_path):
    weights = (finished_run.folder / "model" / "weights.safetensors").read_bytes()
    again = atft("train", *finished_run.arguments, f"run.dir={tmp_path / 'again'}")
    assert again.code == 0, again.err
    assert (tmp_path / "again" / "model" / "weights.safetensors").read_bytes() == weights
    other = atft("train", *finished_run.arguments, f"run.dir={tmp_path / 'other'}", "seed=43")
    assert other.code == 0, other.err
    assert (tmp_path / "other" / "model" / "weights.safetensors").read_bytes() != weights


def test_a_panel_of_features_is_learned_from_with_labels_and_predicted_without(atft, small, panel, tmp_path):
    """The existing format: features and labels, no prices. Today's panel has no labels yet, and other columns."""
    returns = pl.col("Close").shift(-1).over("Code", order_by="Date") / pl.col("Close") - 1
    features = panel.select(
        "Code", "Date", "sector33", body=pl.col("Close") / pl.col("Open") - 1, size=pl.col("Volume")
    )
    features.with_columns(target_1d=panel.select(returns).to_series()).write_parquet(tmp_path / "then.parquet")
    features.with_columns(size=pl.col("size") * 1.0, unheard_of=1.0).write_parquet(tmp_path / "now.parquet")
    run, out = tmp_path / "run", tmp_path / "scores.parquet"
    places = [f"data.source={tmp_path / 'then.parquet'}", f"data.cache={tmp_path / 'cache'}", f"run.dir={run}"]
    trained = atft("train", *small, *places, "data.horizons=[1]", "evaluation.baselines=[]")
    assert trained.code == 0, trained.err
    predicted = atft("predict", str(run), "--data", str(tmp_path / "now.parquet"), "--out", str(out))
    assert predicted.code == 0, predicted.err
    evaluated = pl.read_parquet(run / "predictions.parquet")
    same_days = pl.read_parquet(out).join(evaluated.select("date", "code"), on=["date", "code"], how="semi")
    assert same_days.equals(evaluated)
    features.drop("size").write_parquet(tmp_path / "lacking.parquet")
    refused = atft("predict", str(run), "--data", str(tmp_path / "lacking.parquet"), "--out", str(out))
    assert refused.code == 65
    assert "size" in refused.err
