"""A GRU as everybody would write it, on the features, days and labels that the network is given: something to beat.

One layer 64 wide reads a stock's window of days, a linear output a horizon reads its last state; Adam, squared error
on the transformed labels of all horizons alike, gradient clipping, and as many epochs as it is told. The same kind as
Qlib's benchmark (`pytorch_gru.py`: 64 wide, Adam, MSE, a batch a day), with fixed epochs: on rank labels small
recurrent networks are best after two to four, and which of them is best by a few weeks of validation is chance.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn

from atft_gat_fan.losses.label_transform import transform_labels
from atft_gat_fan.runs.assembly import Assembly
from atft_gat_fan.runs.process import device_of


@dataclass(frozen=True)
class GruRecipe:
    """How it is trained; batches have as many days as the network's."""

    hidden_size: int = 64
    epochs: int = 4
    lr: float = 1e-3
    clip_norm: float = 1.0
    max_steps: int | None = None


class Gru(nn.Module):
    """Windows of features [stocks, window, features], finite, to scores [stocks, horizons]."""

    def __init__(self, num_features: int, num_horizons: int, hidden_size: int) -> None:
        super().__init__()
        self.gru = nn.GRU(num_features, hidden_size, batch_first=True)
        self.head = nn.Linear(hidden_size, num_horizons)

    def forward(self, windows: Float[Tensor, "stocks window features"]) -> Float[Tensor, "stocks horizons"]:
        outputs, _ = self.gru(windows)
        scores: Tensor = self.head(outputs[:, -1])
        return scores


def train_gru(assembly: Assembly, recipe: GruRecipe, report: Callable[[str, float], None]) -> Gru:
    """Train on the training days; initial weights and the order of days follow from the configuration's seed."""
    config, batches, device = assembly.config, assembly.batches, device_of(assembly.config)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        model = Gru(assembly.spec.num_features, len(assembly.store.horizons), recipe.hidden_size).to(device).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=recipe.lr)
    blocks = [
        block
        for epoch in range(recipe.epochs)
        for block in batches.day_blocks(assembly.split.train, config.batch_size, seed=config.seed, epoch=epoch)
    ][: recipe.max_steps]
    for number, block in enumerate(blocks):
        report("train the GRU", number / len(blocks))
        batch = batches.to_device(batches.block(*block), device)
        target = transform_labels(
            batch.labels.masked_fill(~batch.present[..., None], torch.nan), config.labels.transform
        )
        known = target.isfinite()
        chosen = known.any(dim=2)
        if not chosen.any():
            continue
        errors = (model(_windows(batch.features, chosen)) - target[chosen])[known[chosen]]
        optimizer.zero_grad(set_to_none=True)
        errors.square().mean().backward()
        nn.utils.clip_grad_norm_(model.parameters(), recipe.clip_norm)
        optimizer.step()
    return model.eval()


@torch.inference_mode()
def score_days(
    model: Gru, assembly: Assembly, days: NDArray[np.int64], report: Callable[[str, float], None]
) -> Float[NDArray[np.float32], "days stocks horizons"]:
    """Scores of the stocks present on each day, NaN of the others, by position in the store."""
    store, batches, device = assembly.store, assembly.batches, device_of(assembly.config)
    scores = np.full((len(days), len(store.codes), len(store.horizons)), np.nan, np.float32)
    for row, day in enumerate(days.tolist()):
        report("score by the GRU", row / len(days))
        batch = batches.to_device(batches.canonical(day), device)
        scores[row, batches.stocks(day)] = model(_windows(batch.features, batch.present)).cpu().numpy()
    return scores


def _windows(
    features: Float[Tensor, "span stocks features"], chosen: Tensor
) -> Float[Tensor, "chosen window features"]:
    """The window of each chosen stock-day ([days, stocks], true), oldest day first."""
    num_days = len(chosen)
    # unfold puts the window last: [days, stocks, features, window].
    return features.unfold(0, len(features) - num_days + 1, 1)[chosen].transpose(1, 2)
