"""Scoring a split with the model as it is: evaluation mode, no gradients, every day once."""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float64, Int
from numpy.typing import NDArray
from torch import Tensor

from atft_gat_fan.metrics.rank_ic import daily_rank_ic, mean
from atft_gat_fan.models.network import ATFT_GAT_FAN
from atft_gat_fan.training.objective import Objective
from atft_gat_fan.training.ranks import Ranks
from atft_gat_fan.training.shares import in_order
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


@dataclass(frozen=True)
class BatchScores:
    """One batch's part of the scores: losses summed over days, the days that have labels, RankIC of each day."""

    loss_sum: Float[Tensor, " horizons"]
    labelled_days: Int[Tensor, " horizons"]
    rank_ic: Float64[np.ndarray, "days horizons"]

    def to_json(self) -> list[Any]:
        """Every bit of it: a float32 is a float64, and Python writes those in full."""
        return [self.loss_sum.tolist(), self.labelled_days.tolist(), self.rank_ic.tolist()]

    @classmethod
    def from_json(cls, values: Sequence[Any]) -> "BatchScores":
        loss_sum, labelled_days, rank_ic = values
        return cls(torch.tensor(loss_sum), torch.tensor(labelled_days), np.array(rank_ic, np.float64))


@dataclass(frozen=True)
class Scorer:
    """Scores batches on `device`. Their labels are raw; the losses are those of what training minimises."""

    objective: Objective
    device: torch.device
    to_device: Callable[[DayBatch, torch.device], DayBatch]
    autocast: Callable[[], AbstractContextManager[object]]
    """The precision of the forward pass."""

    def __call__(self, model: ATFT_GAT_FAN, batch: DayBatch) -> BatchScores:
        prepared = self.to_device(self.objective.prepare(batch), self.device)
        with self.autocast():
            forecast = model.forecast(prepared)
        counts = self.objective.labelled_days([prepared])
        # With counts of one, the loss is a sum over days; the division waits for all of them.
        loss_sum = self.objective(forecast, prepared, torch.ones_like(counts))[1]
        return BatchScores(loss_sum, counts, _rank_ic(forecast.point.float(), batch))


def score_days(parts: Iterable[BatchScores]) -> ValidationScores:
    """The scores of all days together."""
    daily: list[NDArray[np.float64]] = []
    loss_sum: Tensor | float = 0.0
    labelled_days: Tensor | int = 0
    for part in parts:
        loss_sum = loss_sum + part.loss_sum
        labelled_days = labelled_days + part.labelled_days
        daily.append(part.rank_ic)
    rank_ic = np.concatenate(daily)
    assert isinstance(loss_sum, Tensor)
    return ValidationScores(
        rank_ic_by_horizon=tuple(mean(column) for column in rank_ic.T),
        loss_by_horizon=tuple((loss_sum / labelled_days).tolist()),
    )


def score_rounds(rounds: Iterable[Sequence[BatchScores]], ranks: Ranks) -> ValidationScores:
    """The scores of all days of all ranks, the same on each of them; `rounds` are this rank's of `whole_blocks`.

    What is added up stands in the order of the blocks, and a block's part has the bits it has on one rank; so has the
    sum.
    """
    if ranks.alone:
        return score_days(part for parts in rounds for part in parts)
    own = json.dumps([[part.to_json() for part in parts] for parts in rounds])
    by_rank = [json.loads(told) for told in ranks.gather(own)]
    return score_days(BatchScores.from_json(part) for parts in in_order(by_rank) for part in parts)


@contextmanager
def evaluating(model: ATFT_GAT_FAN) -> Iterator[None]:
    """Evaluation mode without gradients; afterwards every part of the model has the mode it had."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, training in modes:
            module.training = training


def _rank_ic(point: Tensor, batch: DayBatch) -> NDArray[np.float64]:
    """RankIC [days, horizons] of one batch."""
    scores, labels, present = point.cpu().numpy(), batch.labels.numpy(), batch.present.numpy()
    horizons = range(labels.shape[2])
    return np.stack([daily_rank_ic(scores[:, :, h], labels[:, :, h], present) for h in horizons], axis=1)
