import jaxtyping
import pytest
import torch
from torch.nn import functional

from atft_gat_fan.layers.gated_residual_network import GatedLinearUnit, GatedResidualNetwork, GroupedGRN


def rand(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_shapes_are_checked_in_the_tests() -> None:
    with pytest.raises(jaxtyping.TypeCheckError):
        GroupedGRN(3, 4)(torch.zeros(5, 4), torch.zeros(5, 4))


def test_gated_linear_unit_follows_equation_5() -> None:
    unit = GatedLinearUnit(6, 4).double()
    value, gate = unit.linear.weight.chunk(2)
    value_bias, gate_bias = unit.linear.bias.chunk(2)
    x = rand(7, 6)
    expected = torch.sigmoid(x @ gate.T + gate_bias) * (x @ value.T + value_bias)
    torch.testing.assert_close(unit(x), expected, rtol=0, atol=1e-14)


@pytest.mark.parametrize("output_size", [6, 4])
@pytest.mark.parametrize("context_size", [0, 3])
def test_gated_residual_network_follows_equations_2_to_4(output_size: int, context_size: int) -> None:
    network = GatedResidualNetwork(6, 5, output_size, context_size).double()
    x, context = rand(2, 7, 6), rand(7, max(context_size, 1), seed=1)
    inner = x @ network.input.weight.T + network.input.bias
    if context_size:
        inner = inner + context @ network.context.weight.T
    inner = functional.elu(inner) @ network.hidden.weight.T + network.hidden.bias
    skip = x if output_size == 6 else network.skip(x)
    expected = network.output.norm(skip + network.output.gate(2 * inner))
    actual = network(x, context if context_size else None, dropout=lambda hidden: 2 * hidden)
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-13)


def test_layers_of_equal_width_have_no_skip_parameters() -> None:
    names = {name.split(".")[0] for name, _ in GatedResidualNetwork(6, 5, 6).named_parameters()}
    assert names == {"input", "hidden", "output"}


def test_grouped_network_keeps_variables_apart() -> None:
    grouped = GroupedGRN(4, 8).double()
    x, projected = rand(4, 9, 8).requires_grad_(), rand(4, 9, 8).requires_grad_()
    for gradient in torch.autograd.grad(grouped(x, projected)[2, 5].square().sum(), [x, projected]):
        touched = gradient.abs().sum(-1) > 0
        assert touched.nonzero().tolist() == [[2, 5]]
