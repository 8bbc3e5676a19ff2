import math

import pytest
import torch
from torch.nn import functional

from atft_gat_fan.losses.multi_horizon import label_counts, multi_horizon_loss, quantile_loss

WEIGHTS = torch.tensor([1.0, 0.8, 0.3], dtype=torch.float64)
DELTAS = torch.tensor([0.1, 0.5, 1.0], dtype=torch.float64)
LEVELS = (0.1, 0.5, 0.9)


def example(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Forecasts and labels of 6 days, with holes, and no label at all on some days of the longer horizons."""
    generator = torch.Generator().manual_seed(seed)
    point = torch.randn(6, 9, 3, generator=generator, dtype=torch.float64)
    labels = 0.02 * torch.randn(6, 9, 3, generator=generator, dtype=torch.float64)
    labels[torch.rand(6, 9, 3, generator=generator) < 0.3] = math.nan
    labels[4:, :, 1] = math.nan
    labels[1:, :, 2] = math.nan
    return point, labels


def plain_loop(errors: torch.Tensor, labels: torch.Tensor) -> float:
    total = 0.0
    for h, weight in enumerate(WEIGHTS.tolist()):
        days = [[errors[d, n, h].item() for n in range(9) if not math.isnan(labels[d, n, h].item())] for d in range(6)]
        means = [sum(day) / len(day) for day in days if day]
        total += weight * sum(means) / len(means)
    return total


def test_squared_error_equals_a_plain_loop() -> None:
    point, labels = example()
    total, per_horizon = multi_horizon_loss(point, labels, WEIGHTS, label_counts(labels))
    assert total.item() == pytest.approx(plain_loop((point - labels) ** 2, labels), rel=1e-13)
    assert total.item() == pytest.approx((per_horizon @ WEIGHTS).item(), rel=1e-14)


def test_huber_equals_torch_with_a_delta_of_its_own_for_each_horizon() -> None:
    point, labels = example()
    point.requires_grad_()
    known = labels.masked_fill(labels.isnan(), 0.0)
    by_horizon = [
        functional.huber_loss(point[..., h], known[..., h], reduction="none", delta=delta)
        for h, delta in enumerate(DELTAS.tolist())
    ]
    huber = torch.stack(by_horizon, dim=-1)
    error = (point - labels).abs()
    assert all((error[..., h] < delta).any() and (error[..., h] > delta).any() for h, delta in enumerate(DELTAS))

    total, per_horizon = multi_horizon_loss(point, labels, WEIGHTS, label_counts(labels), DELTAS)
    assert total.item() == pytest.approx(plain_loop(huber, labels), rel=1e-13)
    assert total.item() == pytest.approx((per_horizon @ WEIGHTS).item(), rel=1e-14)
    (gradient,) = torch.autograd.grad(total, point, retain_graph=True)
    valid = ~labels.isnan()
    share = WEIGHTS / label_counts(labels) * valid / valid.sum(1, keepdim=True).clamp(min=1)
    (expected,) = torch.autograd.grad((huber * share).sum(), point)
    torch.testing.assert_close(gradient, expected, rtol=1e-13, atol=0)


def test_huber_is_smooth_where_it_turns() -> None:
    labels = torch.zeros(1, 3, 1, dtype=torch.float64)
    point = torch.tensor([0.5, -0.5, 0.0], dtype=torch.float64).view(1, 3, 1).requires_grad_()
    weight, delta = torch.ones(1, dtype=torch.float64), torch.tensor([0.5], dtype=torch.float64)
    total, _ = multi_horizon_loss(point, labels, weight, label_counts(labels), delta)
    (gradient,) = torch.autograd.grad(total, point)
    assert (3 * gradient.flatten()).tolist() == pytest.approx([0.5, -0.5, 0.0])


def test_huber_at_1_on_raw_returns_is_exactly_half_the_squared_error() -> None:
    _, labels = example()
    point = 0.01 * torch.randn(labels.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    squared, _ = multi_horizon_loss(point, labels, WEIGHTS, label_counts(labels))
    huber, _ = multi_horizon_loss(point, labels, WEIGHTS, label_counts(labels), torch.ones_like(WEIGHTS))
    assert huber == squared / 2


def test_pinball_equals_a_plain_loop() -> None:
    point, labels = example()
    quantiles = torch.stack([point - 1, point, point + 0.5], dim=-1)
    error = labels.unsqueeze(-1) - quantiles
    level = torch.tensor(LEVELS, dtype=torch.float64)
    pinball = torch.where(error >= 0, level * error, (level - 1) * error).mean(-1)
    total, _ = quantile_loss(quantiles, labels, LEVELS, WEIGHTS, label_counts(labels))
    assert total.item() == pytest.approx(plain_loop(pinball, labels), rel=1e-13)


def test_counts_are_days_with_a_label() -> None:
    _, labels = example()
    assert label_counts(labels).tolist() == [6, 4, 1]


def test_unknown_labels_have_exactly_no_gradient() -> None:
    point, labels = example()
    quantiles = point.unsqueeze(-1).repeat(1, 1, 1, 3)
    for forecast, loss in (
        (point, lambda f: multi_horizon_loss(f, labels, WEIGHTS, label_counts(labels))[0]),
        (point, lambda f: multi_horizon_loss(f, labels, WEIGHTS, label_counts(labels), DELTAS)[0]),
        (quantiles, lambda f: quantile_loss(f, labels, LEVELS, WEIGHTS, label_counts(labels))[0]),
    ):
        forecast.requires_grad_()
        (gradient,) = torch.autograd.grad(loss(forecast), forecast)
        assert (gradient[labels.isnan()] == 0).all()
        assert (gradient[~labels.isnan()] != 0).all()


@pytest.mark.parametrize("deltas", [None, DELTAS.float()])
def test_no_label_at_all_is_a_loss_of_zero(deltas: torch.Tensor | None) -> None:
    point = torch.randn(2, 4, 3, requires_grad=True)
    labels = torch.full((2, 4, 3), math.nan)
    total, _ = multi_horizon_loss(point, labels, WEIGHTS.float(), label_counts(labels), deltas)
    total.backward()
    assert total.item() == 0
    assert (point.grad == 0).all()


@pytest.mark.parametrize("deltas", [None, DELTAS])
@pytest.mark.parametrize("split", [[1, 5], [2, 2, 2], [1] * 6])
def test_micro_batches_add_up_to_the_whole(split: list[int], deltas: torch.Tensor | None) -> None:
    point, labels = example()
    point.requires_grad_()
    counts = label_counts(labels)
    whole, _ = multi_horizon_loss(point, labels, WEIGHTS, counts, deltas)
    (whole_gradient,) = torch.autograd.grad(whole, point)
    parts = [
        multi_horizon_loss(p, y, WEIGHTS, counts, deltas)[0]
        for p, y in zip(point.split(split), labels.split(split), strict=True)
    ]
    torch.testing.assert_close(sum(parts), whole, rtol=1e-13, atol=0)
    torch.testing.assert_close(torch.autograd.grad(sum(parts), point)[0], whole_gradient, rtol=1e-13, atol=0)
    assert sum(label_counts(y) for y in labels.split(split)).tolist() == counts.tolist()


@pytest.mark.parametrize("deltas", [None, DELTAS])
@pytest.mark.parametrize("value", [math.inf, math.nan])
def test_a_non_finite_forecast_is_not_hidden(value: float, deltas: torch.Tensor | None) -> None:
    point, labels = example()
    point[~labels.isnan()] = value
    assert not multi_horizon_loss(point, labels, WEIGHTS, label_counts(labels), deltas)[0].isfinite()
