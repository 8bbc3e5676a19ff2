"""What a search says of its best: skill stays, luck goes, and whatever was tried counts."""

from dataclasses import replace

import numpy as np
import pytest

from atft_gat_fan.validation.outcome import TrialOutcome
from atft_gat_fan.validation.search_report import build_search_report
from atft_gat_fan.validation.search_result import UNSEEN, daily_mean, score
from tests.validation.searches import make_result


def test_the_score_is_the_mean_over_days_of_the_mean_over_the_horizons_that_have_one() -> None:
    outcome = TrialOutcome(days=("a", "b", "c"), daily_rank_ic={1: (0.1, None, None), 5: (0.3, 0.4, None)})
    np.testing.assert_allclose(daily_mean(outcome), [0.2, 0.4, np.nan])
    assert score(outcome) == pytest.approx(0.3)
    assert score(TrialOutcome(days=("a",), daily_rank_ic={1: (None,)})) == 0.0


def test_skill_is_told_from_the_luck_of_many() -> None:
    skilled, lucky = make_result([0.0] * 9 + [0.05]).luck, make_result([0.0] * 10).luck
    assert skilled is not None
    assert lucky is not None
    assert skilled.p is not None
    assert skilled.p < 0.05
    assert lucky.p is not None
    assert lucky.p > 0.05
    assert lucky.p_undeflated is not None
    assert lucky.p_undeflated < lucky.p


def test_pruned_and_failed_trials_count_as_tried() -> None:
    alone, beside = make_result([0.0] * 5), make_result([0.0] * 5, num_pruned=6, num_failed=4)
    assert alone.luck is not None
    assert beside.luck is not None
    assert beside.luck.tried == 15
    assert beside.luck.expected_maximum is not None
    assert alone.luck.expected_maximum is not None
    assert beside.luck.expected_maximum > alone.luck.expected_maximum
    pruned, failed = beside.trials[5], beside.trials[-1]
    assert pruned.icir == pytest.approx(-0.03 / (0.1 / np.sqrt(2)), rel=0.1)
    assert failed.icir is None


def test_the_page_says_what_was_best_what_it_is_worth_and_that_the_test_was_not_seen() -> None:
    result = make_result([0.0] * 9 + [0.05], num_pruned=2, num_failed=1)
    page = build_search_report(result)
    assert build_search_report(result) == page
    assert UNSEEN in result.to_json()["test"]
    for text in (
        "optimizer.lr=0.01 model.hidden_size=32: RankIC +0.05",
        "more than the luck of trying 13 would show",
        "The test days were not looked at",
        "10 complete, 2 pruned, 1 failed",
        "best so far",
        "What made the difference",
        "exit code 70: nan",
        "config=search/best.yaml",
    ):
        assert text in page, text
    assert "<script" not in page
    assert page.count("<svg") == 3


@pytest.mark.parametrize(("p", "verdict", "tone"), [(0.0, ", more than", "good"), (0.5, "no more than", "")])
def test_a_p_of_0_is_the_best_there_is(p: float, verdict: str, tone: str) -> None:
    result = make_result([0.0, 0.05])
    assert result.luck is not None
    page = build_search_report(replace(result, luck=replace(result.luck, p=p)))
    assert f"{verdict} the luck of trying 2" in page
    assert f'class="verdict {tone}"' in page


def test_a_search_of_little_says_so() -> None:
    page = build_search_report(make_result([0.01], num_pruned=1))
    assert "luck of trying 2" in page
    assert "Too few trainings were finished" in page
    unknown = make_result([0.01], num_failed=1)
    assert unknown.luck is not None
    assert unknown.luck.p is None
    assert "too little was tried" in build_search_report(unknown)
    nothing = build_search_report(make_result([], num_failed=2))
    assert "No training came to its end." in nothing


def test_hostile_names_are_only_text() -> None:
    result = make_result([0.0, 0.01])
    hostile = result.trials[0].__class__(**{**vars(result.trials[0]), "why": "<script>alert(1)</script>"})
    page = build_search_report(result.__class__(**{**vars(result), "trials": (hostile, *result.trials[1:])}))
    assert "<script" not in page
