import math

import pytest
import torch

from atft_gat_fan.losses.multi_horizon import label_counts, multi_horizon_loss, quantile_loss

WEIGHTS = torch.tensor([1.0, 0.8, 0.3], dtype=torch.float64)
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
        (quantiles, lambda f: quantile_loss(f, labels, LEVELS, WEIGHTS, label_counts(labels))[0]),
    ):
        forecast.requires_grad_()
        (gradient,) = torch.autograd.grad(loss(forecast), forecast)
        assert (gradient[labels.isnan()] == 0).all()
        assert (gradient[~labels.isnan()] != 0).all()


def test_no_label_at_all_is_a_loss_of_zero() -> None:
    point = torch.randn(2, 4, 3, requires_grad=True)
    labels = torch.full((2, 4, 3), math.nan)
    total, _ = multi_horizon_loss(point, labels, WEIGHTS.float(), label_counts(labels))
    total.backward()
    assert total.item() == 0
    assert (point.grad == 0).all()


@pytest.mark.parametrize("split", [[1, 5], [2, 2, 2], [1] * 6])
def test_micro_batches_add_up_to_the_whole(split: list[int]) -> None:
    point, labels = example()
    point.requires_grad_()
    counts = label_counts(labels)
    whole, _ = multi_horizon_loss(point, labels, WEIGHTS, counts)
    (whole_gradient,) = torch.autograd.grad(whole, point)
    parts = [
        multi_horizon_loss(p, y, WEIGHTS, counts)[0]
        for p, y in zip(point.split(split), labels.split(split), strict=True)
    ]
    torch.testing.assert_close(sum(parts), whole, rtol=1e-13, atol=0)
    torch.testing.assert_close(torch.autograd.grad(sum(parts), point)[0], whole_gradient, rtol=1e-13, atol=0)
    assert sum(label_counts(y) for y in labels.split(split)).tolist() == counts.tolist()


def test_a_non_finite_forecast_is_not_hidden() -> None:
    point, labels = example()
    point[~labels.isnan()] = math.inf
    assert not multi_horizon_loss(point, labels, WEIGHTS, label_counts(labels))[0].isfinite()
