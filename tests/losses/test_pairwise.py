import math

import pytest
import torch
from scipy.stats import spearmanr
from torch.nn import functional

from atft_gat_fan.losses.pairwise import NUM_DISTANCES, pairwise_loss


def example(days: int = 3, stocks: int = 40, horizons: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    point = torch.randn(days, stocks, horizons, generator=generator, dtype=torch.float64)
    labels = 0.02 * (point + torch.randn(days, stocks, horizons, generator=generator, dtype=torch.float64))
    labels[torch.rand(days, stocks, horizons, generator=generator) < 0.2] = math.nan
    return point, labels


def plain_loop(point: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor | None = None) -> float:
    """One day and horizon: the pairs at sixteen distances in the order of the known labels."""
    known = [i for i in range(len(labels)) if not math.isnan(labels[i])]
    order = sorted(known, key=lambda i: labels[i].item())
    total = whole = 0.0
    for k in range(NUM_DISTANCES):
        distance = max(1, math.floor(len(order) * (k + 0.5) / NUM_DISTANCES))
        for low, high in zip(order, order[distance:], strict=False):
            if labels[high] > labels[low]:
                weight = 1.0 if weights is None else (weights[low] * weights[high]).item()
                total += weight * functional.softplus(point[low] - point[high]).item()
                whole += weight
    return total / whole


@pytest.mark.parametrize("stocks", [2, 3, 17, 40])
@pytest.mark.parametrize("weighted", [False, True])
def test_it_equals_a_plain_loop_over_pairs(stocks: int, weighted: bool) -> None:
    point, labels = example(stocks=stocks)
    labels[:, :2] = torch.tensor([0.01, -0.01], dtype=torch.float64).view(1, 2, 1)
    labels[:, 5:9] = 0.0  # ties
    weights = torch.rand(3, stocks, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) + 0.5
    loss = pairwise_loss(point, labels, weights if weighted else None)
    for day in range(3):
        for h in range(2):
            own = weights[day] if weighted else None
            expected = plain_loop(point[day, :, h], labels[day, :, h], own)
            assert loss[day, h].item() == pytest.approx(expected, rel=1e-12)


def test_it_stands_for_all_pairs() -> None:
    point, labels = example(days=1, stocks=400, horizons=1)
    known = ~labels[0, :, 0].isnan()
    p, y = point[0, known, 0], labels[0, known, 0]
    better = (y[:, None] > y[None, :]).double()
    everything = (functional.softplus(p[None, :] - p[:, None]) * better).sum() / better.sum()
    assert pairwise_loss(point, labels).item() == pytest.approx(everything.item(), rel=0.02)


def test_at_constant_scores_each_stock_is_pulled_by_its_rank() -> None:
    _, labels = example()
    point = torch.zeros_like(labels, dtype=torch.float32).requires_grad_()
    loss = pairwise_loss(point, labels.float())
    torch.testing.assert_close(loss, torch.full((3, 2), math.log(2)))
    (gradient,) = torch.autograd.grad(loss.sum(), point)
    for day in range(3):
        known = ~labels[day, :, 1].isnan()
        assert spearmanr(-gradient[day, known, 1], labels[day, known, 1]).statistic > 0.99


def test_only_the_order_of_the_labels_counts() -> None:
    point, labels = example()
    assert torch.equal(pairwise_loss(point, labels), pairwise_loss(point, (50 * labels).exp()))


def test_a_better_order_costs_less_and_the_scale_is_settled() -> None:
    _, labels = example()
    right = labels.nan_to_num(0.0) / 0.02
    assert (pairwise_loss(right, labels) < math.log(2)).all()
    assert (pairwise_loss(-right, labels) > math.log(2)).all()
    noisy, known = example()
    losses = [pairwise_loss(scale * noisy, known).sum().item() for scale in (0.01, 1.0, 100.0)]
    assert losses[1] < min(losses[0], losses[2])


def test_gradients_are_those_of_finite_differences() -> None:
    point, labels = example(days=2, stocks=7)
    weights = 1 + torch.rand(2, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    assert torch.autograd.gradcheck(lambda p: pairwise_loss(p, labels, weights), point.requires_grad_())


def test_days_without_two_different_labels_cost_nothing_and_teach_nothing() -> None:
    point, labels = example()
    labels[0, :, 0] = math.nan
    labels[1, 1:, 0] = math.nan
    labels[2, :, 0] = 0.01
    point.requires_grad_()
    loss = pairwise_loss(point, labels)
    assert (loss[:, 0] == 0).all()
    (gradient,) = torch.autograd.grad(loss.sum(), point)
    assert (gradient[..., 0] == 0).all()


def test_unknown_labels_have_exactly_no_gradient_whatever_the_score() -> None:
    point, labels = example()
    unknown = labels.isnan()
    point[unknown] = math.inf
    point.requires_grad_()
    loss = pairwise_loss(point, labels)
    (gradient,) = torch.autograd.grad(loss.sum(), point)
    assert loss.isfinite().all()
    assert (gradient[unknown] == 0).all()
    assert (gradient[~unknown] != 0).all()


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_a_non_finite_forecast_is_not_hidden(value: float) -> None:
    point, labels = example()
    best = labels[0, :, 0].nan_to_num(-1).argmax()  # where plus infinity is on the right side of every pair
    point[0, best, 0] = value
    assert not pairwise_loss(point, labels)[0, 0].isfinite()
