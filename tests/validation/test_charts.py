"""Figures follow the verdicts and the intervals, never the means alone."""

from dataclasses import replace

import numpy as np
import pytest

from atft_gat_fan.reporting.page import Chart
from atft_gat_fan.validation.charts import contribution_chart, cost_charts, delta_chart, rank_ic_charts
from atft_gat_fan.validation.result import DeltaRankIC, DivergenceResult, ImprovementResult, RatioResult
from tests.validation.examples import example

GOOD, BAD = "var(--accent)", "var(--bad)"


def only(**changes: object) -> ImprovementResult:
    """One improvement without anything that could be coloured, but for what is changed."""
    plain = DeltaRankIC(0.001, -0.001, 0.003, p=0.4, p_equivalence=0.4, margin=0.003)
    calm = DivergenceResult(10, 3, 3, 0, 0, 0.3, 0.3, 0.0, 1.0)
    even = RatioResult(1.0, 0.98, 1.02, 8, 1.0, 1.0)
    known = example().improvements["use_ema"]
    return replace(
        known,
        delta_rank_ic={"1d": plain, "5d": plain},
        divergence=calm,
        time=even,
        memory=even,
        verdict="neutral",
        **changes,  # type: ignore[arg-type]
    )


def colours(chart: Chart) -> set[str]:
    assert chart.svg is not None
    return {colour for colour in (GOOD, BAD) if colour in chart.svg}


def test_the_first_horizon_shows_the_verdict_and_the_others_its_rule() -> None:
    strong = DeltaRankIC(0.01, 0.008, 0.012, p=0.001, p_equivalence=1.0, margin=0.003)
    weak = replace(strong, mean=-0.01, p=0.06)
    improvement = replace(only(), verdict="hurts", delta_rank_ic={"1d": strong, "2d": strong, "5d": weak})
    first, second, third = rank_ic_charts(example(improvements={"use_ema": improvement}))
    assert (colours(first), colours(second), colours(third)) == ({BAD}, {GOOD}, set())


def test_the_rule_of_other_horizons_is_at_the_level_of_the_run() -> None:
    at_edge = {"1d": DeltaRankIC(0, 0, 0, 1), "5d": DeltaRankIC(-0.01, -0.02, 0, p=0.08, p_equivalence=1, margin=0.003)}
    known = example(improvements={"use_ema": replace(only(), delta_rank_ic=at_edge)})
    assert colours(rank_ic_charts(known)[1]) == set()
    assert colours(rank_ic_charts(replace(known, set_up=replace(known.set_up, level=0.1)))[1]) == {BAD}


def test_a_single_chart_of_differences_is_marked_by_verdict_or_by_its_rule() -> None:
    """One interval above zero by a p above the level: the rule of the verdict decides, not the interval."""
    known = DeltaRankIC(0.01, 0.001, 0.019, p=0.06, p_equivalence=1.0, margin=0.003)
    results = {"lstm": replace(only(), verdict="hurts", delta_rank_ic={"1d": known, "5d": known})}
    by_verdict, by_rule = delta_chart("ΔRankIC@1d", results, "1d"), delta_chart("ΔRankIC@5d", results, "5d", level=0.05)
    assert (colours(by_verdict), colours(by_rule)) == ({BAD}, set())
    assert colours(delta_chart("ΔRankIC@5d", results, "5d", level=0.1)) == {GOOD}
    assert by_rule.title == "ΔRankIC@5d"
    unknown = delta_chart("ΔRankIC@10d", results, "10d", level=0.05)
    assert "ΔRankIC@10d" in (unknown.svg or "")
    assert "nan" not in (unknown.svg or "")


def test_the_promise_of_rank_ic_is_drawn_at_1d_and_for_all_together_only() -> None:
    alone = rank_ic_charts(example(improvements={"use_ema": only()}))
    together = rank_ic_charts(example(improvements={"all": only()}))
    assert [colours(chart) for chart in alone] == [set(), set()]
    assert [colours(chart) for chart in together] == [{GOOD}, set()]


@pytest.mark.parametrize(
    ("low", "high", "memory", "time"),
    [
        (0.8, 0.99, {GOOD}, {GOOD}),
        (0.8, 1.01, set(), set()),
        (1.01, 1.2, {BAD}, set()),  # up to a tenth more time is promised
        (1.11, 1.2, {BAD}, {BAD}),
    ],
)
def test_costs_are_coloured_by_the_whole_interval(low: float, high: float, memory: set[str], time: set[str]) -> None:
    ratio = RatioResult(float(np.sqrt(low * high)), low, high, 8, 1.0, 1.0)
    improvement = replace(only(), memory=ratio, time=ratio)
    _, of_memory, of_time = cost_charts(example(improvements={"use_ema": improvement}))
    assert (colours(of_memory), colours(of_time)) == (memory, time)


def test_a_ratio_without_an_interval_is_not_coloured() -> None:
    ratio = RatioResult(0.5, None, None, 2, 1.0, 0.5)
    _, of_memory, _ = cost_charts(example(improvements={"use_ema": replace(only(), memory=ratio)}))
    assert colours(of_memory) == set()
    assert "−50.0\u202f%" in (of_memory.svg or "")


@pytest.mark.parametrize(
    ("only_baseline", "only_variant", "p", "expected"),
    [(8, 0, 0.008, {GOOD}), (0, 8, 0.008, {BAD}), (4, 1, 0.375, set())],
)
def test_divergence_is_coloured_by_mcnemar(only_baseline: int, only_variant: int, p: float, expected: set[str]) -> None:
    found = DivergenceResult(20, 9, 9 - only_baseline + only_variant, only_baseline, only_variant, 0.45, 0.3, -0.3, p)
    chart = cost_charts(example(improvements={"use_ema": replace(only(), divergence=found)}))[0]
    assert colours(chart) == expected
    assert chart.svg is not None
    assert "9 of 20" in chart.svg
    assert f"{found.variant} of 20" in chart.svg


def test_no_reduction_is_claimed_where_no_baseline_diverged() -> None:
    found = DivergenceResult(20, 0, 0, 0, 0, 0.0, 0.0, None, 1.0)
    chart = cost_charts(example(improvements={"all": replace(only(), divergence=found)}))[0]
    assert "no reduction can be shown" in chart.note
    assert "Dashed" not in chart.note
    assert "stroke-dasharray" not in (chart.svg or "")


def test_contributions_are_those_of_the_full_test() -> None:
    assert contribution_chart(example()) is None
    chart = contribution_chart(example(contributions={"use_ema": only()}))
    assert chart is not None
    assert chart.svg is not None
    assert "EMA teacher" in chart.svg
