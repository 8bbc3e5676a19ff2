"""A run is better than another by what a paired test says, on the same days and stocks, or it is not compared."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import spearmanr

from atft_gat_fan.evaluation.comparison import compare, stored_otherwise
from atft_gat_fan.evaluation.differing import Differing, differing
from atft_gat_fan.statistics.multiplicity import holm
from tests.evaluation.compared_runs import DAYS, judged, run

GOOD, POOR = judged(0.01), judged(0.05, seed=2)


def test_the_difference_is_that_of_the_daily_spearman_correlations() -> None:
    (pair,) = compare([run("poor", POOR), run("good", GOOD)]).pairs
    daily = [
        spearmanr(GOOD.scores[day, :, 0], GOOD.labels[day, :, 0])[0]
        - spearmanr(POOR.scores[day, :, 0], POOR.labels[day, :, 0])[0]
        for day in range(DAYS)
    ]
    found = pair.delta_rank_ic["1d"]
    assert found.mean == pytest.approx(np.mean(daily), abs=1e-12)
    assert 0 < found.low < found.mean < found.high
    assert found.p == found.p_raw < 0.01
    assert (pair.run, found.days, list(pair.delta_rank_ic)) == ("good", DAYS, ["1d", "5d"])


def test_the_other_way_round_it_is_the_same_difference_with_the_other_sign() -> None:
    one = compare([run("poor", POOR), run("good", GOOD)]).pairs[0].delta_rank_ic["5d"]
    other = compare([run("good", GOOD), run("poor", POOR)]).pairs[0].delta_rank_ic["5d"]
    assert (other.mean, other.low, other.high) == pytest.approx((-one.mean, -one.high, -one.low))
    assert other.p == one.p


def test_the_same_scores_do_not_differ() -> None:
    (pair,) = compare([run("a", GOOD), run("b", GOOD)]).pairs
    assert (pair.delta_rank_ic["1d"].mean, pair.delta_rank_ic["1d"].p) == (0.0, 1.0)


def test_p_is_corrected_for_all_that_are_held_against_the_first_each_horizon_by_itself() -> None:
    others = [run(f"r{seed}", judged(0.05, seed=seed)) for seed in (3, 4, 5)]
    comparison = compare([run("first", POOR), *others])
    for horizon in ("1d", "5d"):
        raw = np.array([pair.delta_rank_ic[horizon].p_raw for pair in comparison.pairs])
        corrected = [pair.delta_rank_ic[horizon].p for pair in comparison.pairs]
        assert corrected == pytest.approx(holm(raw))
        assert corrected != pytest.approx(raw)
        alone = [compare([run("first", POOR), other]).pairs[0].delta_rank_ic[horizon].p for other in others]
        assert alone == pytest.approx(raw)


def test_stocks_are_matched_by_code_and_not_by_place() -> None:
    order = np.random.default_rng(3).permutation(len(GOOD.codes))
    shuffled = replace(
        GOOD,
        codes=tuple(GOOD.codes[i] for i in order),
        scores=GOOD.scores[:, order],
        labels=GOOD.labels[:, order],
        present=GOOD.present[:, order],
    )
    expected = compare([run("poor", POOR), run("good", GOOD)]).pairs[0]
    assert compare([run("poor", POOR), run("good", shuffled)]).pairs[0] == expected


def test_a_code_that_only_one_of_them_knows_and_never_sees_changes_nothing() -> None:
    pad = [(0, 0), (0, 1)]
    wider = replace(
        GOOD,
        codes=(*GOOD.codes, "never listed"),
        scores=np.pad(GOOD.scores, [*pad, (0, 0)], constant_values=np.nan),
        labels=np.pad(GOOD.labels, [*pad, (0, 0)], constant_values=np.nan),
        present=np.pad(GOOD.present, pad),
    )
    expected = compare([run("poor", POOR), run("good", GOOD)]).pairs[0]
    assert compare([run("poor", POOR), run("good", wider)]).pairs[0] == expected


def test_only_common_days_are_compared_and_it_says_so() -> None:
    shorter = judged(0.01, days=80)
    (pair,) = compare([run("poor", POOR), run("good", shorter)]).pairs
    assert pair.delta_rank_ic["1d"].days == 80
    daily = (shorter.rank_ic(1) - POOR.rank_ic(1)[:80]).mean()
    assert pair.delta_rank_ic["1d"].mean == pytest.approx(daily)
    assert pair.notes == ("compared on the 80 days that both were tested on, of 120 of poor and 80 of good",)


def test_days_that_are_not_common_have_no_say() -> None:
    """Whatever one of them did later."""
    later = replace(POOR, scores=POOR.scores.copy(), present=POOR.present.copy())
    later.scores[80:] *= -1
    later.present[80:, 0] = False
    shorter = run("good", judged(0.01, days=80))
    one, other = (compare([run("poor", each), shorter]).pairs[0].delta_rank_ic for each in (POOR, later))
    assert one == other


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda j: replace(j, days=j.days + 1000), "they have no test day in common"),
        (
            lambda j: replace(j, present=_without(j.present, 7)),
            "other stocks were ranked on 1 of the 120 common test days, first on 2021-11-27 (30 and 29 stocks)",
        ),
        (
            lambda j: replace(j, scores=_without(j.scores, 7, np.nan)),
            "other stocks were ranked on 1 of the 120 common test days, first on 2021-11-27 (30 and 29 stocks)",
        ),
        (
            lambda j: replace(j, labels=_without(j.labels, 7, 0.5)),
            "the realised returns of 1d are not the same on 1 of the 120 common test days, first on 2021-11-27",
        ),
    ],
)
def test_what_would_compare_markets_rather_than_models_is_refused(change, reason: str) -> None:
    (pair,) = compare([run("poor", POOR), run("good", change(GOOD))]).pairs
    assert (pair.reason, pair.delta_rank_ic) == (reason, {})


def _without(values: np.ndarray, day: int, value: float | bool = False) -> np.ndarray:
    changed = values.copy()
    changed[day, 0] = value
    return changed


def test_a_label_both_do_not_know_is_no_difference() -> None:
    unknown = [replace(each, labels=_without(each.labels, 7, np.nan)) for each in (POOR, GOOD)]
    (pair,) = compare([run("poor", unknown[0]), run("good", unknown[1])]).pairs
    assert pair.reason == ""


def test_horizons_that_only_one_has_are_left_out_and_named() -> None:
    (pair,) = compare([run("poor", POOR), run("good", replace(GOOD, horizons=(1, 2)))]).pairs
    assert list(pair.delta_rank_ic) == ["1d"]
    assert pair.notes == ("only it has 2d", "only poor has 5d")
    (pair,) = compare([run("poor", POOR), run("good", replace(GOOD, horizons=(2, 3)))]).pairs
    assert pair.reason == "they have no horizon in common"


def test_a_run_whose_days_are_gone_is_not_compared_and_the_others_are() -> None:
    gone = run("gone", GOOD, judged=None, missing="panel.parquet: nothing there")
    comparison = compare([run("poor", POOR), gone, run("good", GOOD)])
    assert comparison.pairs[0].reason == "the days of gone cannot be had: panel.parquet: nothing there"
    assert comparison.pairs[1].delta_rank_ic["1d"].p == comparison.pairs[1].delta_rank_ic["1d"].p_raw


def test_too_few_days_have_no_interval() -> None:
    short = [judged(noise, days=8) for noise in (0.05, 0.01)]
    found = compare([run("poor", short[0]), run("good", short[1])]).pairs[0].delta_rank_ic["1d"]
    assert found.mean is not None
    assert (found.low, found.high, found.p) == (None, None, None)


def test_keys_that_differ_are_found_wherever_they_are_nested() -> None:
    found = differing([
        {"a": 1, "b": {"c": [1, 2], "d": {"e": None}}, "same": {"x": 1}},
        {"a": 1.5, "b": {"c": [1, 3], "d": {"e": None}}, "same": {"x": 1}, "new": True},
    ])  # fmt: skip
    assert list(found) == [
        Differing("a", (1, 1.5)),
        Differing("b.c", ([1, 2], [1, 3])),
        Differing("new", (None, True)),
    ]


def test_data_that_changed_since_the_evaluation_are_noticed() -> None:
    metrics = run("good", GOOD).test
    assert stored_otherwise(GOOD, metrics) == ""
    assert stored_otherwise(judged(0.01, days=100), metrics).startswith("100 test days in the data now, 120 when")
    revised = replace(GOOD, labels=_without(GOOD.labels, 3, 0.5))
    assert "when evaluated" in stored_otherwise(revised, metrics)


def test_json_has_every_number_under_the_name_of_its_run() -> None:
    other = {"seed": 43, "model": {"hidden_size": 64, "fan": {"enabled": True}}}
    facts = compare([run("poor", POOR), run("good", GOOD, config=other)]).to_json()
    assert facts["reference"] == "poor"
    assert facts["config"] == {"seed": {"poor": 42, "good": 43}}
    assert facts["plan"] == {}
    assert facts["runs"]["good"]["test"]["rank_ic"]["1d"] > facts["runs"]["poor"]["test"]["rank_ic"]["1d"]
    assert facts["paired"]["good"]["delta_rank_ic"]["1d"]["mean"] > 0
