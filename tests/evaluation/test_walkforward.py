"""Folds are judged by the metrics of any run; together they are one long test, and members are no baselines."""

import numpy as np
import pytest

from atft_gat_fan.errors import DataError
from atft_gat_fan.evaluation.evaluate import evaluate
from atft_gat_fan.evaluation.walkforward import WalkForwardEvaluation, evaluate_folds, metrics_json, without_members
from tests.evaluation import walks


@pytest.fixture(scope="module")
def evaluation() -> WalkForwardEvaluation:
    return evaluate_folds(walks.data(), walks.folds(), **walks.SETTINGS)


def test_all_test_days_together_are_judged_as_one_run_would_be(evaluation: WalkForwardEvaluation) -> None:
    whole = evaluate(walks.data(), **walks.SETTINGS).metrics
    found = evaluation.combined.metrics
    assert found["rank_ic"] == whole["rank_ic"]
    assert found["days"] == sum(walks.LENGTHS)
    assert found["baselines"] | found["seeds"] == whole["baselines"]
    assert set(found["baselines"]) == set(found["versus"]) == {"momentum", "ridge"}
    assert set(found["seeds"]) == set(found["versus_seeds"]) == {"seed-1", "seed-2"}


def test_the_days_of_the_folds_make_up_the_whole(evaluation: WalkForwardEvaluation) -> None:
    assert [fold["days"] for fold in evaluation.folds] == list(walks.LENGTHS)
    for scorer in ("model", "ridge"):
        of = (lambda m: m) if scorer == "model" else (lambda m: m["baselines"]["ridge"])
        means = [of(fold)["rank_ic"]["1d"] for fold in evaluation.folds]
        whole = np.average(means, weights=walks.LENGTHS)
        assert of(evaluation.combined.metrics)["rank_ic"]["1d"] == pytest.approx(whole, abs=1e-12)
    assert len({fold["rank_ic"]["1d"] for fold in evaluation.folds}) == 3


def test_an_ensemble_of_two_is_better_than_each_and_one_seed_is_no_ensemble(evaluation: WalkForwardEvaluation) -> None:
    metrics = evaluation.combined.metrics
    assert all(metrics["rank_ic"]["1d"] > each["rank_ic"]["1d"] for each in metrics["seeds"].values())
    assert all(each["1d"]["verdict"] == "beats" for each in metrics["versus_seeds"].values())
    alone = evaluate_folds(walks.data(seeds=(1,)), walks.folds(), **walks.SETTINGS).combined
    assert alone.metrics["seeds"] == alone.metrics["versus_seeds"] == {}
    assert set(without_members(evaluation.combined).series) == {"model", "momentum", "ridge"}


def test_a_baseline_that_is_missing_in_a_fold_counts_on_the_others() -> None:
    whole = evaluate_folds(walks.data(), walks.folds(), **walks.SETTINGS)
    part = evaluate_folds(walks.data(momentum_from=walks.LENGTHS[0]), walks.folds(), **walks.SETTINGS)
    assert part.folds[0]["baselines"]["momentum"]["rank_ic"]["1d"] is None
    assert part.folds[0]["versus"]["momentum"]["1d"]["verdict"] is None
    assert part.folds[1]["baselines"] == whole.folds[1]["baselines"]
    means = [part.folds[i]["baselines"]["momentum"]["rank_ic"]["1d"] for i in (1, 2)]
    combined = part.combined.metrics["baselines"]["momentum"]["rank_ic"]["1d"]
    assert combined == pytest.approx(np.average(means, weights=walks.LENGTHS[1:]), abs=1e-12)


def test_the_file_holds_the_days_of_each_fold_beside_its_metrics(evaluation: WalkForwardEvaluation) -> None:
    values = metrics_json(evaluation, walks.folds())
    assert values["test"]["rank_ic"] == evaluation.combined.metrics["rank_ic"]
    assert [fold["number"] for fold in values["folds"]] == [1, 2, 3]
    for fold, told in zip(walks.folds(), values["folds"], strict=True):
        assert told["test"] == {"first": fold.test.first, "last": fold.test.last, "days": fold.test.days}
        assert told["rank_ic"]["1d"] is not None


def test_scores_of_other_days_than_the_folds_are_refused() -> None:
    with pytest.raises(DataError, match="expected the 135 test days of 3 folds, found scores of 100"):
        evaluate_folds(walks.data((50, 50)), walks.folds(), **walks.SETTINGS)
