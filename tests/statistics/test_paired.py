"""A paired comparison rejects a true null as often as it says, finds what is there, and follows its symmetries."""

import math

import numpy as np
import pytest
from scipy.stats import binom, ttest_1samp

from atft_gat_fan.statistics.hac import newey_west
from atft_gat_fan.statistics.paired import equivalence, paired_interval
from tests.statistics.panels import autoregressive, paired_differences


@pytest.fixture
def differences() -> np.ndarray:
    return 0.005 + 0.05 * paired_differences(np.random.default_rng(0), 5, 200, seed=1.0)


def test_the_interval_surrounds_the_mean_and_excludes_zero_exactly_where_p_says_so(differences: np.ndarray) -> None:
    for shift in np.linspace(-0.02, 0.02, 41):
        result = paired_interval(differences + shift, 1, 3, num_resamples=499)
        assert result.mean == pytest.approx(differences.mean() + shift)
        assert result.high - result.mean == pytest.approx(result.mean - result.low)
        assert (result.low > 0 or result.high < 0) == (result.p <= 0.05)


def test_the_level_is_the_one_at_which_p_turns(differences: np.ndarray) -> None:
    result = paired_interval(differences, 1, 3, num_resamples=999)
    wider = paired_interval(differences, 1, 3, level=1 - result.p + 0.001, num_resamples=999)
    narrower = paired_interval(differences, 1, 3, level=1 - result.p - 0.001, num_resamples=999)
    assert wider.low < 0 < narrower.low


def test_independent_days_of_one_seed_give_the_t_test() -> None:
    series = np.random.default_rng(1).normal(0.1, 1.0, 1000)
    result = paired_interval(series[None], 1, 0)
    reference = ttest_1samp(series, 0.0)
    assert result.standard_error == pytest.approx(series.mean() / reference.statistic, rel=0.15)
    assert result.high - result.low == pytest.approx(np.diff(reference.confidence_interval())[0], rel=0.15)


def test_where_only_seeds_differ_it_is_the_t_interval_of_the_seeds() -> None:
    seeds = np.array([0.01, 0.03, 0.02, -0.01])
    result = paired_interval(np.repeat(seeds[:, None], 50, axis=1), 1, 0, num_resamples=50_000)
    reference = ttest_1samp(seeds, 0.0)
    assert result.standard_error == pytest.approx(seeds.mean() / reference.statistic)
    assert result.high == pytest.approx(reference.confidence_interval().high, rel=0.03)
    assert result.p == pytest.approx(reference.pvalue, rel=0.03)


def test_scale_sign_and_order_of_seeds(differences: np.ndarray) -> None:
    result = paired_interval(differences, 5, 3, num_resamples=499)
    scaled = paired_interval(2 * differences, 5, 3, num_resamples=499)
    assert (scaled.mean, scaled.low, scaled.high) == pytest.approx((2 * result.mean, 2 * result.low, 2 * result.high))
    assert scaled.p == result.p
    flipped = paired_interval(-differences, 5, 3, num_resamples=499)
    assert (flipped.low, flipped.high, flipped.p) == pytest.approx((-result.high, -result.low, result.p))
    permuted = paired_interval(differences[[3, 0, 4, 2, 1]], 5, 3, num_resamples=499)
    assert (permuted.low, permuted.high, permuted.p) == pytest.approx((result.low, result.high, result.p))


def test_the_seed_decides_the_draws(differences: np.ndarray) -> None:
    assert paired_interval(differences, 1, 3) == paired_interval(differences, 1, 3)
    assert paired_interval(differences, 1, 3) != paired_interval(differences, 1, 4)


def test_a_day_unknown_to_one_seed_is_left_out_in_all(differences: np.ndarray) -> None:
    holed = np.insert(differences, [17, 90], 7.0, axis=1)
    holed[2, 17] = np.nan
    holed[0, 91] = np.inf
    assert paired_interval(holed, 1, 3) == paired_interval(differences, 1, 3)
    assert equivalence(holed, 1, 3) == equivalence(differences, 1, 3)


@pytest.mark.parametrize("shape", [(3, 9), (3, 0), (0, 30), (1, 1)])
def test_too_few_days_give_nan_and_show_nothing(shape: tuple[int, int]) -> None:
    result = paired_interval(np.zeros(shape), 1, 0)
    assert all(math.isnan(value) for value in (result.low, result.high, result.p, result.standard_error))
    assert (result.num_seeds, result.num_days) == shape
    shown = equivalence(np.zeros(shape), 1, 0)
    assert not shown.equivalent
    assert math.isnan(shown.p)


def test_identical_trials_differ_by_nothing() -> None:
    result = paired_interval(np.zeros((3, 40)), 1, 0, num_resamples=499)
    assert (result.low, result.high, result.p) == (0.0, 0.0, 1.0)
    assert equivalence(np.zeros((3, 40)), 1, 0, num_resamples=499).p == pytest.approx(0.001)


def test_equivalence_is_the_inner_interval_inside_the_margin(differences: np.ndarray) -> None:
    verdicts = set()
    for margin in np.linspace(0.002, 0.04, 30):
        result = equivalence(differences, 1, 3, margin=margin, num_resamples=999)
        inner = paired_interval(differences, 1, 3, level=0.9, num_resamples=999)
        assert (result.low, result.high) == (inner.low, inner.high)
        assert result.equivalent == (-margin < inner.low and inner.high < margin) == (result.p <= 0.05)
        verdicts.add(result.equivalent)
    assert verdicts == {True, False}


def test_a_mean_beyond_the_margin_is_evidence_against_equivalence(differences: np.ndarray) -> None:
    assert equivalence(differences + 0.05, 1, 3).p > 0.95


def test_levels_and_margins_are_checked(differences: np.ndarray) -> None:
    with pytest.raises(ValueError, match="between 0 and 1, got 95"):
        paired_interval(differences, 1, 0, level=95)
    with pytest.raises(ValueError, match="margin > 0, got 0"):
        equivalence(differences, 1, 0, margin=0)


def test_correlation_beyond_the_lags_of_the_error_widens_the_interval() -> None:
    rng = np.random.default_rng(7)
    ratios = []
    for _ in range(8):
        result = paired_interval(autoregressive(rng, (1, 400), 0.9), 1, 0, num_resamples=499)
        ratios.append((result.high - result.mean) / result.standard_error)
    # About 2.5; 2.05 if days were drawn one by one.
    assert np.mean(ratios) > 2.25


def test_the_residual_of_a_seed_on_a_day_counts_once() -> None:
    rng = np.random.default_rng(8)
    results = [paired_interval(rng.normal(size=(40, 200)), 1, 0, num_resamples=499) for _ in range(12)]
    # 1.96 / sqrt(40 x 200), and a little for not knowing; times sqrt(2) if counted with the seeds too.
    assert 0.95 < np.mean([result.high - result.mean for result in results]) / (1.96 / np.sqrt(8000)) < 1.3


@pytest.mark.parametrize(("horizon", "lags"), [(1, 10), (5, 10), (10, 20)])
def test_the_error_of_one_seed_spans_twice_the_overlap(horizon: int, lags: int) -> None:
    series = np.random.default_rng(9).normal(size=100).cumsum()
    expected = newey_west(series, lags).standard_error
    assert paired_interval(series[None], horizon, 0, num_resamples=99).standard_error == pytest.approx(expected)


def rejections(
    *, num_seeds: int, num_days: int, horizon: int = 1, trials: int, shift: float = 0.0, **parts: float
) -> int:
    rng = np.random.default_rng(5)
    return sum(
        paired_interval(
            shift + paired_differences(rng, num_seeds, num_days, **parts), horizon, trial, num_resamples=399
        ).p
        <= 0.05
        for trial in range(trials)
    )


def test_a_true_null_is_rejected_about_as_often_as_said() -> None:
    # A day effect alone; beyond 1 in 1000 either way.
    low, high = binom.ppf([0.001, 0.999], 300, 0.05)
    assert low <= rejections(num_seeds=3, num_days=100, trials=300, day=1.0, residual=0.0) <= high


@pytest.mark.slow
@pytest.mark.parametrize("num_seeds", [3, 5, 10])
@pytest.mark.parametrize("day", [0.0, 0.5])
@pytest.mark.parametrize("seed", [0.0, 1.0, 4.0])
def test_size_over_seeds_and_days(num_seeds: int, day: float, seed: float) -> None:
    # Never more than nominal; where seeds differ by more than their days explain, not much less either.
    count = rejections(num_seeds=num_seeds, num_days=200, trials=1000, day=day, seed=seed)
    assert count <= binom.ppf(0.999, 1000, 0.06)
    if seed == 4.0:
        assert count >= binom.ppf(0.001, 1000, 0.04)


@pytest.mark.slow
def test_size_on_overlapping_labels() -> None:
    rng = np.random.default_rng(6)
    count = 0
    for trial in range(600):
        noise = rng.normal(size=(3, 409)) + rng.normal(size=409)
        overlapping = np.apply_along_axis(np.convolve, 1, noise, np.ones(10) / 10, "valid")
        count += paired_interval(overlapping, 10, trial, num_resamples=399).p <= 0.05
    assert count <= binom.ppf(0.999, 600, 0.06)


def test_what_is_there_is_found() -> None:
    # Four standard errors of the mean: sqrt(1.3 / 0.7) (AR(1)) x sqrt(0.5^2 + 1 / 5) / sqrt(200) = 0.065.
    assert rejections(num_seeds=5, num_days=200, trials=60, shift=0.26) >= 50


@pytest.mark.slow
def test_a_mean_on_the_margin_is_seldom_called_equivalent_and_nothing_at_all_often() -> None:
    rng = np.random.default_rng(10)
    panels = [0.02 * paired_differences(rng, 5, 600, seed=1.0) for _ in range(400)]
    border = sum(equivalence(panel + 0.003, 1, 0, num_resamples=399).equivalent for panel in panels)
    inside = sum(equivalence(panel, 1, 0, num_resamples=399).equivalent for panel in panels)
    assert border <= binom.ppf(0.999, 400, 0.05)
    assert inside >= 0.7 * 400
