"""Distances from histograms are those of the values themselves, as far as bins can tell."""

import numpy as np
import pytest
from scipy.stats import ks_2samp, wasserstein_distance

from atft_gat_fan.statistics.distribution_shift import (
    DECILES,
    NUM_BINS,
    bin_edges,
    histogram,
    kolmogorov_smirnov,
    population_stability_index,
    wasserstein,
)

REFERENCE = np.random.default_rng(3).standard_normal(40_000)
EDGES, DEVIATION = bin_edges(REFERENCE)


@pytest.fixture
def rng() -> np.random.Generator:
    """Of each test its own: what it draws is the same whichever tests ran before."""
    return np.random.default_rng(4)


def counted(values, edges=EDGES):
    return histogram(values, np.zeros(len(values), np.int64), 1, edges)[0]


def test_every_value_is_in_one_bin_and_missing_ones_are_in_none() -> None:
    values = np.array([-1e30, 1e30, 0.0, np.nan, np.inf, -np.inf, EDGES[7]])
    counts = counted(values)
    assert counts.sum() == 4
    assert counts[0] == counts[-1] == counts[7] == 1
    assert counts.shape == (NUM_BINS,)


def test_days_add_up_to_their_window(rng: np.random.Generator) -> None:
    values, day = rng.standard_normal(900), rng.integers(3, size=900)
    of_days = histogram(values, day, 3, EDGES)
    assert (of_days.sum(axis=0) == counted(values)).all()
    assert (of_days[1] == counted(values[day == 1])).all()


@pytest.mark.parametrize(("shift", "scale"), [(0.0, 1.0), (0.25, 1.0), (0.0, 1.5), (-1.0, 0.5), (5.0, 1.0)])
def test_they_agree_with_the_statistics_of_the_values(shift: float, scale: float, rng: np.random.Generator) -> None:
    current = shift + scale * rng.standard_normal(20_000)
    counts = counted(REFERENCE), counted(current)
    exact = ks_2samp(REFERENCE, current).statistic
    assert exact - 0.02 <= kolmogorov_smirnov(*counts) <= exact + 1e-12
    distance = wasserstein_distance(REFERENCE, current) / DEVIATION
    # Beyond the reference's tails bins are standard deviations wide.
    assert wasserstein(*counts, EDGES, DEVIATION) == pytest.approx(distance, rel=0.05 if shift < 1 else 0.2, abs=0.01)


def test_psi_is_the_sum_over_deciles_with_half_a_count_added() -> None:
    counts = counted(REFERENCE), counted(0.5 + REFERENCE[:999])
    p, q = (np.add.reduceat(c, DECILES) + 0.5 for c in (counts[1], counts[0]))
    p, q = p / p.sum(), q / q.sum()
    assert p.shape == (10,)
    assert population_stability_index(*counts) == pytest.approx(((p - q) * np.log(p / q)).sum())
    tenths = np.add.reduceat(counts[0], DECILES)
    assert np.abs(tenths / tenths.sum() - 0.1).max() < 1e-3


def test_psi_is_symmetric_finite_where_a_bin_is_empty_and_zero_for_the_same() -> None:
    counts = counted(REFERENCE), counted(100 + REFERENCE[:50])
    assert population_stability_index(*counts) == pytest.approx(population_stability_index(*counts[::-1]))
    assert 1 < population_stability_index(*counts) < 20
    assert population_stability_index(counts[0], counts[0]) == 0


def test_a_feature_of_two_values_is_compared_by_their_shares(rng: np.random.Generator) -> None:
    flags = (rng.random(10_000) < 0.3).astype(float)
    edges, deviation = bin_edges(flags)
    same, more = (counted((rng.random(10_000) < share).astype(float), edges) for share in (0.3, 0.6))
    reference = counted(flags, edges)
    assert kolmogorov_smirnov(reference, more) == pytest.approx(0.3, abs=0.02)
    assert population_stability_index(reference, same) < 0.001
    assert population_stability_index(reference, more) == pytest.approx(0.3 * np.log(0.6 / 0.4 * 0.7 / 0.3), abs=0.03)
    # Of steps, straight lines between the edges make less.
    assert 0.5 * 0.3 / deviation < wasserstein(reference, more, edges, deviation) <= 0.3 / deviation


def test_a_constant_that_changes_is_seen() -> None:
    edges, deviation = bin_edges(np.full(100, 7.0))
    before, after = counted(np.full(100, 7.0), edges), counted(np.full(100, 7.001), edges)
    assert deviation == 7.0
    assert kolmogorov_smirnov(before, after) == 1
    assert np.isfinite(bin_edges(np.array([np.nan, np.inf]))[0]).all()


def test_without_values_nothing_is_known() -> None:
    nothing = np.zeros(NUM_BINS)
    some = counted(REFERENCE)
    assert np.isnan(population_stability_index(some, nothing))
    assert np.isnan(kolmogorov_smirnov(nothing, some))
    assert np.isnan(wasserstein(some, nothing, EDGES, DEVIATION))


def test_a_change_of_unit_is_told_from_a_drift_by_its_size() -> None:
    drift, unit = (wasserstein(counted(REFERENCE), counted(k * REFERENCE), EDGES, DEVIATION) for k in (1.5, 100))
    assert drift < 1
    assert unit > 5
