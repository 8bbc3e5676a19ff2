import pytest
import torch

from atft_gat_fan.layers.layer_scale import LayerScale


def test_each_channel_is_multiplied_by_its_own_learned_scale() -> None:
    scale = LayerScale(3, 0.1)
    x = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0))
    assert torch.equal(scale(x), x * 0.1)
    with torch.no_grad():
        scale.gamma.copy_(torch.tensor([1.0, 2.0, -3.0]))
    assert torch.equal(scale(x), x * torch.tensor([1.0, 2.0, -3.0]))
    (gradient,) = torch.autograd.grad(scale(x).sum(), scale.gamma)
    torch.testing.assert_close(gradient, x.sum((0, 1)))


def test_it_is_a_scale_that_weight_decay_leaves_alone() -> None:
    assert LayerScale.no_decay == set(LayerScale(3, 0.1).state_dict())


@pytest.mark.parametrize("initial", [0.0, -1.0, float("nan")])
def test_a_scale_that_cannot_learn_is_refused(initial: float) -> None:
    with pytest.raises(AssertionError, match="positive initial scale"):
        LayerScale(3, initial)
