"""The parts of the noise: found in a simulated panel, adding up to what the mean really varies by."""

import numpy as np
import pytest

from atft_gat_fan.statistics.components import complete_days, effective_degrees, paired_variance
from atft_gat_fan.statistics.hac import newey_west
from tests.statistics.panels import paired_differences


@pytest.mark.parametrize(
    ("day", "seed", "residual"), [(1.0, 0.0, 0.2), (0.2, 3.0, 1.0), (0.5, 1.0, 1.0), (0.0, 0.0, 1.0)]
)
def test_the_parts_add_up_to_the_variance_of_the_mean(day: float, seed: float, residual: float) -> None:
    rng = np.random.default_rng(0)
    panels = [
        paired_differences(rng, 6, 120, day=day, seed=seed, residual=residual, correlation=0.0) for _ in range(1500)
    ]
    true = (day**2 + residual**2 / 6 + seed**2 / 6) / 120
    unclamped = np.mean([p.of_days + p.of_seeds - p.of_both for p in (paired_variance(x, 0) for x in panels)])
    assert np.var([panel.mean() for panel in panels]) == pytest.approx(true, rel=0.12)
    assert unclamped == pytest.approx(true, rel=0.05)


def test_one_seed_is_newey_west() -> None:
    series = np.random.default_rng(1).normal(size=80).cumsum()
    parts = paired_variance(series[None], 8)
    assert parts.of_mean == pytest.approx(newey_west(series, 8).standard_error ** 2)
    assert parts.between_seeds == 0.0


def test_degrees_are_those_of_the_part_that_dominates() -> None:
    rng = np.random.default_rng(2)
    seeds = paired_variance(rng.normal(size=(4, 1)) + 1e-6 * rng.normal(size=(4, 100)), 0)
    assert effective_degrees(seeds) == pytest.approx(3, rel=1e-3)
    days = paired_variance(np.repeat(rng.normal(size=(1, 100)), 4, axis=0), 0)
    assert effective_degrees(days) == pytest.approx(99)
    assert effective_degrees(paired_variance(np.zeros((3, 20)), 0)) == np.inf


def test_only_days_known_to_every_seed_are_complete() -> None:
    panel = np.arange(12.0).reshape(3, 4)
    panel[1, 2], panel[2, 0] = np.nan, np.inf
    np.testing.assert_array_equal(complete_days(panel), [[1, 3], [5, 7], [9, 11]])


def test_a_panel_without_spread_to_measure_is_refused() -> None:
    with pytest.raises(ValueError, match="2 days, got 3 x 1"):
        paired_variance(np.zeros((3, 1)), 0)
