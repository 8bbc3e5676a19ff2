import pytest
import torch

from atft_gat_fan.layers.horizon_heads import HorizonHeads

LEVELS = (0.05, 0.25, 0.5, 0.9)


def test_point_is_linear_and_has_one_weight_row_per_horizon() -> None:
    heads = HorizonHeads(6, 3)
    x = torch.randn(2, 5, 6)
    point, quantiles = heads(x)
    assert quantiles is None
    assert set(heads.state_dict()) == {"point.weight", "point.bias"}
    torch.testing.assert_close(point, torch.einsum("dne,he->dnh", x, heads.point.weight) + heads.point.bias)


def test_quantiles_never_cross_and_their_median_is_the_point() -> None:
    heads = HorizonHeads(6, 3, LEVELS)
    with torch.no_grad():
        heads.spread.weight.mul_(50)
    point, quantiles = heads(torch.randn(2, 50, 6))
    assert quantiles.shape == (2, 50, 3, 4)
    assert (quantiles.diff(dim=-1) >= 0).all()
    assert torch.equal(quantiles[..., 2], point)


def test_each_gap_belongs_to_one_level() -> None:
    heads = HorizonHeads(6, 1, LEVELS)
    with torch.no_grad():
        heads.spread.weight.zero_()
        heads.spread.bias.copy_(torch.tensor([1.0, 2.0, 3.0]))
    point, quantiles = heads(torch.zeros(1, 1, 6))
    gap = torch.nn.functional.softplus(torch.tensor([1.0, 2.0, 3.0]))
    expected = torch.stack([-gap[0] - gap[1], -gap[1], torch.tensor(0.0), gap[2]]) + point.squeeze()
    torch.testing.assert_close(quantiles.flatten(), expected)


def test_the_median_alone_needs_no_more_parameters() -> None:
    heads = HorizonHeads(6, 3, (0.5,))
    point, quantiles = heads(torch.randn(2, 5, 6))
    assert torch.equal(quantiles.squeeze(-1), point)
    assert set(heads.state_dict()) == {"point.weight", "point.bias"}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_scores_keep_their_precision_under_autocast(dtype: torch.dtype) -> None:
    heads, x = HorizonHeads(6, 3), torch.randn(2, 5, 6).to(dtype)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        point, _ = heads(x)
    assert torch.equal(point, heads(x.float())[0])
