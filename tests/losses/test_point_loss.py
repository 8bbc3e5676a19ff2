"""Every loss under the one contract: pieces of a step add up, weights scale, what cannot be learned counts nowhere."""

import math

import pytest
import torch

from atft_gat_fan.losses.multi_horizon import error_loss, label_counts, multi_horizon_loss
from atft_gat_fan.losses.point_loss import PointLoss, liquidity_weights

WEIGHTS = torch.tensor([1.0, 0.8, 0.3], dtype=torch.float64)
LOSSES = {
    "mse": PointLoss(),
    "huber": PointLoss(torch.tensor([0.1, 0.5, 1.0], dtype=torch.float64)),
    "ic": PointLoss(ranking="ic"),
    "ic with squared error": PointLoss(ranking="ic", mse_weight=0.1),
    "rank": PointLoss(ranking="rank"),
    "rank with squared error": PointLoss(ranking="rank", mse_weight=0.1),
}
RANKING = [name for name in LOSSES if name.startswith(("ic", "rank"))]


def example() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Scores, labels with holes and days that cannot be ranked, weights."""
    generator = torch.Generator().manual_seed(0)
    point = torch.randn(6, 9, 3, generator=generator, dtype=torch.float64)
    labels = torch.randn(6, 9, 3, generator=generator, dtype=torch.float64)
    labels[torch.rand(6, 9, 3, generator=generator) < 0.3] = math.nan
    labels[4:, :, 1] = math.nan
    labels[1, 1:, 0] = math.nan
    labels[1, 0, 0] = 0.5
    labels[2, :, 2] = 0.25
    weights = liquidity_weights(torch.rand(6, 9, generator=generator) < 0.5, 3.0).double()
    return point, labels, weights


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("split", [[1, 5], [2, 2, 2], [1] * 6])
def test_pieces_of_a_step_add_up_to_the_whole(name: str, weighted: bool, split: list[int]) -> None:
    loss, (point, labels, weights) = LOSSES[name], example()
    point.requires_grad_()
    labels = loss.learnable(labels)
    counts = label_counts(labels)
    whole, by_horizon = loss(point, labels, WEIGHTS, counts, weights if weighted else None)
    assert whole.item() == pytest.approx((by_horizon @ WEIGHTS).item(), rel=1e-14)
    parts = [
        loss(p, loss.learnable(y), WEIGHTS, counts, w if weighted else None)[0]
        for p, y, w in zip(point.split(split), labels.split(split), weights.split(split), strict=True)
    ]
    torch.testing.assert_close(sum(parts), whole, rtol=1e-13, atol=0)
    gradients = [torch.autograd.grad(total, point)[0] for total in (sum(parts), whole)]
    torch.testing.assert_close(*gradients, rtol=1e-12, atol=1e-15)
    assert (gradients[1][labels.isnan()] == 0).all()


@pytest.mark.parametrize("name", RANKING)
def test_days_that_cannot_be_ranked_are_counted_by_no_loss_that_ranks(name: str) -> None:
    _, labels, _ = example()
    assert label_counts(labels).tolist() == [6, 4, 6]
    assert label_counts(LOSSES[name].learnable(labels)).tolist() == [5, 4, 5]
    assert LOSSES["mse"].learnable(labels) is labels


@pytest.mark.parametrize("name", ["mse", "huber"])
def test_whole_weights_are_copies_of_a_stock(name: str) -> None:
    loss, (point, labels, weights) = LOSSES[name], example()
    weights[:, :] = 1.0
    weights[:, :3] = 3.0
    copies = [torch.cat([tensor, tensor[:, :3], tensor[:, :3]], dim=1) for tensor in (point, labels)]
    counts = label_counts(labels)
    expected = loss(*copies, WEIGHTS, counts)[0]
    assert loss(point, labels, WEIGHTS, counts, weights)[0].item() == pytest.approx(expected.item(), rel=1e-13)
    assert loss(point, labels, WEIGHTS, counts, 5 * weights)[0].item() == pytest.approx(expected.item(), rel=1e-13)


def test_without_a_ranking_loss_it_is_the_multi_horizon_loss_to_the_bit() -> None:
    point, labels, _ = example()
    counts = label_counts(labels)
    for name, deltas in (("mse", None), ("huber", torch.tensor([0.1, 0.5, 1.0], dtype=torch.float64))):
        expected = multi_horizon_loss(point, labels, WEIGHTS, counts, deltas)
        for one, other in zip(LOSSES[name](point, labels, WEIGHTS, counts), expected, strict=True):
            assert torch.equal(one, other)


@pytest.mark.parametrize("ranking", ["ic", "rank"])
def test_the_squared_error_beside_it_is_added_and_settles_the_scale(ranking: str) -> None:
    point, labels, _ = example()
    plain, both = PointLoss(ranking=ranking), PointLoss(ranking=ranking, mse_weight=0.1)
    labels = plain.learnable(labels)
    counts = label_counts(labels)
    extra = both(point, labels, WEIGHTS, counts)[0] - plain(point, labels, WEIGHTS, counts)[0]
    squared = 0.1 * (WEIGHTS * error_loss(point, labels).sum(0) / counts).sum()
    assert extra.item() == pytest.approx(squared.item(), rel=1e-12)
    assert both(3 + point, labels, WEIGHTS, counts)[0] > both(point, labels, WEIGHTS, counts)[0]


def test_liquid_stocks_weigh_more() -> None:
    assert liquidity_weights(torch.tensor([[True, False]]), 3.0).tolist() == [[3.0, 1.0]]
