"""Scoring a split with the model as it is: evaluation mode, no gradients, every day once."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from atft_gat_fan.metrics.rank_ic import daily_rank_ic, mean
from atft_gat_fan.models.network import ATFT_GAT_FAN
from atft_gat_fan.training.objective import Objective
from atft_gat_fan.training.runtime import Runtime
from atft_gat_fan.types import DayBatch


@dataclass(frozen=True)
class ValidationScores:
    """RankIC on raw labels and loss per horizon, means over days; NaN where no day has one."""

    rank_ic_by_horizon: tuple[float, ...]
    loss_by_horizon: tuple[float, ...]

    @property
    def rank_ic(self) -> float:
        """Mean over the horizons that have a RankIC."""
        return mean(np.array(self.rank_ic_by_horizon))


def score_days(
    runtime: Runtime,
    model: ATFT_GAT_FAN,
    objective: Objective,
    batches: Iterable[DayBatch],
    stop_requested: Callable[[], bool],
    to_device: Callable[[DayBatch, torch.device], DayBatch] = DayBatch.to,
) -> ValidationScores | None:
    """Scores over the days of `batches`; None where a stop was requested meanwhile. The model keeps its mode."""
    daily: list[NDArray[np.float64]] = []
    loss_sum: torch.Tensor | float = 0.0
    labelled_days: torch.Tensor | int = 0
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            for batch in batches:
                if stop_requested():
                    return None
                prepared = to_device(objective.prepare(batch), runtime.fabric.device)
                with runtime.fabric.autocast():
                    forecast = model.forecast(prepared)
                counts = objective.labelled_days([prepared])
                # With counts of one, the loss is a sum over days; the division waits for all of them.
                loss_sum = loss_sum + objective(forecast, prepared, torch.ones_like(counts))[1]
                labelled_days = labelled_days + counts
                daily.append(_rank_ic(forecast.point.float(), batch))
    finally:
        model.train(training)
    rank_ic = np.concatenate(daily)
    assert isinstance(loss_sum, torch.Tensor)
    return ValidationScores(
        rank_ic_by_horizon=tuple(mean(column) for column in rank_ic.T),
        loss_by_horizon=tuple((loss_sum / labelled_days).tolist()),
    )


def _rank_ic(point: torch.Tensor, batch: DayBatch) -> NDArray[np.float64]:
    """RankIC [days, horizons] of one batch."""
    scores, labels, present = point.cpu().numpy(), batch.labels.numpy(), batch.present.numpy()
    horizons = range(labels.shape[2])
    return np.stack([daily_rank_ic(scores[:, :, h], labels[:, :, h], present) for h in horizons], axis=1)
