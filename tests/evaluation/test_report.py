"""The report is one file that needs nothing else, holds every section, and escapes what it is given."""

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from atft_gat_fan.evaluation.blend import parts_apart
from atft_gat_fan.evaluation.charts import VariablesOverTime
from atft_gat_fan.evaluation.evaluate import MODEL, Evaluation, EvaluationData, evaluate
from atft_gat_fan.evaluation.report import ReportInputs, build_report
from tests.pages import ParsedPage

HORIZONS = (1, 5)
HOSTILE = '<img src=x onerror="alert(1)">&$x$'


def small_evaluation(days: int = 90, stocks: int = 30, *, volume: bool = True) -> Evaluation:
    rng = np.random.default_rng(0)
    labels = rng.normal(scale=0.02, size=(days, stocks, 2))
    return evaluate(
        EvaluationData(
            days=np.datetime64("2021-11-20") + np.arange(days),
            codes=tuple(map(str, range(stocks))),
            horizons=HORIZONS,
            scores={MODEL: labels + rng.normal(scale=0.04, size=labels.shape), "ridge": rng.normal(size=labels.shape)},
            labels=labels,
            present=np.ones((days, stocks), dtype=bool),
            dollar_volume=np.exp(rng.normal(size=(days, stocks))) if volume else None,
            unavailable={"lightgbm": {"unavailable": "LightGBM does not load; install libgomp1"}},
        ),
        num_resamples=100,
    )


def record(epochs: int = 3, steps: int = 40) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = [{"event": "start", "step": 0}]
    for step in range(1, epochs * steps + 1):
        events.append({"event": "train", "step": step, "loss_1d": 1 / step, "loss_5d": 2 / step, "lr": 1e-3})
        if step % steps == 0:
            epoch = step // steps
            scores = {"rank_ic": [0.01, 0.03, 0.02][epoch - 1], "smoothed_rank_ic": 0.02}
            events.append({"event": "valid", "step": step, "epoch": epoch, "loss_1d": 0.1, "best": epoch == 2} | scores)
    events.append({"event": "warning", "step": 5, "message": f"disk {HOSTILE}"})
    events.append({"event": "finish", "step": epochs * steps, "best_step": 2 * steps})
    return events


def full_inputs(**changes: Any) -> ReportInputs:
    inputs = ReportInputs(
        name=f"run {HOSTILE}",
        evaluation=small_evaluation(),
        events=record(),
        train={"seconds": 61.5, "parameters": 143_210, "samples_per_second": None, "numerics": {"threads": 2}},
        data={"Source": HOSTILE, "Stocks": 30},
        dropped_columns=[f"dropped {HOSTILE}"],
        warnings=[f"warning {HOSTILE}"],
        config={"seed": 42, "model": {"name": HOSTILE, "fan": {"enabled": True}}},
        variable_weights={f"feature {HOSTILE}": 0.7, "KMID": 0.3},
        variables_over_time=VariablesOverTime(
            np.datetime64("2021-11-20") + 7 * np.arange(4), np.tile([0.6, 0.4], (4, 1))
        ),
        attention=np.full(20, 0.05),
        commands=[f"atft train data.source={HOSTILE}"],
    )
    return replace(inputs, **changes)


@pytest.fixture(scope="module")
def page() -> str:
    return build_report(full_inputs())


def test_every_section_is_there_and_the_markup_is_balanced(page: str) -> None:
    parsed = ParsedPage(page)
    sections = ["verdict", "horizons", "ranking", "portfolio", "training", "inside", "data", "reproduce"]
    assert [value for name, value in parsed.attributes if name == "id" and value in sections] == sections
    for title in (
        "Cumulative RankIC@1d",
        "mean of the last 30 days",
        "by month",
        "score groups",
        "Turnover a day",
        "Long–short book",
        "Loss by horizon",
        "Validation RankIC by epoch",
        "Learning rate",
        "What the model looks at",
        "What the model looks at, over time",
        "How far back it looks",
        "Spread of the scores",
        "Unknown labels",
        "model.fan.enabled",
    ):
        assert title in parsed.text, title
    assert parsed.tags.count("svg") == 13
    assert "epoch 2 were kept" in parsed.text


def test_it_loads_nothing_and_runs_nothing(page: str) -> None:
    assert not re.search(r"https?:|@import|url\((?!#)", page)
    parsed = ParsedPage(page)
    assert not {"script", "link", "img", "iframe", "object"} & set(parsed.tags)
    for name, value in parsed.attributes:
        assert not name.startswith("on")
        if name in {"href", "src", "xlink:href"}:
            assert value is not None
            assert value.startswith("#")


def test_names_are_escaped_everywhere(page: str) -> None:
    assert "<img" not in page
    text = ParsedPage(page).text
    for place in ("run", "dropped", "warning", "disk", "atft train data.source="):
        assert f"{place} {HOSTILE}".replace("= ", "=") in text, place
    assert "<feature" not in page


def test_the_page_is_small_and_the_same_each_time(page: str) -> None:
    assert len(page.encode()) < 500_000
    assert build_report(full_inputs()) == page


def test_it_follows_the_theme_and_can_be_printed(page: str) -> None:
    assert "prefers-color-scheme: dark" in page
    assert "@media print" in page
    variables = set(re.findall(r"var\((--[a-z0-9-]+)\)", page))
    assert {"--accent", "--grey-1", "--sans"} <= variables
    for variable in variables:
        assert f"{variable}:" in page, variable


def test_missing_parts_are_explained_in_words() -> None:
    bare = ReportInputs(name="bare", evaluation=small_evaluation(volume=False))
    text = ParsedPage(build_report(bare)).text
    for words in (
        "the panel has no volume",
        "install libgomp1",
        "no record of its training",
        "Selection weights were not recorded",
        "Attention was not recorded",
        "No facts of the data",
        "No command was recorded",
    ):
        assert words in text, words


def test_a_network_without_attention_has_no_figure_of_it() -> None:
    inputs = ReportInputs(name="bare", evaluation=small_evaluation(), attention=np.array([]))
    assert "The network has no temporal attention" in ParsedPage(build_report(inputs)).text


def test_a_split_too_small_for_any_figure_still_makes_a_page() -> None:
    text = ParsedPage(build_report(full_inputs(evaluation=small_evaluation(days=1, stocks=3)))).text
    assert "Fewer than two days" in text
    assert "Too few stocks a day" in text
    assert "Too few days to say" in text


def watched(*, ema: bool = False, freq_dropout: bool = False, head_rate: float = 1e-3) -> list[dict[str, Any]]:
    """`record()` as a training watches it."""
    events = record()
    for event in events:
        if event["event"] == "train":
            groups = ("embedding", "temporal", "graph", "head")
            event |= {f"grad_norm_{group}": 1 / event["step"] for group in groups}
            event |= {f"lr_{group}": head_rate if group == "head" else 1e-3 for group in groups}
            event |= {"ema_distance": 0.1 / event["step"]} if ema else {}
    sources = ["prediction", *(["prediction_freq_dropout"] if freq_dropout else [])]
    for step in (40, 80, 120):
        spread = {
            f"{source}_{name}_{horizon}": factor * step
            for source in sources
            for name, factor in {"mean": 0, "std": 1, "p5": -2, "p50": 0, "p95": 2}.items()
            for horizon in ("1d", "5d")
        }
        events.append({"event": "watch", "step": step, "epoch": step // 40, **spread})
    return events


def test_what_the_training_watched_is_drawn_and_nothing_else() -> None:
    titles = {
        "predictions": "Predictions on one fixed validation batch",
        "masked": "with FreqDropout switched on",
        "gradients": "Gradient norm by layer type",
        "ema": "Distance of the averaged weights",
        "rates": "By layer type",
    }

    def drawn(events: list[dict[str, Any]]) -> set[str]:
        text = ParsedPage(build_report(full_inputs(events=events))).text
        return {name for name, title in titles.items() if title in text}

    assert drawn(record()) == set()
    assert drawn(watched()) == {"predictions", "gradients"}
    assert drawn(watched(ema=True)) == {"predictions", "gradients", "ema"}
    assert drawn(watched(freq_dropout=True)) == {"predictions", "gradients", "masked"}
    assert drawn(watched(head_rate=2e-3)) == {"predictions", "gradients", "rates"}


def test_a_step_repeated_after_a_resumption_counts_once() -> None:
    stale = [{"event": "valid", "step": 80, "epoch": 2, "rank_ic": -0.9, "loss_1d": 9.0}]
    assert build_report(full_inputs(events=[*stale, *record()])) == build_report(full_inputs())


def blended_inputs(*, days: int, network: float) -> ReportInputs:
    rng = np.random.default_rng(1)
    labels = rng.normal(scale=0.02, size=(60, 20, 2))
    noisy = {name: labels + rng.normal(scale=0.05, size=labels.shape) for name in (MODEL, "blend:network", "ridge")}
    evaluation = evaluate(
        EvaluationData(
            days=np.datetime64("2021-11-20") + np.arange(60),
            codes=tuple(map(str, range(20))),
            horizons=HORIZONS,
            scores=noisy | {"blend:lightgbm": rng.normal(size=labels.shape)},
            labels=labels,
            present=np.ones((60, 20), dtype=bool),
        ),
        num_resamples=100,
    )
    known = [0.01, 0.03, 0.02] if days else [None] * 3
    weight = {"network": network, "low": 0.5 if days else None, "high": 1.0 if days else None, "best": 1.0}
    weights = {horizon: {**weight, "days": days, "rank_ic": known} for horizon in ("1d", "5d")}
    return full_inputs(evaluation=parts_apart(evaluation), blend={"grid": [0.0, 0.5, 1.0], "weights": weights})


def test_a_blend_stands_beside_its_parts_which_are_no_baselines() -> None:
    inputs = blended_inputs(days=40, network=1.0)
    metrics = inputs.evaluation.metrics
    assert list(metrics["baselines"]) == list(metrics["versus"]) == ["ridge"]
    assert list(metrics["blend"]) == ["network", "lightgbm", "versus"]
    page = build_report(inputs)
    section = page[page.index('id="blend"') : page.index('id="ranking"')]
    assert "chosen on the validation days" in section
    assert section.count("<svg") == 4
    assert section.count(">the blend</th>") == 4, "a table a metric; there is no volume"
    assert "blend:" not in page
    assert "ridge" not in section
    found = metrics["blend"]["versus"]["lightgbm"]["1d"]
    assert found["mean"] == pytest.approx(metrics["rank_ic"]["1d"] - metrics["blend"]["lightgbm"]["rank_ic"]["1d"])
    assert found["verdict"] == "beats"


def test_equal_weights_are_said_to_be_equal() -> None:
    page = build_report(blended_inputs(days=0, network=0.5))
    section = page[page.index('id="blend"') : page.index('id="ranking"')]
    assert "Both weigh the same" in section
    assert "the weights are equal" in section
    assert section.count("<svg") == 3


def test_without_a_blend_there_is_no_such_section(page: str) -> None:
    assert 'id="blend"' not in page
    evaluation = small_evaluation()
    assert parts_apart(evaluation) is evaluation
