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

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

NUM_EDGE_FEATURES = 2


@dataclass(frozen=True)
class StockPart:
    """The stocks start..stop-1 of the `total` stocks of a day."""

    start: int
    stop: int
    total: int


@dataclass(frozen=True)
class RandomKey:
    """Where random draws come from: a draw is a function of (seed, step, day, layer) alone.

    Nothing depends on how a batch is split or on what was drawn before, so a resumed or
    re-split step draws the same numbers.
    """

    seed: int
    step: int
    part: StockPart | None = None
    """Which of each day's stocks are asked for, where not all: a part of the draws for all of them."""

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

    def each(self, move: Callable[[Tensor], Tensor]) -> "Neighbours":
        return Neighbours(move(self.index), move(self.mask), move(self.edge))


@dataclass(frozen=True)
class DayBatch:
    """D trading days, each with all its stocks.

    `features` are normalised and finite (missing = 0, the training mean), or raw (missing = NaN) until the source
    of the batch puts it on its device; `labels` are raw forward returns with NaN where unknown. `span_dates` are
    days since 1970-01-01, one per day of the span; the last D of them are the predicted days. `liquid` marks the upper
    half of each day's stocks by dollar volume, known as of the day, where training asks for it.
    """

    features: Float[Tensor, "span stocks features"]
    labels: Float[Tensor, "days stocks horizons"]
    present: Bool[Tensor, "days stocks"]
    calendar: Float[Tensor, "span covariates"]
    static: Int[Tensor, " stocks"]
    span_dates: tuple[int, ...]
    neighbours: Neighbours | None = None
    liquid: Bool[Tensor, "days stocks"] | None = None

    @property
    def num_days(self) -> int:
        return self.labels.shape[0]

    @property
    def dates(self) -> tuple[int, ...]:
        """The predicted days, as days since 1970-01-01."""
        return self.span_dates[-self.num_days :]

    @property
    def num_stocks(self) -> int:
        return self.labels.shape[1]

    def pieces(self, days: int) -> "list[DayBatch]":
        """The batch in runs of at most `days` days, each with its window before it: views of the same tensors."""
        edges = range(0, self.num_days, days)
        return [self.part(first, min(first + days, self.num_days)) for first in edges]

    def part(self, start: int, stop: int) -> "DayBatch":
        """The predicted days start..stop-1 of the batch with their window and all its stocks: views of its tensors."""
        days = slice(start, stop)
        window = len(self.span_dates) - self.num_days + 1
        span = slice(days.start, days.stop + window - 1)
        return replace(
            self,
            features=self.features[span],
            labels=self.labels[days],
            present=self.present[days],
            calendar=self.calendar[span],
            span_dates=self.span_dates[span],
            neighbours=None if self.neighbours is None else self.neighbours.each(lambda tensor: tensor[days]),
            liquid=None if self.liquid is None else self.liquid[days],
        )

    def to(self, device: torch.device) -> "DayBatch":
        """The batch on a device, the very same tensors where they are there; from pinned memory without waiting."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=device.type == "cuda"))

    def pin_memory(self) -> "DayBatch":
        """A copy in page-locked memory, from which a GPU fetches while the CPU goes on."""
        return self._each(Tensor.pin_memory)

    def _each(self, move: Callable[[Tensor], Tensor]) -> "DayBatch":
        return replace(
            self,
            features=move(self.features),
            labels=move(self.labels),
            present=move(self.present),
            calendar=move(self.calendar),
            static=move(self.static),
            neighbours=None if self.neighbours is None else self.neighbours.each(move),
            liquid=None if self.liquid is None else move(self.liquid),
        )


@dataclass(frozen=True)
class Forecast:
    """Scores of a day batch. `point` is the median where quantiles are forecast.

    `quantiles` do not cross. `variable_weights` are the selection weights of each stock-day
    (non-negative, sum 1), of the predicted days alone where the network looks at no others; `attention` the weight of
    each lag of the window, averaged over heads: all on the last day where the network has no temporal attention.
    """

    point: Float[Tensor, "days stocks horizons"]
    quantiles: Float[Tensor, "days stocks horizons quantiles"] | None
    variable_weights: Float[Tensor, "span stocks features"]
    attention: Float[Tensor, "days stocks window"]
