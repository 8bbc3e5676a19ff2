"""Graph attention over padded neighbour lists. Veličković et al. 2018 (GAT), eq. 1-6."""

from functools import partial
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from atft_gat_fan.types import Neighbours

NEGATIVE_SLOPE = 0.2


class GraphAttention(nn.Module):
    """Multi-head graph attention of every stock on its neighbours of the same day, heads concatenated.

    logit_ij = LeakyReLU(a_target . W x_i + a_source . W x_j + a_edge . edge_ij) / temperature, softmax over the
    neighbours j of i that are not masked, output_i = sum_j alpha_ij W x_j + bias. At temperature 1, where nothing is
    divided, the arithmetic is that of torch_geometric's `GATConv(edge_dim=..., add_self_loops=False)`; towards 0 the
    best neighbour alone is seen, towards infinity all alike. It is a positive number that may be set between steps,
    not a weight. Slot 0 of every neighbour list must
    be the stock itself, unmasked: the softmax is then defined for a stock without neighbours.

    `chunk_size` query stocks are computed at a time and, in training, recomputed in the backward
    pass, so that memory holds the gathered neighbours of one chunk only.
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
        days, stocks, _ = x.shape
        projected = self.projection(x)
        by_head = projected.view(days, stocks, self.num_heads, -1)
        source = (by_head * self.attention_source).sum(-1).flatten(0, 1)
        target = (by_head * self.attention_target).sum(-1)
        table = projected.flatten(0, 1)
        index = neighbours.index + stocks * torch.arange(days, device=x.device).view(-1, 1, 1)

        # Bound here: a chunk recomputed in the backward pass needs the temperature of its forward pass.
        attend = partial(self._attend, temperature=self.temperature)
        if self.chunk_size is None or self.chunk_size >= stocks:
            return attend(table, source, target, index, neighbours.mask, neighbours.edge)
        parts = zip(
            *(t.split(self.chunk_size, dim=1) for t in (target, index, neighbours.mask, neighbours.edge)), strict=True
        )
        if torch.is_grad_enabled():
            chunks = [
                checkpoint(attend, table, source, *part, use_reentrant=False, preserve_rng_state=False)
                for part in parts
            ]
        else:
            chunks = [attend(table, source, *part) for part in parts]
        return torch.cat(chunks, dim=1)

    def _attend(
        self,
        table: Float[Tensor, "rows hidden"],
        source: Float[Tensor, "rows heads"],
        target: Float[Tensor, "days queries heads"],
        index: Int[Tensor, "days queries neighbours"],
        mask: Tensor,
        edge: Tensor,
        *,
        temperature: float,
    ) -> Float[Tensor, "days queries hidden"]:
        # Embedding lookups: on CPU their backward is deterministic and far faster than that of indexing.
        logits = (
            functional.embedding(index, source) + target.unsqueeze(2) + functional.linear(edge, self.attention_edge)
        )
        logits = functional.leaky_relu(logits, NEGATIVE_SLOPE)
        if temperature != 1.0:
            logits = logits / temperature
        alpha = torch.softmax(logits.masked_fill(~mask.unsqueeze(-1), float("-inf")), dim=2)
        gathered = functional.embedding(index, table).view(*index.shape, self.num_heads, -1)
        attended: Tensor = (gathered * alpha.unsqueeze(-1)).sum(2).flatten(-2) + self.bias
        return attended
