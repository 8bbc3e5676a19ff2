"""Interpretable multi-head attention. Lim et al. 2021 (TFT), eq. 13-16."""

from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn


class TemporalAttention(nn.Module):
    """Interpretable multi-head attention of the window's last day on the whole window.

    Heads have their own queries and keys and share one value projection, so that the mean of their
    weights is what the output is made of. Only the last query is computed: under a causal mask it
    sees every day of the window, and no other row of the attention matrix is used. Keys have no
    bias: it would add the same to every logit of a query.
    """

    no_decay: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, hidden_size: int, num_heads: int) -> None:
        super().__init__()
        assert hidden_size % num_heads == 0, f"{num_heads} heads do not divide {hidden_size}"
        self.num_heads = num_heads
        self.head_size = hidden_size // num_heads
        self.query = nn.Linear(hidden_size, hidden_size)
        self.key = nn.Linear(hidden_size, hidden_size, bias=False)
        self.value = nn.Linear(hidden_size, self.head_size)
        self.output = nn.Linear(self.head_size, hidden_size)

    def forward(
        self, x: Float[Tensor, "window days stocks hidden"]
    ) -> tuple[Float[Tensor, "days stocks hidden"], Float[Tensor, "days stocks window"]]:
        """The attended last day, and the weight of each day of the window (oldest first), averaged over heads."""
        _, days, stocks, _ = x.shape
        rows = x.flatten(1, 2).transpose(0, 1)
        query = self.query(x[-1]).reshape(-1, self.num_heads, self.head_size)
        # q . (W x) = (W' q) . x, and sum_l a_l W x_l = W sum_l a_l x_l: with one query, keys and values of the
        # L days need not be computed, only projected queries and one weighted mean.
        key_weight = self.key.weight.view(self.num_heads, self.head_size, -1)
        probes = torch.einsum("rhc,hce->rhe", query, key_weight) * self.head_size**-0.5
        # Rows on the left: the gradient of a product lies as its left factor does, and that of `x` is read time-major.
        weights = torch.softmax(torch.bmm(rows, probes.transpose(1, 2)), dim=1).mean(2)
        attended: Tensor = self.output(self.value(torch.bmm(weights.unsqueeze(1), rows).squeeze(1)))
        return attended.view(days, stocks, -1), weights.view(days, stocks, -1)
