"""What a point forecast costs: one of the losses, under one contract."""

from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from atft_gat_fan.losses.correlation import correlation_loss, rankable
from atft_gat_fan.losses.multi_horizon import error_loss, sum_of_days
from atft_gat_fan.losses.pairwise import pairwise_loss

RankingLoss = Literal["ic", "rank"]


class PointLoss:
    """Squared error; with `deltas` (one a horizon, in label units) Huber; or one of the losses that rank.

    `ic` is `correlation_loss`, `rank` is `pairwise_loss`, each with `mse_weight` times the squared error beside it:
    the first leaves unit and mean of the scores free, the second the mean, and a small squared error settles both.
    """

    def __init__(
        self,
        deltas: Float[Tensor, " horizons"] | None = None,
        ranking: RankingLoss | None = None,
        mse_weight: float = 0.0,
    ) -> None:
        assert ranking is None or deltas is None, f"one loss expected, got {ranking} and Huber's {deltas}"
        self._deltas, self._ranking, self._mse_weight = deltas, ranking, mse_weight

    def learnable(self, labels: Float[Tensor, "days stocks horizons"]) -> Float[Tensor, "days stocks horizons"]:
        """The labels that this loss can learn from, the others NaN: label counts are taken of these.

        A loss that ranks learns nothing of a day and horizon without two different labels.
        """
        if self._ranking is None:
            return labels
        return labels.masked_fill(~rankable(labels).unsqueeze(1), float("nan"))

    def __call__(
        self,
        point: Float[Tensor, "days stocks horizons"],
        labels: Float[Tensor, "days stocks horizons"],
        weights: Float[Tensor, " horizons"],
        labelled_days: Int[Tensor, " horizons"],
        stock_weights: Float[Tensor, "days stocks"] | None = None,
    ) -> tuple[Float[Tensor, ""], Float[Tensor, " horizons"]]:
        """(total, per horizon without its weight) of `learnable` labels; all else as in `multi_horizon_loss`."""
        return sum_of_days(self._by_day(point, labels, stock_weights), weights, labelled_days)

    def _by_day(self, point: Tensor, labels: Tensor, stock_weights: Tensor | None) -> Tensor:
        if self._ranking is None:
            return error_loss(point, labels, self._deltas, stock_weights)
        ranking = correlation_loss if self._ranking == "ic" else pairwise_loss
        by_day: Tensor = ranking(point, labels, stock_weights)
        if self._mse_weight:
            by_day = by_day + self._mse_weight * error_loss(point, labels, None, stock_weights)
        return by_day


def liquidity_weights(liquid: Tensor, weight: float) -> Float[Tensor, "days stocks"]:
    """Weights of each day's stocks: `weight` for the `liquid` ones [days, stocks], 1 for the others."""
    return torch.where(liquid, weight, 1.0)
