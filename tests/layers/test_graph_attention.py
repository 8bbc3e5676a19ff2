import pytest
import torch
from torch_geometric.nn import GATConv

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


def layer(chunk_size: int | None = None) -> GraphAttention:
    torch.manual_seed(1)
    attention = GraphAttention(HIDDEN, HEADS, 2, chunk_size).double()
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


@pytest.mark.parametrize("chunk_size", [1, 4, STOCKS, 50])
def test_chunks_change_nothing(chunk_size: int) -> None:
    results = []
    for attention in (layer(), layer(chunk_size)):
        x = features().requires_grad_()
        y = attention(x, random_neighbours())
        results.append((y, *torch.autograd.grad(y.square().sum(), [x, *attention.parameters()])))
        with torch.no_grad():
            torch.testing.assert_close(attention(x, random_neighbours()), y, rtol=0, atol=1e-13)
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


def test_chunks_never_hold_all_gathered_neighbours() -> None:
    def largest_saved(attention: GraphAttention) -> int:
        sizes = []

        def record(tensor: torch.Tensor) -> torch.Tensor:
            sizes.append(tensor.numel())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(record, lambda tensor: tensor):
            attention(features().requires_grad_(), random_neighbours())
        return max(sizes)

    assert largest_saved(layer()) == DAYS * STOCKS * SLOTS * HIDDEN
    assert largest_saved(layer(chunk_size=2)) <= DAYS * STOCKS * HIDDEN


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
