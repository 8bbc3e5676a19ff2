"""McNemar's exact test: the sign test of the discordant pairs."""

import math

import numpy as np
import pytest

from atft_gat_fan.statistics.contingency import mcnemar, paired_rates


@pytest.mark.parametrize(("only_baseline", "only_variant"), [(6, 0), (8, 1), (3, 3), (10, 4)])
def test_p_is_twice_the_binomial_tail(only_baseline: int, only_variant: int) -> None:
    n, least = only_baseline + only_variant, min(only_baseline, only_variant)
    tail = sum(math.comb(n, k) for k in range(least + 1)) / 2**n
    assert mcnemar(only_baseline, only_variant) == pytest.approx(min(1.0, 2 * tail))
    assert mcnemar(only_variant, only_baseline) == mcnemar(only_baseline, only_variant)


def test_five_against_none_cannot_be_significant_six_can() -> None:
    assert mcnemar(5, 0) > 0.05 > mcnemar(6, 0)
    assert mcnemar(0, 0) == 1.0


def test_rates_and_discordance_of_pairs() -> None:
    baseline = np.array([True, True, True, False, False, True])
    variant = np.array([True, False, False, False, True, False])
    rates = paired_rates(baseline, variant)
    assert (rates.pairs, rates.only_baseline, rates.only_variant) == (6, 3, 1)
    assert (rates.baseline, rates.variant) == pytest.approx((4 / 6, 2 / 6))
    assert rates.p == mcnemar(3, 1)


def test_pairs_are_checked() -> None:
    none = paired_rates(np.zeros(0, bool), np.zeros(0, bool))
    assert np.isnan(none.baseline)
    assert none.p == 1.0
    with pytest.raises(ValueError, match="got 2 baseline and 3 variant"):
        paired_rates(np.zeros(2, bool), np.zeros(3, bool))
    with pytest.raises(ValueError, match="got -1 and 2"):
        mcnemar(-1, 2)
