import pytest
import torch
from torch import Tensor
from torch.nn import functional

from atft_gat_fan.layers.variable_selection import VariableSelection

SPAN, STOCKS, FEATURES, SIZE, HIDDEN, CONTEXT = 5, 6, 7, 4, 12, 3


def selection(context_size: int, seed: int = 0, num_terms: int = 1) -> VariableSelection:
    torch.manual_seed(seed)
    layer = VariableSelection(FEATURES, SIZE, HIDDEN, context_size, num_terms).double()
    with torch.no_grad():  # norms and biases start at 0 or 1, where a mix-up of two would not show
        for parameter in layer.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return layer


def plain_loop(layer: VariableSelection, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
    """Equations 6-8 as they are written: one variable after the other."""
    embedded, processed = [], []
    for j in range(FEATURES):
        terms = x[..., j, :] if layer.num_terms > 1 else x[..., j : j + 1]
        e = terms @ layer.embedding_weight[j].view(layer.num_terms, SIZE) + layer.embedding_bias[j]
        g = layer.variables
        eta = functional.elu(e @ g.input_weight[j] + g.input_bias[j])
        eta = eta @ g.hidden_weight[j] + g.hidden_bias[j]
        eta = functional.glu(eta @ g.gate_weight[j] + g.gate_bias[j], dim=-1)
        embedded.append(e)
        processed.append(functional.layer_norm(e + eta, (SIZE,), g.norm_weight[j], g.norm_bias[j]))
    weights = layer.selection(torch.cat(embedded, dim=-1), context).softmax(-1)
    mixed = sum(weights[..., j : j + 1] * processed[j] for j in range(FEATURES))
    return layer.output(mixed), weights


@pytest.mark.parametrize("num_terms", [1, 3])
@pytest.mark.parametrize("context_shape", [None, (SPAN, STOCKS), (1, STOCKS), (SPAN, 1)])
def test_grouped_form_equals_a_loop_over_variables(context_shape: tuple[int, int] | None, num_terms: int) -> None:
    layer = selection(CONTEXT if context_shape else 0, num_terms=num_terms)
    terms = (num_terms,) if num_terms > 1 else ()
    x = torch.randn(SPAN, STOCKS, FEATURES, *terms, dtype=torch.float64)
    context = torch.randn(*context_shape, CONTEXT, dtype=torch.float64) if context_shape else None
    probe = torch.randn(SPAN, STOCKS, HIDDEN, dtype=torch.float64)

    results = []
    for form in (layer, lambda *inputs: plain_loop(layer, *inputs)):
        inputs = x.clone().requires_grad_()
        hidden, weights = form(inputs, context)
        loss = (hidden * probe).sum() + weights.square().sum()
        results.append((hidden, weights, *torch.autograd.grad(loss, [inputs, *layer.parameters()])))
    for actual, expected in zip(*results, strict=True):
        torch.testing.assert_close(actual, expected, rtol=1e-10, atol=1e-11)


def test_weights_are_a_distribution_that_the_context_moves() -> None:
    layer = selection(CONTEXT)
    x = torch.randn(SPAN, STOCKS, FEATURES, dtype=torch.float64)
    _, here = layer(x, torch.zeros(1, STOCKS, CONTEXT, dtype=torch.float64))
    _, there = layer(x, torch.ones(1, STOCKS, CONTEXT, dtype=torch.float64))
    torch.testing.assert_close(here.sum(-1), torch.ones(SPAN, STOCKS, dtype=torch.float64))
    assert (here >= 0).all()
    assert (here - there).abs().max() > 1e-3


def test_rows_are_independent() -> None:
    layer = selection(0)
    x = torch.randn(SPAN, STOCKS, FEATURES, dtype=torch.float64)
    hidden, _ = layer(x)
    changed = x.clone()
    changed[2, 3] += 1
    differs = (layer(changed)[0] != hidden).any(-1)
    assert differs.nonzero().tolist() == [[2, 3]]
