"""How much the ranking depends on a feature: permutation importance within the day. Breiman 2001; Fisher et al. 2019.

One feature's windows are exchanged between the stocks of a day, which keeps its distribution and its course in time
and breaks only its tie to the stock; the network scores the day again. Features that stand in for each other hide each
other: each may be exchanged without loss while the other is there.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float64, Int64
from numpy.typing import NDArray
from scipy.stats import rankdata

from atft_gat_fan.data.batches import DayBatches
from atft_gat_fan.metrics.rank_ic import daily_rank_ic
from atft_gat_fan.models.network import ATFT_GAT_FAN
from atft_gat_fan.statistics.hac import automatic_lags, newey_west

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class PermutationImportance:
    """Means over the days, of which `num_labelled` have known returns at the first horizon.

    `rank_ic` is the RankIC of the unchanged scores, `drop` by how much it falls when the feature is exchanged, with
    its Newey-West standard error `drop_error`; NaN where no return is known. `rank_change` is the mean absolute move
    of the ranks, these scaled to [0, 1]: it needs no returns.
    """

    features: tuple[int, ...]
    """Positions among the model's features."""
    num_days: int
    num_labelled: int
    rank_ic: Float64[FloatArray, " horizons"]
    drop: Float64[FloatArray, "features horizons"]
    drop_error: Float64[FloatArray, "features horizons"]
    rank_change: Float64[FloatArray, "features horizons"]


def permutation_importance(
    model: ATFT_GAT_FAN,
    batches: DayBatches,
    days: Int64[NDArray[np.int64], " days"],
    features: Sequence[int],
    *,
    seed: int,
    device: torch.device | None = None,
    progress: Callable[[float], None] | None = None,
) -> PermutationImportance:
    """Exchange each of `features` within each of `days` (panel positions, increasing); the same seed, the same bits."""
    device = device or torch.device("cpu")
    model = model.to(device).eval()
    horizons = model.spec.horizons
    rank_ic = np.full((len(days), 1 + len(features), len(horizons)), np.nan)
    change = np.zeros((len(days), len(features), len(horizons)))
    with torch.inference_mode():
        for row, day in enumerate(days.tolist()):
            batch = batches.to_device(batches.canonical(day), device)
            kept, exchanged = batch.features, batch.features.clone()
            labels = batch.labels[0].cpu().numpy()
            scores = model.forecast(batch).point[0].cpu().numpy()
            rank_ic[row, 0] = daily_rank_ic(scores.T, labels.T)
            for place, feature in enumerate(features):
                # Keyed by date and feature: other days or features do not change what is drawn.
                order = np.random.default_rng([seed, batch.dates[0], feature]).permutation(len(labels))
                exchanged[..., feature] = kept[:, torch.from_numpy(order).to(device), feature]
                without = model.forecast(replace(batch, features=exchanged)).point[0].cpu().numpy()
                exchanged[..., feature] = kept[..., feature]
                rank_ic[row, 1 + place] = daily_rank_ic(without.T, labels.T)
                change[row, place] = np.abs(_ranks(without) - _ranks(scores)).mean(axis=0)
                if progress is not None:
                    progress((row + (place + 1) / len(features)) / len(days))
    return _averaged(tuple(features), rank_ic, change, _stride(days), horizons)


def _ranks(scores: NDArray[np.float32]) -> FloatArray:
    """Scaled to [0, 1], ties averaged."""
    ranks: FloatArray = (rankdata(scores, axis=0) - 1) / max(len(scores) - 1, 1)
    return ranks


def _stride(days: NDArray[np.int64]) -> int:
    return int(np.diff(days).min()) if len(days) > 1 else 1


def _averaged(
    features: tuple[int, ...], rank_ic: FloatArray, change: FloatArray, stride: int, horizons: Sequence[int]
) -> PermutationImportance:
    drops = rank_ic[:, :1] - rank_ic[:, 1:]
    shape = (len(features), len(horizons))
    drop, error = np.full(shape, np.nan), np.full(shape, np.nan)
    base = np.full(len(horizons), np.nan)
    for column, horizon in enumerate(horizons):
        # Labels of days that lie `stride` apart overlap over fewer of them.
        lags = automatic_lags(len(rank_ic), horizon=-(-horizon // stride))
        base[column] = newey_west(rank_ic[:, 0, column], lags).mean
        for place in range(len(features)):
            inference = newey_west(drops[:, place, column], lags)
            drop[place, column], error[place, column] = inference.mean, inference.standard_error
    labelled = int(np.isfinite(rank_ic[:, 0, 0]).sum())
    return PermutationImportance(features, len(rank_ic), labelled, base, drop, error, change.mean(axis=0))
