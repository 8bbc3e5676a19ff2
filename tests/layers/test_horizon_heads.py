import pytest
import torch

from atft_gat_fan.layers.horizon_heads import HorizonHeads
from atft_gat_fan.layers.layer_scale import LayerScale

LEVELS = (0.05, 0.25, 0.5, 0.9)


def plain_heads(hidden_size: int, num_horizons: int, quantiles: tuple[float, ...] = ()) -> HorizonHeads:
    return HorizonHeads(hidden_size, num_horizons, quantiles, init_std=1e-3)


def small_heads(hidden_size: int = 6, scale: float = 0.1, quantiles: tuple[float, ...] = ()) -> HorizonHeads:
    return HorizonHeads(hidden_size, 3, quantiles, init_std=0.01, scale=LayerScale(3, scale))


def test_point_is_linear_and_has_one_weight_row_per_horizon() -> None:
    heads = plain_heads(6, 3)
    x = torch.randn(2, 5, 6)
    point, quantiles = heads(x)
    assert quantiles is None
    assert set(heads.state_dict()) == {"point.weight", "point.bias"}
    torch.testing.assert_close(point, torch.einsum("dne,he->dnh", x, heads.point.weight) + heads.point.bias)


def test_quantiles_never_cross_and_their_median_is_the_point() -> None:
    heads = plain_heads(6, 3, LEVELS)
    with torch.no_grad():
        heads.spread.weight.mul_(50)
    point, quantiles = heads(torch.randn(2, 50, 6))
    assert quantiles.shape == (2, 50, 3, 4)
    assert (quantiles.diff(dim=-1) >= 0).all()
    assert torch.equal(quantiles[..., 2], point)


def test_each_gap_belongs_to_one_level() -> None:
    heads = plain_heads(6, 1, LEVELS)
    with torch.no_grad():
        heads.spread.weight.zero_()
        heads.spread.bias.copy_(torch.tensor([1.0, 2.0, 3.0]))
    point, quantiles = heads(torch.zeros(1, 1, 6))
    gap = torch.nn.functional.softplus(torch.tensor([1.0, 2.0, 3.0]))
    expected = torch.stack([-gap[0] - gap[1], -gap[1], torch.tensor(0.0), gap[2]]) + point.squeeze()
    torch.testing.assert_close(quantiles.flatten(), expected)


def test_the_median_alone_needs_no_more_parameters() -> None:
    heads = plain_heads(6, 3, (0.5,))
    point, quantiles = heads(torch.randn(2, 5, 6))
    assert torch.equal(quantiles.squeeze(-1), point)
    assert set(heads.state_dict()) == {"point.weight", "point.bias"}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_scores_keep_their_precision_under_autocast(dtype: torch.dtype) -> None:
    heads, x = plain_heads(6, 3), torch.randn(2, 5, 6).to(dtype)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        point, _ = heads(x)
    assert torch.equal(point, heads(x.float())[0])


def test_scale_multiplies_the_point_of_its_horizon() -> None:
    heads, x = small_heads(), torch.randn(2, 5, 6)
    with torch.no_grad():
        heads.scale.gamma.copy_(torch.tensor([0.1, 1.0, -2.0]))
    point, _ = heads(x)
    torch.testing.assert_close(point, heads.point(x) * torch.tensor([0.1, 1.0, -2.0]))
    assert set(heads.state_dict()) == {"point.weight", "point.bias", "scale.gamma"}


def test_scale_moves_the_quantiles_and_leaves_their_gaps() -> None:
    heads, x = small_heads(quantiles=LEVELS), torch.randn(2, 5, 6)
    point, quantiles = heads(x)
    with torch.no_grad():
        heads.scale.gamma.mul_(7)
    scaled_point, scaled = heads(x)
    torch.testing.assert_close(scaled_point, 7 * point)
    assert torch.equal(scaled[..., 2], scaled_point)
    torch.testing.assert_close(scaled.diff(dim=-1), quantiles.diff(dim=-1))


@pytest.mark.parametrize("gamma", [0.1, 1.0])
@pytest.mark.parametrize("hidden_size", [16, 64])
def test_first_scores_of_the_small_head_have_the_promised_size(hidden_size: int, gamma: float) -> None:
    """Over networks: the weights of one horizon are few, and so is their standard deviation uncertain."""
    torch.manual_seed(0)
    x = torch.nn.functional.layer_norm(torch.randn(1, 200, hidden_size), (hidden_size,))
    with torch.no_grad():
        points = torch.cat([small_heads(hidden_size, gamma)(x)[0] for _ in range(300)])
    expected = gamma * 0.01 * hidden_size**0.5
    for horizon in points.unbind(-1):
        assert horizon.std().item() == pytest.approx(expected, rel=0.1)
    assert points.mean().abs() < 0.1 * expected


def test_first_weights_are_normal_of_the_given_size_and_biases_zero() -> None:
    torch.manual_seed(0)
    plain, small = plain_heads(20_000, 3), small_heads(20_000)
    torch.manual_seed(0)
    torch.nn.Linear(20_000, 3)  # draws the weights that are then replaced
    assert torch.equal(plain.point.weight, torch.nn.init.normal_(torch.empty(3, 20_000), std=1e-3))
    assert small.point.weight.std(1).tolist() == pytest.approx([0.01] * 3, rel=0.03)
    assert not plain.point.bias.any()
    assert not small.point.bias.any()
