"""The median of paired ratios: exact bounds, exchangeable arms, deaf to one stalled timing and to a drift of both."""

import numpy as np
import pytest
from scipy.stats import binom

from atft_gat_fan.statistics.ratios import median_ratio_interval


@pytest.fixture
def timings() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    baseline = rng.lognormal(size=15)
    return 1.2 * baseline * rng.lognormal(sigma=0.05, size=15), baseline


def test_the_bounds_are_order_statistics_of_the_binomial(timings: tuple[np.ndarray, np.ndarray]) -> None:
    result = median_ratio_interval(*timings)
    ratios = np.sort(timings[0] / timings[1])
    # The largest k with P(Binomial(15, 1/2) < k) <= 2.5 %: the k-th smallest and k-th largest ratio.
    rank = max(k for k in range(8) if binom.cdf(k - 1, 15, 0.5) <= 0.025)
    assert (result.ratio, result.low, result.high) == pytest.approx(
        (np.median(ratios), ratios[rank - 1], ratios[-rank])
    )


def test_exchanging_the_arms_gives_the_reciprocal() -> None:
    rng = np.random.default_rng(1)
    variant, baseline = rng.lognormal(size=10), rng.lognormal(size=10)
    there, back = median_ratio_interval(variant, baseline), median_ratio_interval(baseline, variant)
    assert (back.ratio, back.low, back.high) == pytest.approx((1 / there.ratio, 1 / there.high, 1 / there.low))


def test_a_machine_that_slows_down_for_both_and_one_stall_do_not_matter(timings: tuple[np.ndarray, np.ndarray]) -> None:
    variant, baseline = timings
    drift = np.linspace(1, 3, 15)
    expected = median_ratio_interval(variant, baseline)
    drifted = median_ratio_interval(variant * drift, baseline * drift)
    assert (drifted.ratio, drifted.low, drifted.high) == pytest.approx((expected.ratio, expected.low, expected.high))
    slowest = np.argmax(variant / baseline)
    stalled = np.where(np.arange(15) == slowest, 100 * variant, variant)
    assert median_ratio_interval(stalled, baseline).ratio == pytest.approx(expected.ratio)


def test_it_covers_the_true_ratio() -> None:
    rng = np.random.default_rng(2)
    covered = 0
    for _ in range(300):
        interval = median_ratio_interval(rng.lognormal(0.1, 0.3, 9), rng.lognormal(0.0, 0.3, 9))
        covered += interval.low <= np.exp(0.1) <= interval.high
    # Nine pairs carry 96.1 % exactly.
    assert binom.ppf(0.001, 300, 0.961) <= covered <= binom.ppf(0.999, 300, 0.961)


def test_too_few_or_unknown_pairs() -> None:
    values = np.array([1.1, 1.2, 1.3, 1.4, 1.5])
    five = median_ratio_interval(values, np.ones(5))
    assert five.ratio == pytest.approx(1.3)
    assert np.isnan(five.low)
    holed = median_ratio_interval(np.append(values, [np.nan, 2.0, -1.0]), np.append(np.ones(5), [1.0, 0.0, 1.0]))
    assert (holed.ratio, holed.pairs) == (five.ratio, 5)
    assert np.isnan(median_ratio_interval(np.zeros(0), np.zeros(0)).ratio)
    with pytest.raises(ValueError, match="got 2 variant and 3 baseline"):
        median_ratio_interval(np.ones(2), np.ones(3))
