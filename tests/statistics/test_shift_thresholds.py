"""Thresholds follow from how days differ from each other, not from how many stocks they have."""

import numpy as np
import pytest

from atft_gat_fan.statistics.distribution_shift import bin_edges, histogram
from atft_gat_fan.statistics.shift_thresholds import (
    LEAST,
    Histograms,
    calibrated_thresholds,
    effective_days,
    shift_statistics,
)

SETTINGS = {"rate": 0.005, "block_length": 10, "num_resamples": 200, "seed": 0}


def histograms(values):
    """Of values [days, stocks, names]."""
    days, stocks, names = values.shape
    found = [bin_edges(values[..., name].ravel()) for name in range(names)]
    day = np.repeat(np.arange(days), stocks)
    counts = [histogram(values[..., name].ravel(), day, days, edges) for name, (edges, _) in enumerate(found)]
    edges, deviation = (np.array(part) for part in zip(*found, strict=True))
    return Histograms(np.stack(counts, axis=1), edges, deviation)


def days(common, num_days=120, num_stocks=60, names=3, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((num_days, num_stocks, names)) + common * rng.standard_normal((num_days, 1, names))


def test_days_that_move_together_are_given_more_room() -> None:
    alone, together = (calibrated_thresholds(histograms(days(common)), (30, 5), **SETTINGS) for common in (0.0, 0.5))
    assert (together > 1.5 * alone).all()
    assert (together[1] > together[0]).all(), "fewer days differ more"
    assert alone.shape == (2, 3, 3)


def test_more_names_ask_for_more_and_the_seed_decides() -> None:
    values = days(0.3, names=30)
    few, many = histograms(values[..., :1]), histograms(values)
    one = calibrated_thresholds(few, (30, 5), **SETTINGS)
    assert (calibrated_thresholds(many, (30, 5), **SETTINGS)[:, 0] > one[:, 0]).all()
    assert (calibrated_thresholds(few, (30, 5), **SETTINGS) == one).all()
    assert (calibrated_thresholds(few, (30, 5), **SETTINGS | {"rate": 0.05}) < one).all()


def test_what_does_not_matter_is_no_alarm_however_sure() -> None:
    values = np.tile(np.linspace(-1, 1, 400)[None, :, None], (50, 1, 2))
    thresholds = calibrated_thresholds(histograms(values), (20, 5), **SETTINGS)
    assert (thresholds == LEAST).all()


def test_another_unit_is_an_alarm_however_few_the_days_were() -> None:
    level = np.cumsum(np.random.default_rng(0).standard_normal(15))
    few = histograms(days(0.0, num_days=15) + 5 * level[:, None, None])
    thresholds = calibrated_thresholds(few, (15, 5), **SETTINGS)
    assert (thresholds[..., 2] <= 3).all()
    counts = few.counts.sum(axis=0)
    last_bin = np.zeros_like(counts)
    last_bin[:, -1] = 1
    assert (shift_statistics(counts, last_bin, few.edges, few.deviation)[:, 2] > 3).all()


def test_a_name_without_values_has_no_threshold_and_takes_none_from_others() -> None:
    values = days(0.3)
    values[..., 1] = np.nan
    values[:100, :, 2] = np.nan  # known on some days alone: some windows hold none of it
    thresholds = calibrated_thresholds(histograms(values), (30, 5), **SETTINGS)
    assert np.isnan(thresholds[:, 1]).all()
    assert np.isfinite(thresholds[:, [0, 2]]).all()


def test_days_that_resemble_the_day_before_count_less() -> None:
    rng = np.random.default_rng(1)
    level = np.zeros(300)
    for day in range(1, 300):
        level[day] = 0.9 * level[day - 1] + rng.standard_normal()
    values = rng.standard_normal((300, 40, 2))
    values[..., 1] += level[:, None]
    effective = effective_days(histograms(values).counts, 40)
    assert effective[0] > 150
    assert effective[1] < 50


def test_statistics_stand_in_their_order() -> None:
    reference = histograms(days(0.0))
    counts = reference.counts.sum(axis=0)
    moved = np.roll(counts, 3, axis=-1)
    statistics = shift_statistics(counts, moved, reference.edges, reference.deviation)
    assert statistics.shape == (3, 3)
    assert (statistics[:, 0] > 0.05).all()
    assert ((statistics[:, 1] > 0) & (statistics[:, 1] <= 1)).all()
    same = shift_statistics(counts, counts, reference.edges, reference.deviation)
    assert same == pytest.approx(0)
