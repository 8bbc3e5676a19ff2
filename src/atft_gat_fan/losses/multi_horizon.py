"""Losses over several horizons that add up, however the step's days are split into batches.

Every loss is sum_h w_h / n_h * sum over days of (the day's mean over its valid stocks), n_h being the number
of labelled days of the whole optimizer step, counted before its first forward pass. So the
losses and gradients of micro-batches, or of ranks, sum to those of the whole step.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


def label_counts(labels: Float[Tensor, "days stocks horizons"]) -> Int[Tensor, " horizons"]:
    """Days with at least one known label, per horizon. NaN = unknown."""
    return labels.isnan().logical_not().any(dim=1).sum(dim=0)


def multi_horizon_loss(
    point: Float[Tensor, "days stocks horizons"],
    labels: Float[Tensor, "days stocks horizons"],
    weights: Float[Tensor, " horizons"],
    labelled_days: Int[Tensor, " horizons"],
    deltas: Float[Tensor, " horizons"] | None = None,
    stock_weights: Float[Tensor, "days stocks"] | None = None,
) -> tuple[Float[Tensor, ""], Float[Tensor, " horizons"]]:
    """Weighted mean squared or Huber error: (total, per horizon without its weight).

    `point` and `labels` share their unit; an unknown label (NaN) gives no loss and exactly no gradient.
    `labelled_days` are the label counts of the whole step; a horizon without any has loss 0.

    `deltas`, positive and in the unit of the labels, make it the Huber loss (Huber 1964): half the square up
    to a horizon's delta and linear beyond. Where no error reaches its delta, as with delta = 1 on raw returns, that is
    exactly half the squared error. `stock_weights`, positive and of any scale, make a day's mean a weighted one.
    """
    return sum_of_days(error_loss(point, labels, deltas, stock_weights), weights, labelled_days)


def error_loss(
    point: Float[Tensor, "days stocks horizons"],
    labels: Float[Tensor, "days stocks horizons"],
    deltas: Float[Tensor, " horizons"] | None = None,
    stock_weights: Float[Tensor, "days stocks"] | None = None,
) -> Float[Tensor, "days horizons"]:
    """The mean of each day in `multi_horizon_loss`; 0 on a day without labels."""
    valid = labels.isnan().logical_not()
    error = _difference(point, labels, valid)
    loss = error.square() if deltas is None else _huber(error, deltas)
    return _day_mean(loss, valid, stock_weights)


def quantile_loss(
    quantiles: Float[Tensor, "days stocks horizons quantiles"],
    labels: Float[Tensor, "days stocks horizons"],
    levels: Sequence[float],
    weights: Float[Tensor, " horizons"],
    labelled_days: Int[Tensor, " horizons"],
    stock_weights: Float[Tensor, "days stocks"] | None = None,
) -> tuple[Float[Tensor, ""], Float[Tensor, " horizons"]]:
    """Weighted pinball loss, averaged over the quantile levels: (total, per horizon without its weight).

    Unknown labels, counts and `stock_weights` as in `multi_horizon_loss`. Koenker & Bassett 1978.
    """
    valid = labels.isnan().logical_not()
    level = quantiles.new_tensor(levels)
    shortfall = -_difference(quantiles, labels.unsqueeze(-1), valid.unsqueeze(-1))
    pinball = torch.maximum(level * shortfall, (level - 1) * shortfall).mean(-1)
    return sum_of_days(_day_mean(pinball, valid, stock_weights), weights, labelled_days)


def sum_of_days(
    by_day: Float[Tensor, "days horizons"], weights: Float[Tensor, " horizons"], labelled_days: Int[Tensor, " horizons"]
) -> tuple[Float[Tensor, ""], Float[Tensor, " horizons"]]:
    """(sum over horizons of weights / labelled_days * sum over days, the same per horizon without its weight)."""
    per_horizon = by_day.sum(0) / labelled_days.clamp(min=1)
    return (weights * per_horizon).sum(), per_horizon


def _difference(forecast: Tensor, labels: Tensor, valid: Tensor) -> Tensor:
    # Filled on both sides: a NaN hidden behind a mask would still reach the gradient as 0 * NaN.
    return (forecast - labels.masked_fill(~valid, 0.0)).masked_fill(~valid, 0.0)


def _huber(error: Float[Tensor, "days stocks horizons"], deltas: Tensor) -> Float[Tensor, "days stocks horizons"]:
    # torch's huber_loss has one delta for all. This form has no branch whose gradient a mask would have to hide.
    size = error.abs()
    square = torch.minimum(size, deltas)
    return square * (size - 0.5 * square)


def _day_mean(
    loss: Float[Tensor, "days stocks horizons"],
    valid: Bool[Tensor, "days stocks horizons"],
    stock_weights: Float[Tensor, "days stocks"] | None,
) -> Float[Tensor, "days horizons"]:
    if stock_weights is None:
        return loss.sum(1) / valid.sum(1).clamp(min=1)
    weights = stock_weights.unsqueeze(-1) * valid
    whole = weights.sum(1)
    return (weights * loss).sum(1) / whole.where(whole > 0, 1.0)
