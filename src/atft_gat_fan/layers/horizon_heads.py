"""One linear output per forecast horizon, with quantiles that cannot cross."""

from collections.abc import Sequence
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

# First scores of about std * sqrt(hidden_size) = 0.01 are below the labels in size. With torch's usual weights they are
# fifty times a daily return, and a short training spends itself on unlearning them.
INITIAL_STD = 1e-3
# Quantiles start softplus(-3) = 0.05 apart: near the scale of multi-day returns, not far below that of z-scores.
INITIAL_SPREAD_BIAS = -3.0


class HorizonHeads(nn.Module):
    """Point forecast per horizon and, where quantile levels are given, the quantiles around it.

    The point is the median; the others lie softplus-positive gaps below and above it, added up
    outwards, so they increase with their level. Levels must increase and contain 0.5. Computed with
    autocast off: in bfloat16 thousands of stocks would share a few hundred scores.
    """

    no_decay: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, hidden_size: int, num_horizons: int, quantiles: Sequence[float] = ()) -> None:
        super().__init__()
        assert not quantiles or 0.5 in quantiles, f"quantiles with the median expected, got {tuple(quantiles)}"
        self.quantiles = tuple(quantiles)
        self.point = nn.Linear(hidden_size, num_horizons)
        nn.init.normal_(self.point.weight, std=INITIAL_STD)
        nn.init.zeros_(self.point.bias)
        self.spread = nn.Linear(hidden_size, num_horizons * (len(quantiles) - 1)) if len(quantiles) > 1 else None
        if self.spread is not None:
            nn.init.normal_(self.spread.weight, std=INITIAL_STD)
            nn.init.constant_(self.spread.bias, INITIAL_SPREAD_BIAS)

    def forward(
        self, x: Float[Tensor, "days stocks hidden"]
    ) -> tuple[Float[Tensor, "days stocks horizons"], Float[Tensor, "days stocks horizons quantiles"] | None]:
        """(point, quantiles or None), in the unit of the training labels."""
        with torch.autocast(x.device.type, enabled=False):
            x = x.to(self.point.weight.dtype)
            point: Tensor = self.point(x)
            if not self.quantiles:
                return point, None
            if self.spread is None:
                return point, point.unsqueeze(-1)
            gaps = functional.softplus(self.spread(x)).view(*point.shape, -1)
            below, above = gaps.tensor_split([self.quantiles.index(0.5)], dim=-1)
            median = point.unsqueeze(-1)
            lower = median - below.flip(-1).cumsum(-1).flip(-1)
            return point, torch.cat([lower, median, median + above.cumsum(-1)], dim=-1)
