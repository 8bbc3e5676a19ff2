import math

import pytest
import torch
from scipy.stats import pearsonr

from atft_gat_fan.losses.correlation import SPREAD_FLOOR, correlation_loss, rankable


def example(days: int = 4, stocks: int = 30, horizons: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    point = torch.randn(days, stocks, horizons, generator=generator, dtype=torch.float64)
    labels = 0.02 * (0.5 * point + torch.randn(days, stocks, horizons, generator=generator, dtype=torch.float64))
    labels[torch.rand(days, stocks, horizons, generator=generator) < 0.2] = math.nan
    return point, labels


def test_it_is_one_minus_the_pearson_correlation_of_each_day() -> None:
    point, labels = example()
    loss = correlation_loss(point, labels)
    for day in range(4):
        for h in range(2):
            known = ~labels[day, :, h].isnan()
            expected = pearsonr(point[day, known, h], labels[day, known, h]).statistic
            # The floor is f = 1e-3 of the labels' spread, and these scores spread fifty times as wide.
            assert loss[day, h].item() == pytest.approx(1 - expected, abs=1e-9)


def test_whole_weights_are_copies_of_a_stock() -> None:
    point, labels = example()
    weights = torch.ones(4, 30, dtype=torch.float64)
    weights[:, :10] = 3.0
    copied = [torch.cat([tensor, tensor[:, :10], tensor[:, :10]], dim=1) for tensor in (point, labels)]
    torch.testing.assert_close(correlation_loss(point, labels, weights), correlation_loss(*copied))
    torch.testing.assert_close(correlation_loss(point, labels, 7 * weights), correlation_loss(point, labels, weights))


def test_unit_and_mean_of_scores_and_labels_are_free() -> None:
    point, labels = example()
    plain = correlation_loss(point, labels)
    torch.testing.assert_close(correlation_loss(3 + 5 * point, labels), plain, rtol=0, atol=1e-9)
    torch.testing.assert_close(correlation_loss(point, 7 * labels - 1), plain, rtol=0, atol=2e-5)  # the floor moves


def test_gradients_are_those_of_finite_differences() -> None:
    point, labels = example(days=2, stocks=6)
    labels[0, :2, 0] = math.nan
    weights = 1 + torch.rand(2, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    for scale in (1.0, 1e-5):  # far above the floor, and at it
        given = (scale * point).requires_grad_()
        assert torch.autograd.gradcheck(lambda p: correlation_loss(p, labels, weights), given, eps=1e-9, atol=1e-4)


def test_constant_scores_cost_one_and_are_pulled_apart_towards_the_labels() -> None:
    _, labels = example()
    point = torch.full_like(labels, 0.3, dtype=torch.float32).requires_grad_()
    loss = correlation_loss(point, labels.float())
    torch.testing.assert_close(loss, torch.ones(4, 2))
    (gradient,) = torch.autograd.grad(loss.sum(), point)
    assert gradient.isfinite().all()
    for day in range(4):
        known = ~labels[day, :, 0].isnan()
        assert pearsonr(-gradient[day, known, 0], labels[day, known, 0]).statistic > 0.999
    # At most 1 / floor over the labels' spread, shared by the stocks: what a step of it moves is bounded.
    assert gradient.abs().max() < 4 / (SPREAD_FLOOR * 0.02 * 20)


def test_nearly_constant_scores_have_the_gradient_of_their_direction() -> None:
    """A new network's scores spread 8e-3 under labels of unit variance: free of the floor to a few percent."""
    point, labels = example()
    labels = labels / 0.02
    small = (0.008 * point).requires_grad_()
    (gradient,) = torch.autograd.grad(correlation_loss(small, labels).sum(), small)
    (expected,) = torch.autograd.grad(correlation_loss(p := point.clone().requires_grad_(), labels).sum(), p)
    assert (0.008 * gradient - expected).norm() < 0.03 * expected.norm()


def test_days_that_cannot_be_ranked_cost_nothing_and_teach_nothing() -> None:
    point, labels = example()
    labels[0, 1:, 0] = math.nan
    labels[1, :, 0] = 0.01
    labels[2, :, 0] = math.nan
    assert rankable(labels)[:, 0].tolist() == [False, False, False, True]
    assert rankable(labels)[:, 1].all()
    point.requires_grad_()
    loss = correlation_loss(point, labels)
    assert (loss[:3, 0] == 0).all()
    (gradient,) = torch.autograd.grad(loss.sum(), point)
    assert (gradient[:3, :, 0] == 0).all()
    assert gradient.isfinite().all()


def test_unknown_labels_have_exactly_no_gradient_whatever_the_score() -> None:
    point, labels = example()
    unknown = labels.isnan()
    point[unknown] = math.nan
    point.requires_grad_()
    loss = correlation_loss(point, labels)
    (gradient,) = torch.autograd.grad(loss.sum(), point)
    assert loss.isfinite().all()
    assert (gradient[unknown] == 0).all()
    assert (gradient[~unknown] != 0).all()


@pytest.mark.parametrize("value", [math.inf, math.nan])
def test_a_non_finite_forecast_is_not_hidden(value: float) -> None:
    point, labels = example()
    known = (~labels.isnan()).nonzero()[0]
    point[tuple(known)] = value
    assert not correlation_loss(point, labels)[known[0], known[2]].isfinite()
