"""What is asked of the worlds can be asked, and what is called met follows from what was measured."""

import itertools
from pathlib import Path
from typing import Any

import pytest

from atft_gat_fan.config.improvements import resolve
from atft_gat_fan.config.load import load_config, overridden
from atft_gat_fan.data.sources.synthetic_worlds import WORLDS
from atft_gat_fan.validation.arms import SWITCHES
from atft_gat_fan.validation.result import DeltaRankIC, DivergenceResult
from benchmarks.world_questions import FIRST_SEED, MARKET_SEED, NAMES, QUESTIONS, Question, arguments_of, arms_of
from benchmarks.worlds import Answer, corrected, measure


def test_every_world_and_every_improvement_is_asked_about() -> None:
    assert {load_config([question.preset]).data.synthetic.world for question in QUESTIONS} == set(WORLDS)
    changed = {each.partition("=")[0] for question in QUESTIONS for each in question.arm.overrides}
    assert changed == {*(f"improvements.{name}" for name in SWITCHES), "model.gat.enabled", "model.fan.enabled"}
    assert min(MARKET_SEED, FIRST_SEED) >= 100, "apart from the seeds that anything was tuned with"


@pytest.mark.parametrize(("name", "quick"), [*itertools.product(NAMES, (False, True))])
def test_twins_differ_in_the_market_alone_and_arms_in_what_is_asked(name: str, quick: bool) -> None:
    world, twin = (load_config(arguments_of(name, twin=twin, quick=quick)) for twin in (False, True))
    assert overridden(twin, ["data.synthetic.null_twin=false"]).data == world.data
    assert twin.validation.stress.num_seeds == 0
    arms = arms_of(name, world)
    baseline = overridden(world, arms.baseline)
    for arm in arms.variants:
        variant = overridden(baseline, arm.overrides)
        assert (resolve(variant), variant.model) != (resolve(baseline), baseline.model)


def answer(name: str, *, twin: bool = False, p: float | None = 0.001, diverged: tuple[int, int] = (0, 0), **delta: Any):
    measured = {"mean": 0.01, "low": 0.005, "high": 0.015, "p": p, "p_equivalence": 0.9, "margin": 0.003} | delta
    divergence = DivergenceResult(36, *diverged, 0, 0, None, None, None, p)
    return Answer(asked(name), twin, 0.1, DeltaRankIC(**measured), divergence, p)


def asked(name: str) -> Question:
    return next(question for question in QUESTIONS if question.name == name)


@pytest.mark.parametrize(
    ("found", "met"),
    [
        (answer("spill_over"), True),
        (answer("spill_over", p=0.06), False),
        (answer("spill_over", p=None), False),
        (answer("spill_over", mean=-0.01), False),
        (answer("spill_over", twin=True, mean=0.001, p_equivalence=0.01), True),
        (answer("spill_over", twin=True, p=0.5), False),  # no difference shown is not shown to be none
        (answer("scale_drift", p=1.0, mean=0.0, low=0.0), True),
        (answer("scale_drift", low=-0.004), False),
        (answer("stress", diverged=(9, 1)), True),
        (answer("stress", diverged=(1, 9)), False),
        (answer("stress", diverged=(9, 1), p=0.2), False),
    ],
)
def test_met_is_what_was_measured(found: Answer, met: bool) -> None:
    assert found.met is met
    assert found.figure.reached == ("yes" if met else "no")


def test_what_nothing_is_expected_of_is_shown_and_not_judged() -> None:
    shown = next(question for question in QUESTIONS if question.expected == "shown")
    figure = Answer(shown, False, 0.1, answer("decoys").delta, answer("decoys").divergence, 0.5).figure
    assert (figure.target, figure.reached) == ("", "")


def test_p_is_corrected_over_the_worlds_and_not_the_twins() -> None:
    answers = [answer("spill_over", p=0.02), answer("spill_over", twin=True, p=0.02), answer("regimes", p=0.03)]
    harmless = answer("scale_drift", p=0.04)
    assert [each.p for each in corrected([*answers, harmless])] == pytest.approx([0.04, 0.02, 0.04, 0.04])
    assert [each.met for each in corrected([answer("regimes", p=0.03), answer("full", p=0.04)])] == [False, False]


@pytest.mark.slow
def test_a_world_is_answered_and_what_is_finished_is_kept(tmp_path: Path) -> None:
    figures = measure(["full"], tmp_path, quick=True)
    assert [figure.target for figure in figures] == ["helps", "neutral", "≥ 0.75"]
    finished = {file: file.stat().st_mtime_ns for file in tmp_path.rglob("trial.json")}
    assert len(finished) == 4
    assert len(list(tmp_path.rglob("validation.html"))) == 2
    assert measure(["full"], tmp_path, quick=True) == figures
    assert {file: file.stat().st_mtime_ns for file in tmp_path.rglob("trial.json")} == finished
