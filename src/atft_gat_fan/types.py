"""The tensors that pass between rooms, and the legend of their axes.

==============  ======================================================================
axis            meaning
==============  ======================================================================
days            D consecutive trading days that are predicted together
span            D + L - 1 consecutive trading days: the days and the window before them
stocks          N stocks of the block, ordered by code
window          L trading days a prediction looks back on, the predicted day last
features        F numeric inputs of a stock-day
horizons        H forecast horizons, in trading days
neighbours      K graph neighbours of a stock, slot 0 always the stock itself
edge_features   what is known of an edge: correlation, same sector
covariates      C calendar facts known in advance
hidden          E width of the network
==============  ======================================================================

Returns are fractions, never percent. NaN in a label means unknown.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

NUM_EDGE_FEATURES = 2


@dataclass(frozen=True)
class RandomKey:
    """Where random draws come from: a draw is a function of (seed, step, day, layer) alone.

    Nothing depends on how a batch is split or on what was drawn before, so a resumed or
    re-split step draws the same numbers.
    """

    seed: int
    step: int

    def sequence(self, date: int, layer: int) -> np.random.SeedSequence:
        """The source of one layer's draws for the day `date` (days since 1970-01-01)."""
        # Seed sequences take non-negative words only, and days before 1970 are negative.
        return np.random.SeedSequence((self.seed, self.step, date & 0xFFFFFFFF, layer))


@dataclass(frozen=True)
class Neighbours:
    """Padded neighbour lists. Padding repeats the stock itself with mask False; slot 0 is the self-loop."""

    index: Int[Tensor, "days stocks neighbours"]
    mask: Bool[Tensor, "days stocks neighbours"]
    edge: Float[Tensor, "days stocks neighbours edge_features"]

    def to(self, device: torch.device) -> "Neighbours":
        return Neighbours(self.index.to(device), self.mask.to(device), self.edge.to(device))


@dataclass(frozen=True)
class DayBatch:
    """D trading days, each with all its stocks.

    `features` are normalised and finite (missing = 0, the training mean); `labels` are raw forward
    returns with NaN where unknown. `span_dates` are days since 1970-01-01, one per day of the span;
    the last D of them are the predicted days.
    """

    features: Float[Tensor, "span stocks features"]
    labels: Float[Tensor, "days stocks horizons"]
    present: Bool[Tensor, "days stocks"]
    calendar: Float[Tensor, "span covariates"]
    static: Int[Tensor, " stocks"]
    span_dates: tuple[int, ...]
    neighbours: Neighbours | None = None

    @property
    def num_days(self) -> int:
        return self.labels.shape[0]

    @property
    def dates(self) -> tuple[int, ...]:
        """The predicted days, as days since 1970-01-01."""
        return self.span_dates[-self.num_days :]

    def to(self, device: torch.device) -> "DayBatch":
        return replace(
            self,
            features=self.features.to(device),
            labels=self.labels.to(device),
            present=self.present.to(device),
            calendar=self.calendar.to(device),
            static=self.static.to(device),
            neighbours=self.neighbours.to(device) if self.neighbours is not None else None,
        )


@dataclass(frozen=True)
class Forecast:
    """Scores of a day batch. `point` is the median where quantiles are forecast.

    `quantiles` do not cross. `variable_weights` are the selection weights of each stock-day
    (non-negative, sum 1); `attention` the weight of each lag of the window, averaged over heads.
    """

    point: Float[Tensor, "days stocks horizons"]
    quantiles: Float[Tensor, "days stocks horizons quantiles"] | None
    variable_weights: Float[Tensor, "span stocks features"]
    attention: Float[Tensor, "days stocks window"]
