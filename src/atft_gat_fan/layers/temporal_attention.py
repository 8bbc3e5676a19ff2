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
        probes = self._probes(x[-1].flatten(0, 1))
        # Rows on the left: the gradient of a product lies as its left factor does, and that of `x` is read time-major.
        weights = torch.softmax(torch.bmm(rows, probes.transpose(1, 2)), dim=1).mean(2)
        attended: Tensor = self.output(self.value(torch.bmm(weights.unsqueeze(1), rows).squeeze(1)))
        return attended.view(days, stocks, -1), weights.view(days, stocks, -1)

    def over_days(
        self, x: Float[Tensor, "span stocks hidden"], window: int
    ) -> tuple[Float[Tensor, "days stocks hidden"], Float[Tensor, "days stocks window"]]:
        """The same for every day of a span that has a whole window, their windows being stretches of the one span.

        No window is copied: each stock's days are multiplied with all its queries, and what lies outside a query's
        window is masked. With windows copied out of `x`, `forward` gives the same to rounding.
        """
        span, stocks, size = x.shape
        days = span - window + 1
        rows = x.transpose(0, 1)
        probes = self._probes(x[window - 1 :].transpose(0, 1).flatten(0, 1)).reshape(stocks, -1, size)
        logits = torch.bmm(probes, rows.transpose(1, 2)).view(stocks, days, self.num_heads, span)
        first = torch.arange(days, device=x.device).unsqueeze(-1)
        lag = torch.arange(span, device=x.device) - first
        outside = ((lag < 0) | (lag >= window)).unsqueeze(1)
        weights = torch.softmax(logits.masked_fill(outside, float("-inf")), dim=-1).mean(2)
        attended: Tensor = self.output(self.value(torch.bmm(weights, rows)))
        own = weights[:, first, first + torch.arange(window, device=x.device)]
        return attended.transpose(0, 1), own.transpose(0, 1)

    def _probes(self, x: Float[Tensor, "rows hidden"]) -> Float[Tensor, "rows heads hidden"]:
        """Queries as what the days themselves are multiplied with.

        q . (W x) = (W' q) . x, and sum_l a_l W x_l = W sum_l a_l x_l: with one query a window, keys and values of the L
        days need not be computed, only projected queries and one weighted mean.
        """
        query = self.query(x).reshape(-1, self.num_heads, self.head_size)
        key_weight = self.key.weight.view(self.num_heads, self.head_size, -1)
        return torch.einsum("rhc,hce->rhe", query, key_weight) * self.head_size**-0.5
