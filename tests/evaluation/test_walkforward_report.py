"""The page says what the folds measured, draws it, and needs nothing but itself."""

import re

import pytest

from atft_gat_fan.evaluation.walkforward import evaluate_folds
from atft_gat_fan.evaluation.walkforward_charts import (
    baseline_chart,
    cumulative_chart,
    fold_chart,
    seed_chart,
    timeline_chart,
)
from atft_gat_fan.evaluation.walkforward_report import WalkForwardInputs, build_walkforward_report
from tests.evaluation import walks

HOSTILE = '<img src=x onerror="alert(1)">'


def inputs(**changes) -> WalkForwardInputs:
    folds = walks.folds()
    evaluation = evaluate_folds(walks.data(**changes), folds, **walks.SETTINGS)
    return WalkForwardInputs(
        name="walk",
        folds=folds,
        evaluation=evaluation,
        purge=6,
        embargo=2,
        facts={"Source": HOSTILE, "Seeds": "1, 2"},
        missing=["momentum is missing in fold 1: short history."],
        config={"data": {"source": HOSTILE}},
        commands=["atft walkforward config=x.yaml"],
    )


@pytest.fixture(scope="module")
def made() -> WalkForwardInputs:
    return inputs()


@pytest.fixture(scope="module")
def page(made: WalkForwardInputs) -> str:
    return build_walkforward_report(made)


def rows_of(page: str, title: str) -> list[list[str]]:
    table = page[page.index(f'aria-label="{title}"') :]
    body = table[table.index("<tbody>") : table.index("</tbody>")]
    return [re.findall(r">([^<>]+)</t[hd]>", row) for row in body.split("</tr>")[:-1]]


def test_it_is_self_contained_and_escapes_what_it_is_told(page: str) -> None:
    assert not re.search(r"https?:|@import|url\((?!#)|<script|<link|<img|<iframe", page)
    assert "&lt;img src=x" in page
    assert len(page.encode()) < 1_000_000


def test_the_same_inputs_give_the_same_page(made: WalkForwardInputs, page: str) -> None:
    assert build_walkforward_report(made) == page


def test_every_fold_stands_with_its_days_and_its_numbers(made: WalkForwardInputs, page: str) -> None:
    days, numbers = rows_of(page, "Days of every fold"), rows_of(page, "RankIC@1d of every fold")
    assert len(days) == len(numbers) == 3
    for fold, metrics, of_days, of_numbers in zip(made.folds, made.evaluation.folds, days, numbers, strict=True):
        assert of_days[0] == of_numbers[0] == str(fold.number)
        assert of_days[-2:] == [f"{fold.test.first} to {fold.test.last}", str(fold.test.days)]
        assert of_numbers[2] == f"{metrics['rank_ic']['1d']:.4f}"
    assert "RankIC@1d is above zero in 3 of 3 folds." in page
    assert "momentum is missing in fold 1: short history." in page


def test_all_of_the_figures_are_there(page: str) -> None:
    labels = re.findall(r'<svg[^>]* aria-label="([^"]*)"', page)
    for words in ("Cumulative RankIC at 1d over all folds", "each fold with its interval", "minus each baseline",
                  "of each seed", "Training, validation and test days of each fold", "long-short"):  # fmt: skip
        assert any(words in label for label in labels), words


def test_the_dashed_lines_are_where_folds_begin(made: WalkForwardInputs) -> None:
    chart = cumulative_chart(made.evaluation.combined, made.folds)
    alone = cumulative_chart(made.evaluation.combined, made.folds[:1])
    assert chart.svg is not None
    assert alone.svg is not None
    dashed = [svg.count("stroke-dasharray: 2.7,2.7") for svg in (chart.svg, alone.svg)]
    assert dashed[0] - dashed[1] == len(made.folds) - 1


def test_the_timeline_draws_each_part_of_each_fold(made: WalkForwardInputs) -> None:
    chart = timeline_chart(made.folds, made.purge, made.embargo)
    assert chart.svg is not None
    assert chart.svg.count("var(--bad)") == 2 * len(made.folds) + 1, "two gaps a fold, and the legend"
    assert chart.svg.count("fill: var(--accent)") == len(made.folds) + 1
    assert "6 trading days are purged and 2 more embargoed" in chart.note


def test_single_seeds_and_baselines_stand_beside_the_ensemble(made: WalkForwardInputs) -> None:
    metrics = made.evaluation.combined.metrics
    seeds, baselines = seed_chart(metrics), baseline_chart(metrics)
    assert seeds.svg is not None
    assert baselines.svg is not None
    assert all(name in seeds.svg for name in ("ensemble (mean of ranks)", "seed 1", "seed 2"))
    assert all(name in baselines.svg for name in ("ridge", "momentum"))
    assert "seed" not in baselines.svg


def test_one_seed_without_baselines_says_so() -> None:
    data = walks.data(seeds=(1,))
    data.scores.pop("momentum")
    data.scores.pop("ridge")
    metrics = evaluate_folds(data, walks.folds(), **walks.SETTINGS).combined.metrics
    assert "One seed" in seed_chart(metrics).note
    assert "No baseline" in baseline_chart(metrics).note


def test_a_fold_that_cannot_be_ranked_is_an_empty_line(made: WalkForwardInputs) -> None:
    data = walks.data()
    data.labels[: walks.LENGTHS[0]] = float("nan")
    evaluation = evaluate_folds(data, walks.folds(), **walks.SETTINGS)
    chart = fold_chart(made.folds, evaluation.folds, evaluation.combined.metrics)
    assert chart.svg is not None
    assert "no day can be ranked" in chart.svg
    assert "above zero in 2 of 2 folds" in chart.note
