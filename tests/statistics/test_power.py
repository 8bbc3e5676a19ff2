"""The minimum detectable effect is detected with the power said; more days and seeds than needed are enough."""

import math

import numpy as np
import pytest
from scipy.stats import norm

from atft_gat_fan.statistics.paired import paired_interval
from atft_gat_fan.statistics.power import minimum_detectable_effect, needed
from tests.statistics.panels import paired_differences


def test_many_independent_days_give_the_closed_form() -> None:
    series = np.random.default_rng(0).normal(size=(1, 5000))
    expected = (norm.ppf(0.975) + norm.ppf(0.8)) / math.sqrt(5000)
    assert minimum_detectable_effect(series, 1) == pytest.approx(expected, rel=0.1)


def test_it_scales_with_the_noise_and_grows_with_what_is_asked() -> None:
    panel = paired_differences(np.random.default_rng(1), 4, 150, seed=1.0)
    effect = minimum_detectable_effect(panel, 1)
    assert minimum_detectable_effect(3 * panel + 7, 1) == pytest.approx(3 * effect)
    assert minimum_detectable_effect(panel, 1, level=0.05 / 7) > effect
    assert minimum_detectable_effect(panel, 1, power=0.95) > effect


def test_what_is_at_hand_is_what_its_own_detectable_effect_needs() -> None:
    panel = paired_differences(np.random.default_rng(2), 5, 300, seed=2.0)
    effect = minimum_detectable_effect(panel, 1)
    enough = needed(panel, 1, 1.0001 * effect)
    assert (enough.seeds, enough.days) == (5, 300)
    more = needed(panel, 1, 0.8 * effect)
    assert more.seeds > 5
    assert more.days > 300


def test_no_number_of_days_makes_up_for_seeds_that_differ() -> None:
    panel = paired_differences(np.random.default_rng(3), 4, 400, seed=10.0)
    floor = minimum_detectable_effect(panel, 1) / 4
    enough = needed(panel, 1, floor)
    assert enough.days == math.inf
    assert 4 < enough.seeds < 200


def test_no_number_of_seeds_makes_up_for_days() -> None:
    panel = np.repeat(np.random.default_rng(4).normal(size=(1, 2000)), 3, axis=0)
    assert needed(panel, 1, 0.05).seeds == math.inf
    # Independent days: (1.96 + 0.84)^2 / 0.05^2 = 3140.
    assert needed(panel, 1, 0.05).days == pytest.approx(3140, rel=0.25)


def test_one_seed_tells_nothing_of_others_and_few_days_nothing_at_all() -> None:
    one = needed(np.random.default_rng(5).normal(size=(1, 60)), 1, 0.1)
    assert math.isnan(one.seeds)
    assert one.days > 60
    few = np.full((3, 30), np.nan)
    few[:, :9] = 1.0
    assert math.isnan(minimum_detectable_effect(few, 1))
    assert math.isnan(needed(few, 1, 0.1).days)


def test_questions_without_an_answer_are_refused() -> None:
    with pytest.raises(ValueError, match="effect > 0, got 0"):
        needed(np.zeros((2, 30)), 1, 0)
    with pytest.raises(ValueError, match=r"got 0\.05 and 80"):
        minimum_detectable_effect(np.zeros((2, 30)), 1, power=80)


@pytest.mark.slow
@pytest.mark.parametrize(("num_seeds", "seed"), [(5, 1.0), (10, 2.0), (1, 0.0)])
def test_the_detectable_effect_is_detected_with_the_power_said(num_seeds: int, seed: float) -> None:
    rng = np.random.default_rng(6)
    planning = [paired_differences(rng, num_seeds, 300, seed=seed) for _ in range(200)]
    effect = float(np.sqrt(np.mean([minimum_detectable_effect(panel, 1) ** 2 for panel in planning])))
    found = np.mean(
        [
            paired_interval(effect + paired_differences(rng, num_seeds, 300, seed=seed), 1, trial, num_resamples=399).p
            <= 0.05
            for trial in range(500)
        ]
    )
    assert 0.7 <= found <= 0.92
