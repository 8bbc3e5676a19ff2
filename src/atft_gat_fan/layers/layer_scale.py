"""A learned scale per channel. Touvron et al. 2021 (CaiT, LayerScale)."""

from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn


class LayerScale(nn.Module):
    """x * gamma, one gamma a channel, all of them `initial` at first.

    The scale multiplies the gradient of all that lies below it. CaiT's 1e-5 is for branches beside a skip connection;
    on an output it would freeze the network, so 0.1 to 1 is meant here.
    """

    no_decay: ClassVar[frozenset[str]] = frozenset({"gamma"})

    def __init__(self, num_channels: int, initial: float) -> None:
        super().__init__()
        assert initial > 0, f"positive initial scale expected, got {initial}"
        self.gamma = nn.Parameter(torch.full((num_channels,), initial))

    def forward(self, x: Float[Tensor, "*batch channels"]) -> Float[Tensor, "*batch channels"]:
        return x * self.gamma
