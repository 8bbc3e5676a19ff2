"""What goes on inside the network while it scores one day, observed and not computed a second time."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from atft_gat_fan.layers.frequency_adaptive_norm import FrequencyAdaptiveNorm
from atft_gat_fan.models.network import ATFT_GAT_FAN
from atft_gat_fan.types import DayBatch, Forecast, Neighbours


@dataclass(frozen=True)
class Inside:
    """One scored day. `forecast` has the bits that `model.forecast` gives by itself.

    What the network has no part for is None: without frequency adaptive normalisation `taken` and `energy`, without
    graph attention `neighbour_weights` and `neighbours`.
    """

    forecast: Forecast
    taken: Bool[Tensor, "bins stocks hidden"] | None
    """Which frequencies of each latent channel's window were taken out; bin k has period window / k days."""
    energy: Float[Tensor, "bins stocks hidden"] | None
    """Sum of squares of the window that lies in each frequency."""
    near_ties: Bool[Tensor, " stocks"]
    """Whether rounding may decide a frequency of the stock, or of a neighbour: the score is discontinuous there."""
    neighbours: Neighbours | None
    neighbour_weights: Float[Tensor, "stocks neighbours"] | None
    """Learned weight of each neighbour, mean over heads: non-negative, sum 1, 0 where masked. Slot 0: the stock."""


@torch.inference_mode()
def look_inside(model: ATFT_GAT_FAN, batch: DayBatch) -> Inside:
    """Score one day, as `model.forecast` does, and keep what the network saw on the way.

    `batch` holds one day with normalised features on the model's device; the model is in eval mode.
    """
    assert batch.num_days == 1, f"one day at a time expected, got {batch.num_days}"
    assert not model.training, "dropout would be explained as well"
    windows: list[tuple[Any, ...]] = []
    graphs: list[tuple[Any, ...]] = []
    with _recorded(model.temporal, windows), _recorded(model.graph if model.spec.gat_heads else None, graphs):
        forecast = model.forecast(batch)
    # Where stocks are encoded in pieces, each piece came by in its turn.
    seen = torch.cat([inputs[0] for inputs in windows], dim=2)[:, 0]
    fan = model.temporal.fan
    taken, energy = fan.taken(seen) if fan is not None else (None, None)
    near_ties = _near_ties(fan, seen)
    if not graphs:
        return Inside(forecast, taken, energy, near_ties, None, None)
    encoded, neighbours = graphs[0]
    weights = model.graph.weights(encoded, neighbours)[0].mean(1)
    near_ties = (near_ties[neighbours.index[0]] & neighbours.mask[0]).any(1)
    return Inside(forecast, taken, energy, near_ties, neighbours.each(lambda tensor: tensor[0]), weights)


def _near_ties(
    fan: FrequencyAdaptiveNorm | None, windows: Float[Tensor, "window stocks hidden"]
) -> Bool[Tensor, " stocks"]:
    if fan is None:
        return torch.zeros(windows.shape[1], dtype=torch.bool, device=windows.device)
    return fan.near_ties(windows).any(-1)


@contextmanager
def _recorded(module: nn.Module | None, calls: list[tuple[Any, ...]]) -> Iterator[None]:
    """Keep the positional arguments of every call of `module`."""
    if module is None:
        yield
        return
    handle = module.register_forward_pre_hook(lambda _, arguments: calls.append(arguments))
    try:
        yield
    finally:
        handle.remove()
