"""Graph attention over padded neighbour lists, with its own backward. Veličković et al. 2018 (GAT), eq. 1-6."""

from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from atft_gat_fan.types import Neighbours

NEGATIVE_SLOPE = 0.2

CHUNK_LOGITS = 2**22
"""Logits at a time unless `chunk_size` says otherwise: 16 MiB in float32, and the work beside them in proportion."""


class GraphAttention(nn.Module):
    """Multi-head graph attention of every stock on its neighbours of the same day, heads concatenated.

    logit_ij = LeakyReLU(a_target . W x_i + a_source . W x_j + a_edge . edge_ij) / temperature, softmax over the
    neighbours j of i that are not masked, output_i = sum_j alpha_ij W x_j + bias. At temperature 1, where nothing is
    divided, it is torch_geometric's `GATConv(edge_dim=..., add_self_loops=False)`; towards 0 the best neighbour alone
    is seen, towards infinity all alike. It is a positive number that may be set between steps, not a weight. Slot 0
    of every neighbour list must be the stock itself, unmasked: the softmax is then defined for a stock without
    neighbours.

    Neighbours are summed where they lie, forward and backward: they are never gathered side by side. `chunk_size`
    query stocks are computed at a time, with all days (None: as many as `CHUNK_LOGITS` allows).
    """

    no_decay: ClassVar[frozenset[str]] = frozenset({"bias"})

    def __init__(
        self,
        hidden_size: int,
        num_heads: int,
        num_edge_features: int,
        chunk_size: int | None = None,
        temperature: float = 1.0,
    ) -> None:
        super().__init__()
        assert hidden_size % num_heads == 0, f"{num_heads} heads do not divide {hidden_size}"
        self.num_heads = num_heads
        self.chunk_size = chunk_size
        self.temperature = temperature
        head_size = hidden_size // num_heads
        self.projection = nn.Linear(hidden_size, hidden_size, bias=False)
        self.attention_target = nn.Parameter(torch.empty(num_heads, head_size))
        self.attention_source = nn.Parameter(torch.empty(num_heads, head_size))
        self.attention_edge = nn.Parameter(torch.empty(num_heads, num_edge_features))
        self.bias = nn.Parameter(torch.zeros(hidden_size))
        for weight in (self.projection.weight, self.attention_target, self.attention_source, self.attention_edge):
            nn.init.xavier_uniform_(weight)

    def forward(
        self, x: Float[Tensor, "days stocks hidden"], neighbours: Neighbours
    ) -> Float[Tensor, "days stocks hidden"]:
        days, _, hidden = x.shape
        values, source, target, edge, index = self._projected(x, neighbours)
        chunk_size = self.chunk_size or max(1, CHUNK_LOGITS // (days * index.shape[-1] * self.num_heads))
        parts = zip(*(torch.split(t, chunk_size, dim=1) for t in (target, edge, index, neighbours.mask)), strict=True)
        chunks = [
            attend_to_neighbours(values, source, *(t.flatten(0, 1) for t in part), temperature=self.temperature)
            for part in parts
        ]
        output: Tensor = torch.cat([chunk.view(days, -1, hidden) for chunk in chunks], dim=1) + self.bias
        return output

    def weights(
        self, x: Float[Tensor, "days stocks hidden"], neighbours: Neighbours
    ) -> Float[Tensor, "days stocks heads neighbours"]:
        """What `forward` weighs each neighbour by, to the bit: non-negative, of sum 1, 0 where masked."""
        _, source, target, edge, index = self._projected(x, neighbours)
        return self._alpha(source, target, edge, index, neighbours.mask)

    def gathered(
        self, x: Float[Tensor, "days stocks hidden"], neighbours: Neighbours
    ) -> Float[Tensor, "days stocks hidden"]:
        """`forward` to rounding, in operations that every exporter knows: all neighbours stand side by side."""
        values, source, target, edge, index = self._projected(x, neighbours)
        alpha = self._alpha(source, target, edge, index, neighbours.mask)
        attended = torch.einsum("dnhk,dnkhc->dnhc", alpha, values[index])
        output: Tensor = attended.flatten(-2) + self.bias
        return output

    def _projected(self, x: Tensor, neighbours: Neighbours) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Values and source logits of each row, a stock on a day; target and edge logits and rows of each query."""
        days, stocks, _ = x.shape
        values = self.projection(x).view(days * stocks, self.num_heads, -1)
        source = (values * self.attention_source).sum(-1)
        target = (values * self.attention_target).sum(-1).view(days, stocks, -1)
        edge = functional.linear(neighbours.edge, self.attention_edge).transpose(2, 3)
        index = neighbours.index + stocks * torch.arange(days, device=x.device).view(-1, 1, 1)
        # Autocast projects in bfloat16; weights and sums stay as the attention vectors are.
        return values.to(source.dtype), source, target, edge.to(source.dtype), index

    def _alpha(self, source: Tensor, target: Tensor, edge: Tensor, index: Tensor, mask: Tensor) -> Tensor:
        days, stocks = index.shape[:2]
        by_query = (tensor.flatten(0, 1) for tensor in (target, edge, index, mask))
        alpha, _ = _softmax_of_logits(source, *by_query, temperature=self.temperature)
        return alpha.view(days, stocks, self.num_heads, -1)


def attend_to_neighbours(
    values: Float[Tensor, "rows heads head_size"],
    source: Float[Tensor, "rows heads"],
    target: Float[Tensor, "queries heads"],
    edge: Float[Tensor, "queries heads neighbours"],
    index: Int[Tensor, "queries neighbours"],
    mask: Bool[Tensor, "queries neighbours"],
    *,
    temperature: float,
) -> Float[Tensor, "queries heads head_size"]:
    """Sum of the neighbours' values, weighted by the softmax of their logits. A row is a stock on a day.

    Differentiable once in the first four. Sums are taken in a fixed order: bits do not depend on the threads.
    """
    attended: Tensor = _Attention.apply(  # type: ignore[no-untyped-call]
        values, source, target, edge, index, mask, temperature
    )
    return attended


class _Attention(torch.autograd.Function):
    """`embedding_bag` sums rows of a table where they lie; with the edges sorted by source it is its own transpose."""

    @staticmethod
    def forward(
        ctx: Any,
        values: Tensor,
        source: Tensor,
        target: Tensor,
        edge: Tensor,
        index: Tensor,
        mask: Tensor,
        temperature: float,
    ) -> Tensor:
        alpha, falls = _softmax_of_logits(source, target, edge, index, mask, temperature=temperature)
        ctx.save_for_backward(values, alpha, falls, index)
        ctx.temperature = temperature
        by_head = _rows_by_head(index, values.shape[1])
        attended = _weighted_sums(values, by_head.flatten(0, 1), alpha.flatten(0, 1))
        return attended.view(*target.shape, values.shape[-1])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        values, alpha, falls, index = ctx.saved_tensors
        num_rows, num_heads, head_size = values.shape
        gradient = gradient.contiguous()

        to_alpha = _dot_products(values, _rows_by_head(index, num_heads), gradient)
        to_logits = alpha * (to_alpha - (alpha * to_alpha).sum(-1, keepdim=True))
        if ctx.temperature != 1.0:
            to_logits /= ctx.temperature
        to_logits = torch.where(falls, to_logits * NEGATIVE_SLOPE, to_logits)

        # What flows back along an edge is summed at its source: edges in order of their sources, a bag a source.
        order = torch.argsort(index.flatten(), stable=True)
        counts = torch.bincount(index.flatten(), minlength=num_rows)
        starts = counts.cumsum(0) - counts
        to_edges = to_logits.transpose(1, 2).reshape(-1, num_heads)
        to_source = functional.embedding_bag(order, to_edges, starts, mode="sum")
        heads = torch.arange(num_heads, device=index.device).view(-1, 1)
        to_values = _weighted_sums(
            gradient,
            ((order // index.shape[-1]) * num_heads + heads).flatten(),
            alpha.transpose(0, 1).reshape(num_heads, -1).index_select(1, order).flatten(),
            (starts + heads * index.numel()).flatten(),
        )
        to_values = to_values.view(num_heads, num_rows, head_size).transpose(0, 1)
        return to_values, to_source, to_logits.sum(-1), to_logits, None, None, None


def _softmax_of_logits(
    source: Float[Tensor, "rows heads"],
    target: Float[Tensor, "queries heads"],
    edge: Float[Tensor, "queries heads neighbours"],
    index: Int[Tensor, "queries neighbours"],
    mask: Bool[Tensor, "queries neighbours"],
    *,
    temperature: float,
) -> tuple[Float[Tensor, "queries heads neighbours"], Bool[Tensor, "queries heads neighbours"]]:
    """The weights, and where the logits fall on the slope of LeakyReLU."""
    by_head = _rows_by_head(index, source.shape[1])
    logits = source.flatten().index_select(0, by_head.flatten()).view_as(by_head)
    logits = logits.add_(target.unsqueeze(-1)).add_(edge)
    falls = logits <= 0
    functional.leaky_relu_(logits, NEGATIVE_SLOPE)
    if temperature != 1.0:
        logits.div_(temperature)
    alpha = torch.softmax(logits.masked_fill_(~mask.unsqueeze(1), float("-inf")), dim=-1)
    return alpha, falls


def _rows_by_head(index: Int[Tensor, "queries neighbours"], num_heads: int) -> Int[Tensor, "queries heads neighbours"]:
    """Where the neighbours' values lie in a table of [rows * heads]."""
    return index.unsqueeze(1) * num_heads + torch.arange(num_heads, device=index.device).view(-1, 1)


def _weighted_sums(
    values: Float[Tensor, "rows heads head_size"],
    index: Int[Tensor, "*items"],
    weights: Float[Tensor, "*items"],
    starts: Int[Tensor, " bags"] | None = None,
) -> Float[Tensor, "bags head_size"]:
    """Of each bag the sum of rows of the table of [rows * heads]; without `starts`, each row of `index` is a bag."""
    table = values.reshape(-1, values.shape[-1])
    return functional.embedding_bag(index, table, starts, per_sample_weights=weights, mode="sum")


def _dot_products(
    values: Float[Tensor, "rows heads head_size"],
    by_head: Int[Tensor, "queries heads neighbours"],
    gradient: Float[Tensor, "queries heads head_size"],
) -> Float[Tensor, "queries heads neighbours"]:
    """The derivative of the weighted sums by their weights."""
    num_bags, size = by_head.shape[0] * by_head.shape[1], by_head.shape[-1]
    bags = torch.arange(num_bags, device=by_head.device)
    # What autograd itself calls for `per_sample_weights`; its other way in is to compute the sums again.
    products: Tensor = torch.ops.aten._embedding_bag_per_sample_weights_backward(
        gradient.flatten(0, 1), values.flatten(0, 1), by_head.flatten(), bags * size, bags.repeat_interleave(size), 0
    )
    return products.view_as(by_head)
