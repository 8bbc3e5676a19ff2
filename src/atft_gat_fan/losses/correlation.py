"""One minus the correlation of a day's scores with its labels: what an information coefficient asks for, trained on.

The negative Pearson correlation as a loss is that of the machine-learning literature on return forecasts (for example
Coqueret & Guida 2020, chapter 3.5, and the IC losses of Qlib's model zoo); on rank-transformed labels it stands in for
the Spearman correlation (RankIC), which has no gradient.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

SPREAD_FLOOR = 1e-3
"""Spread of the scores, in units of the labels', below which the loss turns from scale-free to linear in them."""


def correlation_loss(
    point: Float[Tensor, "days stocks horizons"],
    labels: Float[Tensor, "days stocks horizons"],
    stock_weights: Float[Tensor, "days stocks"] | None = None,
) -> Float[Tensor, "days horizons"]:
    """1 - cov(p, y) / sqrt(var(y) (var(p) + f² var(y))) of each day over its known labels, f = 1e-3.

    With f = 0 that is one minus the Pearson correlation: free of the scores' scale, and without a gradient where they
    are all the same. The floor changes it by less than f²/2 of the correlation where the scores spread as wide as the
    labels, and lets nearly constant scores, such as those of an untrained network, start from a finite gradient that
    pulls them apart. Constant scores cost 1.

    Moments are weighted by `stock_weights` (positive, any scale). An unknown label (NaN) has exactly no gradient; a day
    that `rankable` does not hold of costs 0.
    """
    valid = labels.isnan().logical_not()
    known = rankable(labels)
    weights = valid.to(point.dtype) if stock_weights is None else stock_weights.unsqueeze(-1) * valid
    weights = weights / weights.sum(1, keepdim=True).clamp(min=torch.finfo(weights.dtype).tiny)
    scores, targets = (_centred(values, valid, weights) for values in (point, labels))
    spread = (weights * targets.square()).sum(1)
    floored = (weights * scores.square()).sum(1) + SPREAD_FLOOR**2 * spread
    # Days that do not count divide by 1: where they divided by 0, the gradient would be NaN behind any mask.
    scale = torch.where(known, (spread * floored).clamp(min=torch.finfo(weights.dtype).tiny), 1.0).sqrt()
    return torch.where(known, 1 - (weights * scores * targets).sum(1) / scale, 0.0)


def rankable(labels: Float[Tensor, "days stocks horizons"]) -> Bool[Tensor, "days horizons"]:
    """Whether a day has at least two different known labels: without them, no order of its stocks is the right one."""
    unknown = labels.isnan()
    highest = labels.masked_fill(unknown, float("-inf")).amax(1)
    lowest = labels.masked_fill(unknown, float("inf")).amin(1)
    return highest > lowest


def _centred(values: Tensor, valid: Tensor, weights: Tensor) -> Tensor:
    # Filled first: a NaN hidden behind a weight of 0 would still reach the gradient as 0 * NaN.
    filled = values.masked_fill(~valid, 0.0)
    return (filled - (weights * filled).sum(1, keepdim=True)).masked_fill(~valid, 0.0)
