"""A run that blends: the same network as without, one bundle, and the same bits wherever it is scored."""

import json
import shutil
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from atft_gat_fan.config.load import load_config
from atft_gat_fan.errors import ConfigError
from atft_gat_fan.inference.asked_days import AskedDays
from atft_gat_fan.inference.bundle import load_bundle
from atft_gat_fan.inference.ensemble import mean_of_ranks
from atft_gat_fan.inference.export_description import describe
from atft_gat_fan.runs.blend import require_blend
from atft_gat_fan.runs.evaluate import evaluate_run
from atft_gat_fan.runs.explain import Request as Explanation
from atft_gat_fan.runs.explain import explain
from atft_gat_fan.runs.monitor import Request as Watch
from atft_gat_fan.runs.monitor import monitor
from atft_gat_fan.runs.predict import predict
from atft_gat_fan.runs.ranker import ATFTRanker
from atft_gat_fan.runs.report import report
from tests.pages import ParsedPage
from tests.runs.tiny import quiet, tiny_run

TREES = {"num_rounds": 8, "min_data_in_leaf": 20, "num_leaves": 7}
BASELINE = ["evaluation.baselines=[lightgbm]", *(f"evaluation.lightgbm.{key}={value}" for key, value in TREES.items())]
BLEND = ["model.blend.enabled=true", *(f"model.blend.lightgbm.{key}={value}" for key, value in TREES.items())]
HORIZONS = ("1d", "2d")
SHORT = ["data.synthetic.num_days=250"]

pytestmark = pytest.mark.slow
"""Two trainings, and what is done with them."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    try:
        require_blend(load_config(["model.blend.enabled=true"]))
    except ConfigError as error:
        pytest.skip(str(error))
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def plain(folder: Path) -> Path:
    return tiny_run(folder / "plain", folder / "cache", *SHORT)


@pytest.fixture(scope="module")
def blended(folder: Path) -> Path:
    return tiny_run(folder / "blended", folder / "cache", *SHORT, *BASELINE, *BLEND)


def read(file: Path) -> Any:
    return json.loads(file.read_text())


def newest(run: Path, count: int = 20) -> pl.DataFrame:
    """What the evaluation stored of the test's last days."""
    stored = pl.read_parquet(run / "predictions.parquet")
    return stored.filter(pl.col("date").rank("dense", descending=True) <= count)


def predicted(stored: pl.DataFrame, out: Path, *runs: Path) -> tuple[pl.DataFrame, dict[str, Any]]:
    """Of the same days."""
    asked = AskedDays(stored["date"].min(), stored["date"].max())
    facts = predict(runs, "synthetic", asked, out, quiet())
    return pl.read_parquet(out), facts


def test_the_network_is_that_of_a_run_without(plain: Path, blended: Path) -> None:
    for name in ("model/weights.safetensors", "plan.json", "param_groups.json", "normalizer.json"):
        assert (plain / name).read_bytes() == (blended / name).read_bytes(), name
    assert not list(plain.glob("**/*blend*"))
    assert "blend" not in read(plain / "model" / "model.json")
    assert "blend" not in read(plain / "metrics.json")
    assert "blend" not in read(plain / "metrics.json")["test"]


def test_lightgbm_is_that_of_the_baseline_where_their_settings_are(blended: Path) -> None:
    parts = pl.read_parquet(blended / "blend.parquet").filter(scorer="lightgbm")
    baseline = pl.read_parquet(blended / "baselines.parquet").filter(scorer="lightgbm")
    assert parts.height == baseline.height > 0
    both = parts.join(baseline, on=["date", "code"])
    assert both.height == parts.height
    assert (both["rank_1d"] == both["rank_1d_right"]).all()
    assert (both["rank_2d"] == both["rank_2d_right"]).all()


def test_the_metrics_have_weights_and_both_parts_beside_the_blend(plain: Path, blended: Path) -> None:
    metrics, alone = read(blended / "metrics.json"), read(plain / "metrics.json")
    assert len(metrics["blend"]["grid"]) == 11
    for horizon in HORIZONS:
        weight = metrics["blend"]["weights"][horizon]
        assert 0 <= weight["low"] <= weight["high"] <= 1
        assert len(weight["rank_ic"]) == 11
    for split in ("valid", "test"):
        of_split, section = metrics[split], metrics[split]["blend"]
        assert section["network"]["rank_ic"] == pytest.approx(alone[split]["rank_ic"], abs=1e-12)
        assert section["lightgbm"]["rank_ic"] == of_split["baselines"]["lightgbm"]["rank_ic"]
        assert list(of_split["baselines"]) == list(of_split["versus"]) == ["lightgbm"]
        assert set(section) == {"network", "lightgbm", "versus"}
        for part, comparison in section["versus"].items():
            for horizon, found in comparison.items():
                difference = of_split["rank_ic"][horizon] - section[part]["rank_ic"][horizon]
                assert found["mean"] == pytest.approx(difference, abs=1e-12)
                assert found["low"] <= found["mean"] <= found["high"]
    best = metrics["blend"]["weights"]["1d"]
    chosen = metrics["blend"]["grid"].index(best["network"])
    assert metrics["valid"]["rank_ic"]["1d"] == pytest.approx(best["rank_ic"][chosen], abs=1e-12)


def test_scores_are_the_blend_of_the_stored_parts(blended: Path) -> None:
    weights = {name: weight["network"] for name, weight in read(blended / "metrics.json")["blend"]["weights"].items()}
    parts = pl.read_parquet(blended / "blend.parquet")
    network, lightgbm = (parts.filter(scorer=name).sort("date", "code") for name in ("network", "lightgbm"))
    scores = pl.read_parquet(blended / "predictions.parquet").sort("date", "code")
    for name, weight in weights.items():
        one, other = (each[f"horizon_{name}"].cast(pl.Float64) for each in (network, lightgbm))
        expected = (weight * one + (1 - weight) * other).cast(pl.Float32)
        assert expected.equals(scores[f"horizon_{name}"], check_names=False)
        assert scores[f"horizon_{name}"].is_between(0, 1).all()


def test_the_model_alone_scores_elsewhere_with_the_bits_of_the_evaluation(blended: Path, tmp_path: Path) -> None:
    elsewhere = Path(shutil.copytree(blended / "model", tmp_path / "taken along"))
    stored = newest(blended)
    table, facts = predicted(stored, tmp_path / "scores.parquet", elsewhere)
    assert table.equals(stored)
    weights = load_bundle(elsewhere).blend.weight_by_horizon
    fingerprint = load_bundle(elsewhere).fingerprint
    footer = pl.read_parquet_metadata(tmp_path / "scores.parquet")
    assert json.loads(footer["network_weight"]) == facts["network_weight"] == {fingerprint: weights}
    assert json.loads(pl.read_parquet_metadata(blended / "predictions.parquet")["network_weight"]) == weights


def test_it_joins_an_ensemble_by_its_ranks(plain: Path, blended: Path, tmp_path: Path) -> None:
    singles = [newest(run, 1) for run in (plain, blended)]
    together, facts = predicted(singles[0], tmp_path / "both.parquet", plain, blended)
    assert together.equals(mean_of_ranks(singles, (1, 2)))
    assert list(facts["network_weight"]) == [load_bundle(blended / "model").fingerprint]
    assert "network_weight" not in pl.read_parquet_metadata(plain / "predictions.parquet")


def test_the_facade_scores_the_blend(blended: Path, tmp_path: Path) -> None:
    ranker = ATFTRanker.load(ATFTRanker.load(blended).save(tmp_path / "saved"))
    day = pl.read_parquet(blended / "predictions.parquet")["date"].max()
    table = ranker.predict("synthetic", date=day)
    assert table.equals(pl.read_parquet(blended / "predictions.parquet").filter(date=day))


def test_evaluating_again_gives_the_same(blended: Path, tmp_path: Path) -> None:
    again = Path(shutil.copytree(blended, tmp_path / "again"))
    metrics = evaluate_run(again, "test", quiet())
    assert metrics == read(blended / "metrics.json")["test"]
    assert read(again / "metrics.json")["blend"] == read(blended / "metrics.json")["blend"]
    for name in ("predictions.parquet", "blend.parquet"):
        assert pl.read_parquet(again / name).equals(pl.read_parquet(blended / name))


def test_the_report_shows_both_parts(plain: Path, blended: Path) -> None:
    before = (blended / "report.html").read_text()
    report(blended, quiet())
    assert (blended / "report.html").read_text() == before
    page, without = ParsedPage(before), ParsedPage((plain / "report.html").read_text())
    for title in (
        "Weight of the network", "The blend minus each part alone", "RankIC on the validation days by weight",
        "Cumulative RankIC@1d of the blend and its parts", "Blend minus each part alone", "the network alone",
        "chosen on the validation days",
    ):  # fmt: skip
        assert title in page.text, title
        assert title not in without.text
    assert page.tags.count("svg") == without.tags.count("svg") + 4


def test_the_monitor_watches_the_blend(blended: Path, tmp_path: Path) -> None:
    result = monitor(Watch(blended, "synthetic", out=tmp_path), quiet())
    assert result.to_json()["model"] == load_bundle(blended / "model").fingerprint


def test_an_explanation_shows_weights_and_gains(blended: Path, tmp_path: Path) -> None:
    explain(Explanation(blended, days=5, out=tmp_path), quiet())
    found = read(tmp_path / "explanation.json")["blend"]
    bundle = load_bundle(blended / "model")
    assert found["network_weight"] == bundle.blend.weight_by_horizon
    assert list(found["lightgbm_gain"]) == list(bundle.normalizer.feature_names)
    assert sum(gain["1d"] for gain in found["lightgbm_gain"].values()) == pytest.approx(1)
    page = ParsedPage((tmp_path / "explain.html").read_text())
    assert "What LightGBM splits on" in page.text
    assert "those of the network alone" in page.text


def test_an_export_says_what_it_leaves_out(plain: Path, blended: Path) -> None:
    bundle = load_bundle(blended / "model")
    left_out = describe(bundle, "onnx")["left_out"]
    assert left_out["network_weight"] == bundle.blend.weight_by_horizon
    assert "LightGBM" in left_out["why"]
    assert "left_out" not in describe(load_bundle(plain / "model"), "onnx")


def test_a_finished_run_does_not_become_a_blend_in_silence(plain: Path, folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"model\.blend\.enabled: false there, true now"):
        tiny_run(plain, folder / "cache", *SHORT, "model.blend.enabled=true")
    tiny_run(plain, folder / "cache", *SHORT, "model.blend.seeds=5")  # of a blend that is off: decides nothing
