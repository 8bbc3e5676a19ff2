"""Where a training stands: counters, early stopping and the record of its epochs; the JSON half of a checkpoint."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from atft_gat_fan.training.early_stopping import SmoothedBest
from atft_gat_fan.training.validation_pass import ValidationScores


@dataclass(frozen=True)
class EpochRecord:
    """One epoch as trained and validated.

    Values per horizon stand in the order of the settings' horizons; NaN = unknown.
    """

    epoch: int
    """Counted from 1."""
    step: int
    """Optimizer steps done at its end."""
    train_loss: float
    """Mean over the epoch's steps."""
    loss_by_horizon: tuple[float, ...]
    """Validation loss."""
    rank_ic_by_horizon: tuple[float, ...]
    rank_ic: float
    """Mean over horizons."""
    smoothed_rank_ic: float
    best: bool
    """The best smoothed RankIC up to here."""


@dataclass
class History:
    """Counters of a training; `epoch` counts validated epochs, `position` the steps done in the one under way."""

    step: int = 0
    epoch: int = 0
    position: int = 0
    samples: int = 0
    skipped_steps: int = 0
    non_finite_in_row: int = 0
    returns: int = 0
    """Times that training went back to a checkpoint; those written since are named by it."""
    rollbacks: int = 0
    """Those of them after losses or gradients that stayed non-finite."""
    lr_factor: float = 1.0
    """Of the learning rate, what the rollbacks left."""
    relief: dict[str, Any] | None = None
    """What is done against running out of memory (`Relief.to_json`); None while nothing is."""
    loss_sum: float = 0.0
    """Of the steps applied in the epoch under way."""
    loss_steps: int = 0
    train_seconds: float = 0.0
    seconds: float = 0.0
    peak_rss_bytes: int = 0
    stopping: SmoothedBest = field(default_factory=SmoothedBest)
    epochs: list[EpochRecord] = field(default_factory=list)
    reason: str | None = None
    """Why training is over; None while it is not."""

    def close_epoch(self, scores: ValidationScores, *, best: bool) -> EpochRecord:
        """Count and record the epoch under way, which has been validated; the next one begins."""
        smoothed = self.stopping.smoothed
        record = EpochRecord(
            epoch=self.epoch + 1,
            step=self.step,
            train_loss=self.loss_sum / self.loss_steps if self.loss_steps else math.nan,
            loss_by_horizon=scores.loss_by_horizon,
            rank_ic_by_horizon=scores.rank_ic_by_horizon,
            rank_ic=scores.rank_ic,
            smoothed_rank_ic=math.nan if smoothed is None else smoothed,
            best=best,
        )
        self.epochs.append(record)
        self.epoch, self.position, self.loss_sum, self.loss_steps = record.epoch, 0, 0.0, 0
        return record

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "History":
        epochs = [_record(record) for record in values["epochs"]]
        return cls(**{**values, "stopping": SmoothedBest(**values["stopping"]), "epochs": epochs})


def _record(values: dict[str, Any]) -> EpochRecord:
    by_horizon = {key: tuple(values[key]) for key in ("loss_by_horizon", "rank_ic_by_horizon")}
    return EpochRecord(**{**values, **by_horizon})
