"""The CUSUM is Page's, and its threshold keeps the rate of false alarms that was asked for."""

import numpy as np
import pytest

from atft_gat_fan.statistics.cusum import calibrated_threshold, long_run_deviation, lower_cusum


def test_it_is_pages_recursion_and_begins_anew_after_an_alarm() -> None:
    series = np.random.default_rng(0).normal(0.0, 0.1, 200)
    sums = lower_cusum(series, 0.05, 0.1, allowance=0.25, threshold=2.0)
    expected, running, raised = [], 0.0, 0
    for value in series:
        running = max(0.0, (0.0 if running > 2.0 else running) + (0.05 - value) / 0.1 - 0.25)
        raised += running > 2.0
        expected.append(running)
    np.testing.assert_allclose(sums, expected)
    assert raised > 1


def test_an_unknown_day_changes_nothing_and_a_rise_is_no_drop() -> None:
    falls = np.array([-1.0, np.nan, -1.0])
    np.testing.assert_allclose(lower_cusum(falls, 0.0, 1.0, allowance=0.5, threshold=9.0), [0.5, 0.5, 1.0])
    assert (lower_cusum(np.ones(50), 0.0, 1.0, allowance=0.25, threshold=1.0) == 0).all()


def test_what_is_to_come_changes_nothing() -> None:
    series = np.random.default_rng(1).standard_normal(50)
    changed = np.concatenate([series[:30], series[30:] - 5])
    one, other = (lower_cusum(s, 0.0, 1.0, allowance=0.25, threshold=4.0) for s in (series, changed))
    assert (one[:30] == other[:30]).all()
    assert (one[30:] != other[30:]).any()


@pytest.mark.parametrize("rate", [0.002, 0.01])
def test_independent_days_of_a_known_mean_raise_as_many_alarms_as_were_asked_for(rate: float) -> None:
    rng = np.random.default_rng(2)
    healthy = rng.standard_normal((4000, 1))
    threshold = calibrated_threshold(
        healthy, (0,), allowance=0.25, rate=rate, block_length=1, num_resamples=100, seed=0
    )
    sums = lower_cusum(rng.standard_normal((200, 500)), 0.0, 1.0, allowance=0.25, threshold=threshold)
    assert 0.5 * rate < float((sums > threshold).mean()) < 1.7 * rate


def test_overlapping_labels_and_more_horizons_ask_for_a_higher_threshold() -> None:
    rng = np.random.default_rng(4)
    one, other = rng.standard_normal((2, 400))
    settings = {"allowance": 0.25, "rate": 0.005, "block_length": 10, "num_resamples": 100, "seed": 0}
    alone = calibrated_threshold(one[:, None], (4,), **settings)
    together = calibrated_threshold(np.stack([one, other], axis=1), (4, 4), **settings)
    assert together > alone
    assert calibrated_threshold(one[:, None], (4,), **settings) == alone


def test_the_long_run_deviation_counts_what_days_share() -> None:
    parts = np.random.default_rng(5).standard_normal(5005)
    overlapping = np.convolve(parts, np.ones(5), "valid") / np.sqrt(5)
    assert long_run_deviation(overlapping, 30) == pytest.approx(np.sqrt(5), rel=0.15)
    assert long_run_deviation(parts, 0) == pytest.approx(parts.std(ddof=1), rel=1e-3)
    assert np.isnan(long_run_deviation(np.array([1.0, np.nan]), 2))


def test_too_few_days_have_no_threshold() -> None:
    known = calibrated_threshold(
        np.zeros((9, 1)), (0,), allowance=0.25, rate=0.01, block_length=5, num_resamples=100, seed=0
    )
    assert np.isnan(known)
