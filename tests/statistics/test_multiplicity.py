"""Holm: never below the raw p, never above Bonferroni, and the family-wise error stays at the level."""

import numpy as np
import pytest

from atft_gat_fan.statistics.multiplicity import holm


def test_each_step_multiplies_by_the_tests_left() -> None:
    # Sorted 0.005, 0.01, 0.03, 0.04 times 4, 3, 2, 1, never falling.
    np.testing.assert_allclose(holm(np.array([0.01, 0.04, 0.03, 0.005])), [0.03, 0.06, 0.06, 0.02])


def test_it_lies_between_raw_and_bonferroni_and_keeps_the_order() -> None:
    p = np.random.default_rng(0).uniform(0, 0.3, 12)
    adjusted = holm(p)
    assert (adjusted >= p).all()
    assert (adjusted <= np.minimum(1, 12 * p)).all()
    assert (np.diff(adjusted[np.argsort(p)]) >= 0).all()
    np.testing.assert_array_equal(holm(p[::-1]), adjusted[::-1])


def test_untested_stays_unknown_and_does_not_count() -> None:
    np.testing.assert_allclose(holm(np.array([0.01, np.nan, 0.5])), [0.02, np.nan, 0.5])
    assert holm(np.array([])).size == 0


def test_the_family_wise_error_is_the_level() -> None:
    p = np.random.default_rng(1).uniform(size=(4000, 7))
    family_wise = np.mean([(holm(row) <= 0.05).any() for row in p])
    # Exactly 1 - (1 - 0.05 / 7)^7 = 0.049 for independent tests; three standard errors of 4000 draws.
    assert family_wise == pytest.approx(0.049, abs=0.0103)


def test_p_outside_zero_and_one_is_refused() -> None:
    with pytest.raises(ValueError, match=r"p in \[0, 1\], got 0.2..1.2"):
        holm(np.array([0.2, 1.2]))
