"""Each reason by itself, at its limit."""

import numpy as np
import pytest

from atft_gat_fan.validation.divergence import collapsed, diagnose, spiked, worse_than_constant

RNG = np.random.default_rng(0)
LABELS = RNG.normal(0, 0.02, (60, 30, 2))
SCORES = RNG.normal(0, 0.001, (60, 30, 2))
PRESENT = np.ones((60, 30), bool)


def reasons(losses, constants=None, scores=SCORES, **keywords):
    losses = np.asarray(losses, float)
    constants = np.ones_like(losses) if constants is None else constants
    return diagnose(losses, constants, scores, LABELS, PRESENT, **keywords).reasons


def test_a_training_that_learns_a_little_has_not_diverged():
    assert reasons(np.linspace(1.02, 0.97, 300)) == ()


@pytest.mark.parametrize(("length", "expected"), [(99, False), (100, True)])
def test_a_spike_is_a_hundred_steps_in_a_row_above_three_times_the_minimum(length, expected):
    curve = np.full(400, 1.0)
    curve[50 : 50 + length] = 3.01
    assert spiked(curve) is expected
    curve[60] = 3.0
    assert not spiked(curve)


def test_a_loss_that_varies_with_the_market_alone_is_no_spike():
    """Calm and wild batches differ tenfold in their loss; the constant's loss differs with them."""
    constants = np.where(np.arange(400) < 100, 1e-4, 1e-3)
    assert spiked(constants)
    assert reasons(constants * 0.99, constants) == ()


def test_the_end_of_the_curve_is_compared_with_the_constant():
    curve = np.full(300, 1.0)
    curve[:200] = 2.0
    assert not worse_than_constant(curve)
    assert reasons(np.where(np.arange(300) >= 270, 1.06, 1.0)) == ("worse_than_constant",)
    assert not worse_than_constant(np.full(300, 1.049))


def test_a_loss_that_is_not_finite_is_told_from_days_without_labels():
    losses, constants = np.full(200, 1.0), np.full(200, 1.0)
    losses[7] = np.nan
    assert reasons(losses) == ("non_finite",)
    constants[7] = 0.0
    assert reasons(losses, constants) == ()
    assert "non_finite" in reasons([], scores=None, gave_up=True)


def test_predictions_that_no_longer_spread_have_collapsed():
    spread = LABELS.std()
    assert collapsed(SCORES * (0.9e-3 * spread / SCORES.std()), LABELS, PRESENT)
    assert not collapsed(SCORES * (1.1e-3 * spread / SCORES.std()), LABELS, PRESENT)


@pytest.mark.parametrize(("constant_days", "expected"), [(3, False), (4, True)])
def test_more_than_a_twentieth_of_constant_days_is_a_collapse(constant_days, expected):
    scores = SCORES.copy()
    scores[:constant_days, :, 1] = 0.5
    assert collapsed(scores, LABELS, PRESENT) is expected
