"""One linear output per forecast horizon, with quantiles that cannot cross."""

from collections.abc import Sequence
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

# Quantiles start softplus(-3) = 0.05 apart: near the scale of multi-day returns, not far below that of z-scores.
INITIAL_SPREAD_BIAS = -3.0


class HorizonHeads(nn.Module):
    """Point forecast per horizon and, where quantile levels are given, the quantiles around it.

    The point is the median; the others lie softplus-positive gaps below and above it, added up
    outwards, so they increase with their level. Levels must increase and contain 0.5. Computed with
    autocast off: in bfloat16 thousands of stocks would share a few hundred scores.

    On layer-normed input the first scores of a horizon have standard deviation init_std * sqrt(hidden_size). At 1e-3
    and 64 that is below the labels in size; with torch's usual weights it is fifty times a daily return, and a short
    training spends itself on unlearning them. `scale`, where given, multiplies the scores of each horizon (the median
    and so all quantiles move with it, the gaps between them do not), and weights are drawn from a truncated normal.
    """

    no_decay: ClassVar[frozenset[str]] = frozenset()

    def __init__(
        self,
        hidden_size: int,
        num_horizons: int,
        quantiles: Sequence[float] = (),
        *,
        init_std: float,
        scale: nn.Module | None = None,
    ) -> None:
        super().__init__()
        assert not quantiles or 0.5 in quantiles, f"quantiles with the median expected, got {tuple(quantiles)}"
        self.quantiles = tuple(quantiles)
        initialise = nn.init.normal_ if scale is None else nn.init.trunc_normal_
        self.point = nn.Linear(hidden_size, num_horizons)
        initialise(self.point.weight, std=init_std)
        nn.init.zeros_(self.point.bias)
        self.spread = nn.Linear(hidden_size, num_horizons * (len(quantiles) - 1)) if len(quantiles) > 1 else None
        if self.spread is not None:
            initialise(self.spread.weight, std=init_std)
            nn.init.constant_(self.spread.bias, INITIAL_SPREAD_BIAS)
        self.scale = scale

    def forward(
        self, x: Float[Tensor, "days stocks hidden"]
    ) -> tuple[Float[Tensor, "days stocks horizons"], Float[Tensor, "days stocks horizons quantiles"] | None]:
        """(point, quantiles or None), in the unit of the training labels."""
        with torch.autocast(x.device.type, enabled=False):
            x = x.to(self.point.weight.dtype)
            point: Tensor = self.point(x)
            if self.scale is not None:
                point = self.scale(point)
            if not self.quantiles:
                return point, None
            if self.spread is None:
                return point, point.unsqueeze(-1)
            gaps = functional.softplus(self.spread(x)).view(*point.shape, -1)
            below, above = gaps.tensor_split([self.quantiles.index(0.5)], dim=-1)
            median = point.unsqueeze(-1)
            lower = median - below.flip(-1).cumsum(-1).flip(-1)
            return point, torch.cat([lower, median, median + above.cumsum(-1)], dim=-1)
