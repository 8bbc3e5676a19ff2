"""The best RankIC of a world, against formulas and densities that know nothing of characteristic functions."""

import math

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm, t

from atft_gat_fan.data.sources.synthetic_bound import closed_form_rank_ic, rank_ic, strength_of
from atft_gat_fan.data.sources.synthetic_worlds import (
    GROUP_SIZE,
    JUMP_CHANCE,
    JUMP_SIZE,
    OWN_SHARE,
    PLAIN,
    WORLDS,
    World,
)

EVERY_WORLD = pytest.mark.parametrize("world", [world for world, _ in WORLDS.values()], ids=WORLDS)
ONE_GROUP = GROUP_SIZE
"""As many stocks as one group has: the group's move parts no two of them."""


@pytest.mark.parametrize("strength", [0.05, 0.3, 1.0, 5.0])
def test_normal_noise_gives_spearmans_correlation_of_two_normals(strength: float) -> None:
    """6/π asin(ρ/2), Pearson 1907."""
    pearson = strength / math.hypot(strength, math.sqrt(OWN_SHARE))
    assert rank_ic(PLAIN, ONE_GROUP, strength) == pytest.approx(6 / math.pi * math.asin(pearson / 2), rel=1e-6)


@pytest.mark.parametrize("heavy_tails", [False, True])
def test_the_slope_is_the_integral_of_the_squared_density(heavy_tails: bool) -> None:
    def density(x: float) -> float:
        own = x / math.sqrt(OWN_SHARE)
        if not heavy_tails:
            return float(norm.pdf(own)) / math.sqrt(OWN_SHARE)
        scaled = math.sqrt(3) * np.array([own, own / JUMP_SIZE])
        chances = np.array([1 - JUMP_CHANCE, JUMP_CHANCE / JUMP_SIZE])
        return float(math.sqrt(3) * t.pdf(scaled, 3) @ chances) / math.sqrt(OWN_SHARE)

    squared = 2 * quad(lambda x: density(x) ** 2, 0, np.inf)[0]
    closed_form = closed_form_rank_ic(World(heavy_tails=heavy_tails), ONE_GROUP, 0.1)
    assert closed_form == pytest.approx(0.1 * 6 / math.sqrt(math.pi) * squared, rel=1e-6)


@EVERY_WORLD
def test_the_closed_form_is_the_first_order(world: World) -> None:
    assert rank_ic(world, 60, 1e-3) == pytest.approx(closed_form_rank_ic(world, 60, 1e-3), rel=1e-4)
    weak = strength_of(world, 60, 0.1)
    assert closed_form_rank_ic(world, 60, weak) == pytest.approx(0.1, rel=0.02)


@EVERY_WORLD
@pytest.mark.parametrize("signal", [0.0, 0.02, 0.25, 0.9])
def test_the_strength_gives_the_signal_asked_for(world: World, signal: float) -> None:
    assert rank_ic(world, 60, strength_of(world, 60, signal)) == pytest.approx(signal, rel=1e-4)


def test_a_quarter_of_the_days_three_times_as_volatile_costs_a_sixth() -> None:
    """E[1/σ] = 3/4 + 1/4 · 1/3."""
    calm = closed_form_rank_ic(PLAIN, 60, 0.1)
    assert closed_form_rank_ic(World(regimes=True), 60, 0.1) == pytest.approx(calm * (0.75 + 0.25 / 3), rel=1e-9)
