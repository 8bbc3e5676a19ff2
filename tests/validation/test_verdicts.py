"""Verdicts on planted effects, and their rule at its edges."""

import pytest

from atft_gat_fan.validation.result import DeltaRankIC
from atft_gat_fan.validation.verdicts import Pair, compare, judge
from tests.validation.market import make_config, make_outcomes


def compared(config, outcomes, arms):
    pairs = [Pair(arm.name, arm.title, arm.overrides, arm.name, "baseline") for arm in arms.variants]
    return compare(outcomes, pairs, config.data.horizons, config.validation.seeds, config.validation)


def test_planted_effects_are_found_and_nothing_else():
    config = make_config()
    arms, outcomes = make_outcomes(config, {"huber_loss": 0.012, "gat_temperature": -0.012}, noise=0.01)
    results = compared(config, outcomes, arms)
    verdicts = {name: result.verdict for name, result in results.items()}
    assert verdicts.pop("huber_loss") == "helps"
    assert verdicts.pop("gat_temperature") == "hurts"
    assert set(verdicts.values()) == {"neutral"}
    helped = results["huber_loss"].delta_rank_ic["1d"]
    assert helped.low < 0.012 < helped.high
    assert len(helped.by_seed) == 4


def test_noise_that_hides_an_effect_is_said_to_with_what_would_be_needed():
    config = make_config()
    arms, outcomes = make_outcomes(config, {}, noise=0.2, only=["use_ema"])
    result = compared(config, outcomes, arms)["use_ema"]
    delta = result.delta_rank_ic["1d"]
    assert result.verdict == "underpowered"
    assert delta.minimum_detectable > delta.margin
    assert "would be needed" in result.reason


def test_p_is_corrected_for_the_number_of_improvements_and_the_interval_is_not():
    config = make_config()
    alone_arms, alone = make_outcomes(config, {"use_ema": 0.001}, only=["use_ema"])
    (one,) = compared(config, alone, alone_arms).values()
    assert one.delta_rank_ic["1d"].p == one.delta_rank_ic["1d"].p_raw
    arms, outcomes = make_outcomes(config, {"use_ema": 0.001})
    raw = {name: result.delta_rank_ic["1d"].p_raw for name, result in compared(config, outcomes, arms).items()}
    corrected = {name: result.delta_rank_ic["1d"].p for name, result in compared(config, outcomes, arms).items()}
    smallest = min(raw, key=raw.get)
    assert corrected[smallest] == pytest.approx(min(1.0, 7 * raw[smallest]))


def test_divergence_time_and_memory_are_of_pairs():
    config = make_config(stress={"num_seeds": 2})
    arms, outcomes = make_outcomes(
        config, {}, diverged=("baseline",), memory={"use_ema": 1.1}, seconds={"use_ema": 1.25}
    )
    result = compared(config, outcomes, arms)["use_ema"]
    assert (result.divergence.baseline_rate, result.divergence.rate, result.divergence.change) == (1.0, 0.0, -1.0)
    assert result.divergence.p == pytest.approx(2 / 2**8)
    assert result.time.ratio == pytest.approx(1.25)
    assert result.time.pairs == config.validation.timing.rounds
    assert result.memory.ratio == pytest.approx(1.1)
    assert result.cuda_memory is None


def test_without_a_diverged_baseline_no_reduction_is_claimed():
    config = make_config()
    arms, outcomes = make_outcomes(config, {}, diverged=("use_ema",))
    divergence = compared(config, outcomes, arms)["use_ema"].divergence
    assert divergence.change is None
    assert divergence.rate == 1.0


def test_what_was_not_run_is_not_measured():
    config = make_config(stress={"num_seeds": 0}, timing={"rounds": 0})
    arms, outcomes = make_outcomes(config, {})
    result = compared(config, outcomes, arms)["all"]
    assert result.time.ratio is None
    assert (result.divergence.pairs, result.divergence.rate, result.divergence.p) == (0, None, None)


@pytest.mark.parametrize(
    ("mean", "p", "p_equivalence", "verdict"),
    [
        (0.01, 0.05, 0.9, "helps"),
        (-0.01, 0.05, 0.9, "hurts"),
        (0.001, 0.01, 0.01, "helps"),
        (0.001, 0.06, 0.05, "neutral"),
        (0.001, 0.06, 0.06, "underpowered"),
        (None, None, None, "underpowered"),
    ],
)
def test_the_rule(mean, p, p_equivalence, verdict):
    delta = DeltaRankIC(mean, mean, mean, p, p_equivalence=p_equivalence, margin=0.003)
    found, reason = judge(delta, "1d", 0.05)
    assert found == verdict
    assert reason
