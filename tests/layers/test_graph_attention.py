import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.checkpoint import checkpoint
from torch_geometric.nn import GATConv

from atft_gat_fan.layers import graph_attention
from atft_gat_fan.layers.graph_attention import GraphAttention
from atft_gat_fan.types import Neighbours

DAYS, STOCKS, HIDDEN, HEADS, SLOTS = 3, 11, 12, 4, 5


def random_neighbours(seed: int = 0) -> Neighbours:
    """Distinct neighbours in slots 1.., a random number of them real, the rest padded with the stock itself."""
    generator = torch.Generator().manual_seed(seed)
    own = torch.arange(STOCKS).expand(DAYS, STOCKS).unsqueeze(-1)
    offset = torch.rand(DAYS, STOCKS, STOCKS - 1, generator=generator).argsort(-1)[..., : SLOTS - 1] + 1
    mask = torch.rand(DAYS, STOCKS, SLOTS, generator=generator) < 0.6
    mask[..., 0] = True
    mask[:, 0, 1:] = False  # a stock without neighbours
    index = torch.where(mask, torch.cat([own, (own + offset) % STOCKS], dim=-1), own)
    edge = torch.rand(DAYS, STOCKS, SLOTS, 2, generator=generator, dtype=torch.float64)
    return Neighbours(index, mask, edge)


def layer(chunk_size: int | None = None, temperature: float = 1.0) -> GraphAttention:
    torch.manual_seed(1)
    attention = GraphAttention(HIDDEN, HEADS, 2, chunk_size, temperature).double()
    torch.nn.init.normal_(attention.bias)
    return attention


def features() -> torch.Tensor:
    return torch.randn(DAYS, STOCKS, HIDDEN, dtype=torch.float64, generator=torch.Generator().manual_seed(2))


def pyg_twin(attention: GraphAttention) -> GATConv:
    """torch_geometric's layer with the same function; its edge weights are a product, here of one channel."""
    twin = GATConv(HIDDEN, HIDDEN // HEADS, heads=HEADS, add_self_loops=False, edge_dim=2).double()
    with torch.no_grad():
        twin.lin.weight.copy_(attention.projection.weight)
        twin.att_src.copy_(attention.attention_source.unsqueeze(0))
        twin.att_dst.copy_(attention.attention_target.unsqueeze(0))
        twin.att_edge.zero_()[..., 0] = 1.0
        twin.lin_edge.weight.zero_().view(HEADS, -1, 2)[:, 0] = attention.attention_edge
        twin.bias.copy_(attention.bias)
    return twin


def test_equals_gatconv_with_explicit_self_loops_forward_and_backward() -> None:
    attention, neighbours = layer(), random_neighbours()
    twin = pyg_twin(attention)
    probe = torch.randn(DAYS, STOCKS, HIDDEN, dtype=torch.float64)
    x, twin_x = features().requires_grad_(), features().requires_grad_()

    actual = attention(x, neighbours)
    (actual * probe).sum().backward()
    by_day = []
    for day in range(DAYS):
        target, slot = neighbours.mask[day].nonzero(as_tuple=True)
        edges = torch.stack([neighbours.index[day, target, slot], target])
        by_day.append(twin(twin_x[day], edges, edge_attr=neighbours.edge[day, target, slot]))
    expected = torch.stack(by_day)
    (expected * probe).sum().backward()

    pairs = [
        (actual, expected),
        (x.grad, twin_x.grad),
        (attention.projection.weight.grad, twin.lin.weight.grad),
        (attention.attention_source.grad, twin.att_src.grad[0]),
        (attention.attention_target.grad, twin.att_dst.grad[0]),
        (attention.attention_edge.grad, twin.lin_edge.weight.grad.view(HEADS, -1, 2)[:, 0]),
        (attention.bias.grad, twin.bias.grad),
    ]
    for one, other in pairs:
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


def plain_form(attention: GraphAttention, x: torch.Tensor, neighbours: Neighbours) -> torch.Tensor:
    """The same function by plain autograd, with all neighbours gathered."""
    by_head = attention.projection(x).unflatten(-1, (HEADS, -1))
    source = (by_head * attention.attention_source).sum(-1)
    target = (by_head * attention.attention_target).sum(-1)
    day = torch.arange(DAYS).view(-1, 1, 1)
    edge = torch.nn.functional.linear(neighbours.edge, attention.attention_edge)
    logits = torch.nn.functional.leaky_relu(source[day, neighbours.index] + target.unsqueeze(2) + edge, 0.2)
    logits = (logits / attention.temperature).masked_fill(~neighbours.mask.unsqueeze(-1), float("-inf"))
    alpha = logits.softmax(2).unsqueeze(-1)
    return (by_head[day, neighbours.index] * alpha).sum(2).flatten(-2) + attention.bias


Attend = Callable[[GraphAttention, torch.Tensor, Neighbours], torch.Tensor]


def output_and_gradients(
    attend: Attend, attention: GraphAttention, x: torch.Tensor, neighbours: Neighbours
) -> tuple[torch.Tensor, ...]:
    x = x.detach().requires_grad_()
    y = attend(attention, x, neighbours)
    probe = torch.randn(y.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(3)).to(y.dtype)
    return (y, *torch.autograd.grad((y * probe).sum(), [x, *attention.parameters()]))


def own_form(attention: GraphAttention, x: torch.Tensor, neighbours: Neighbours) -> torch.Tensor:
    return attention(x, neighbours)


def in_single(neighbours: Neighbours) -> Neighbours:
    return Neighbours(neighbours.index, neighbours.mask, neighbours.edge.float())


@pytest.mark.parametrize("temperature", [0.3, 1.0, 4.0])
@pytest.mark.parametrize("chunk_size", [None, 4])
def test_output_and_gradients_are_those_of_the_plain_form(temperature: float, chunk_size: int | None) -> None:
    attention, neighbours = layer(chunk_size, temperature), random_neighbours()
    expected = output_and_gradients(plain_form, attention, features(), neighbours)
    found = output_and_gradients(own_form, attention, features(), neighbours)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)
    in_float32 = output_and_gradients(own_form, attention.float(), features().float(), in_single(neighbours))
    for one, other in zip(in_float32, expected, strict=True):
        assert (one - other).norm() <= 1e-6 * other.norm()


def test_gradients_are_those_of_finite_differences() -> None:
    attention, neighbours = layer(temperature=0.7), random_neighbours()
    x = features().requires_grad_()
    assert torch.autograd.gradcheck(lambda value: attention(value, neighbours), [x])
    assert torch.autograd.gradcheck(
        lambda edge: attention(x, Neighbours(neighbours.index, neighbours.mask, edge)),
        [neighbours.edge.requires_grad_()],
    )


@pytest.mark.parametrize("chunk_size", [1, 4, STOCKS, 500])
def test_chunks_change_nothing(chunk_size: int) -> None:
    expected = output_and_gradients(own_form, layer(), features(), random_neighbours())
    found = output_and_gradients(own_form, layer(chunk_size), features(), random_neighbours())
    assert torch.equal(found[0], expected[0])
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-13, atol=1e-13)


def test_without_a_chunk_size_large_days_are_divided(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    attend = graph_attention.attend_to_neighbours

    def counted(*args: Any, **kwargs: Any) -> torch.Tensor:
        calls.append(args[2].shape[0])
        return attend(*args, **kwargs)

    monkeypatch.setattr(graph_attention, "attend_to_neighbours", counted)
    layer()(features(), random_neighbours())
    monkeypatch.setattr(graph_attention, "CHUNK_LOGITS", 4 * DAYS * SLOTS * HEADS)
    layer()(features(), random_neighbours())
    assert calls == [DAYS * STOCKS, *(DAYS * stocks for stocks in (4, 4, 3))]


def test_bits_do_not_depend_on_the_threads() -> None:
    generator = torch.Generator().manual_seed(0)
    index = torch.randint(4000, (4000, 16), generator=generator)
    shapes = ((4000, 4, 8), (4000, 4), (4000, 4), (4000, 4, 16))
    tensors = [torch.randn(shape, generator=generator, requires_grad=True) for shape in shapes]
    mask = torch.rand(index.shape, generator=generator) < 0.8
    mask[:, 0] = True
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            y = graph_attention.attend_to_neighbours(*tensors, index, mask, temperature=2.0)
            found.append((y, *torch.autograd.grad(y.square().sum(), tensors)))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


def test_gathered_neighbours_are_never_in_memory_all_at_once() -> None:
    def largest(attend: Attend, attention: GraphAttention) -> int:
        sizes = []

        class Record(TorchDispatchMode):
            def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
                results = function(*args, **(kwargs or {}))
                sizes.extend(t.numel() for t in pytree.tree_leaves(results) if isinstance(t, torch.Tensor))
                return results

        with Record():
            output_and_gradients(attend, attention, features(), random_neighbours())
        return max(sizes)

    assert largest(plain_form, layer()) == DAYS * STOCKS * SLOTS * HIDDEN
    assert largest(own_form, layer()) <= DAYS * STOCKS * SLOTS * HEADS


def test_two_uses_in_one_graph_add_their_gradients() -> None:
    attention, others = layer(), random_neighbours(7)

    def twice(attend: Attend) -> Attend:
        return lambda attention, x, neighbours: attend(attention, attend(attention, x, neighbours), others)

    found = output_and_gradients(twice(own_form), attention, features(), random_neighbours())
    expected = output_and_gradients(twice(plain_form), attention, features(), random_neighbours())
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


def test_autocast_rounds_the_projection_alone() -> None:
    attention, neighbours = layer().float(), in_single(random_neighbours())
    with torch.autocast("cpu", torch.bfloat16):
        found = output_and_gradients(own_form, attention, features().float(), neighbours)
        expected = output_and_gradients(plain_form, attention, features().float(), neighbours)
    assert found[0].dtype == expected[0].dtype == torch.float32
    torch.testing.assert_close(found[0], expected[0], rtol=0, atol=1e-6)
    for one, other in zip(found[1:], expected[1:], strict=True):
        # The plain form rounds each edge's share of a gradient to bfloat16, here their sum is.
        assert (one - other).norm() <= 2**-7 * other.norm()


def test_a_checkpoint_leaves_the_gradients_as_they_are() -> None:
    def checkpointed(attention: GraphAttention, x: torch.Tensor, neighbours: Neighbours) -> torch.Tensor:
        return checkpoint(attention, x, neighbours, use_reentrant=False)

    expected = output_and_gradients(own_form, layer(4), features(), random_neighbours())
    found = output_and_gradients(checkpointed, layer(4), features(), random_neighbours())
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))


COMPILED = """
import torch
from atft_gat_fan.layers.graph_attention import GraphAttention
from atft_gat_fan.types import Neighbours

attention = GraphAttention(12, 4, 2, chunk_size=4)
compiled = torch.compile(attention, backend="aot_eager", fullgraph=True)
index = torch.arange(10).view(1, 10, 1) + torch.tensor([0, 1, 4]).view(1, 1, 3)
neighbours = Neighbours(index % 10, torch.ones(1, 10, 3, dtype=torch.bool), torch.rand(1, 10, 3, 2))
x = torch.randn(1, 10, 12, requires_grad=True)
for attend in (attention, compiled):
    y = attend(x, neighbours)
    gradients = torch.autograd.grad(y.square().sum(), [x, *attention.parameters()])
    print([tensor.norm().item() for tensor in (y, *gradients)])
"""


@pytest.mark.slow
def test_the_compiler_takes_it_whole() -> None:
    # In a process of its own: the shape checks of the tests cannot be compiled.
    lines = subprocess.run([sys.executable, "-c", COMPILED], check=True, capture_output=True, text=True).stdout
    own, compiled = (json.loads(line) for line in lines.splitlines())
    assert compiled == pytest.approx(own, rel=1e-5)


def test_a_stock_alone_sees_itself_only() -> None:
    attention, neighbours = layer(), random_neighbours()
    x = features()
    torch.testing.assert_close(attention(x, neighbours)[:, 0], attention.projection(x)[:, 0] + attention.bias)


def test_padding_and_other_days_are_never_read() -> None:
    attention, neighbours = layer(), random_neighbours()
    x = features().requires_grad_()
    (gradient,) = torch.autograd.grad(attention(x, neighbours)[1, 5].sum(), x)
    read = set(neighbours.index[1, 5][neighbours.mask[1, 5]].tolist())
    assert {(day, stock) for day, stock in (gradient.abs().sum(-1) > 0).nonzero().tolist()} == {(1, s) for s in read}


def executed(attention: GraphAttention) -> list[str]:
    names = []

    class Record(TorchDispatchMode):
        def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            names.append(str(function))
            return function(*args, **(kwargs or {}))

    with Record(), torch.no_grad():
        attention(features(), random_neighbours())
    return names


def test_temperature_1_is_the_attention_without_a_temperature() -> None:
    assert not any("div" in name for name in executed(layer(temperature=1.0)))
    assert sum("div" in name for name in executed(layer(temperature=2.0))) == 1
    assert layer(temperature=2.0).state_dict().keys() == layer().state_dict().keys()


def attended_by_hand(temperature: float) -> torch.Tensor:
    """The defining equations with one temperature, over all stocks of a day with a mask instead of lists."""
    attention, neighbours, x = layer(), random_neighbours(), features()
    by_head = attention.projection(x).unflatten(-1, (HEADS, -1))
    target = (by_head * attention.attention_target).sum(-1)
    source = (by_head * attention.attention_source).sum(-1)
    attended = torch.empty_like(by_head)
    for day in range(DAYS):
        for stock in range(STOCKS):
            slots = neighbours.mask[day, stock]
            seen = neighbours.index[day, stock][slots]
            edge = neighbours.edge[day, stock][slots] @ attention.attention_edge.T
            logits = torch.nn.functional.leaky_relu(target[day, stock] + source[day, seen] + edge, 0.2)
            alpha = (logits / temperature).softmax(0)
            attended[day, stock] = torch.einsum("kh,khc->hc", alpha, by_head[day, seen])
    return attended.flatten(-2) + attention.bias


@pytest.mark.parametrize("temperature", [0.3, 1.0, 4.0])
@pytest.mark.parametrize("chunk_size", [None, 4])
def test_logits_are_divided_after_the_leaky_relu(temperature: float, chunk_size: int | None) -> None:
    actual = layer(chunk_size, temperature)(features(), random_neighbours())
    torch.testing.assert_close(actual, attended_by_hand(temperature), rtol=1e-12, atol=1e-12)


def test_a_high_temperature_averages_the_neighbours() -> None:
    attention, neighbours, x = layer(temperature=1e9), random_neighbours(), features()
    projected = attention.projection(x)
    day = torch.arange(DAYS).view(-1, 1, 1)
    mask = neighbours.mask.unsqueeze(-1)
    mean = (projected[day, neighbours.index] * mask).sum(2) / mask.sum(2)
    torch.testing.assert_close(attention(x, neighbours), mean + attention.bias, rtol=0, atol=1e-7)


def test_a_low_temperature_sees_the_best_neighbour_alone() -> None:
    attention, neighbours, x = layer(temperature=1e-5), random_neighbours(), features()
    by_head = attention.projection(x).unflatten(-1, (HEADS, -1))
    day = torch.arange(DAYS).view(-1, 1, 1)
    logits = (
        (by_head * attention.attention_target).sum(-1).unsqueeze(2)
        + (by_head * attention.attention_source).sum(-1)[day, neighbours.index]
        + neighbours.edge @ attention.attention_edge.T
    )
    best = logits.masked_fill(~neighbours.mask.unsqueeze(-1), float("-inf")).argmax(2, keepdim=True)
    gathered = by_head[day, neighbours.index]
    seen = gathered.take_along_dim(best.unsqueeze(-1), dim=2).squeeze(2).flatten(-2)
    torch.testing.assert_close(attention(x, neighbours), seen + attention.bias, rtol=0, atol=1e-7)


def test_gradients_are_those_of_the_temperature_of_the_forward_pass() -> None:
    gradients = []
    for temperature_after in (3.0, 0.1):
        attention = layer(chunk_size=4, temperature=3.0)
        x = features().requires_grad_()
        y = attention(x, random_neighbours()).square().sum()
        attention.temperature = temperature_after
        gradients.append(torch.autograd.grad(y, x)[0])
    assert torch.equal(*gradients)


@pytest.mark.parametrize("temperature", [0.3, 1.0])
@pytest.mark.parametrize("chunk_size", [None, 4])
def test_weights_are_what_the_output_is_made_of(temperature: float, chunk_size: int | None) -> None:
    attention, neighbours, x = layer(chunk_size, temperature), random_neighbours(), features()
    weights = attention.weights(x, neighbours)
    assert weights.shape == (DAYS, STOCKS, HEADS, SLOTS)
    torch.testing.assert_close(weights.sum(-1), torch.ones_like(weights[..., 0]), rtol=0, atol=1e-14)
    assert (weights.masked_select(~neighbours.mask.unsqueeze(2)) == 0).all()
    assert (weights.masked_select(neighbours.mask.unsqueeze(2)) > 0).all()
    day = torch.arange(DAYS).view(-1, 1, 1)
    by_head = attention.projection(x).unflatten(-1, (HEADS, -1))[day, neighbours.index]
    made = torch.einsum("dnhk,dnkhc->dnhc", weights, by_head).flatten(-2) + attention.bias
    torch.testing.assert_close(attention(x, neighbours), made, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("temperature", [0.3, 1.0])
def test_gathered_is_the_same_function(temperature: float) -> None:
    attention, neighbours = layer(temperature=temperature), random_neighbours()
    torch.testing.assert_close(
        attention.gathered(features(), neighbours), attention(features(), neighbours), rtol=1e-13, atol=1e-13
    )
