"""Within-day transforms of the labels, for the loss only: metrics always use raw returns."""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor


def transform_labels(
    labels: Float[Tensor, "days stocks horizons"], kind: Literal["raw", "zscore", "rank"]
) -> Float[Tensor, "days stocks horizons"]:
    """Labels made comparable between days, over each day's valid stocks and each horizon by itself.

    `raw` returns the labels as they are (fractions). `zscore` has mean 0 and population standard deviation 1.
    `rank` is ((average rank - 1/2) / n - 1/2) * sqrt(12), about unit variance, ties averaged. NaN = unknown
    stays NaN; a day of one stock, or of equal labels, becomes 0. Computed in float64.
    """
    if kind == "raw":
        return labels
    by_horizon = labels.transpose(1, 2).double()
    valid = by_horizon.isnan().logical_not()
    count = valid.sum(-1, keepdim=True)
    scaled = _rank(by_horizon, valid, count) if kind == "rank" else _zscore(by_horizon, valid, count)
    return scaled.masked_fill(~valid, float("nan")).transpose(1, 2).to(labels.dtype)


def _rank(x: Tensor, valid: Tensor, count: Tensor) -> Tensor:
    x = x.masked_fill(~valid, float("inf")).contiguous()
    ordered = x.sort(dim=-1).values
    # Values below plus values not above: twice the average rank, less one.
    below = torch.searchsorted(ordered, x)
    not_above = torch.searchsorted(ordered, x, right=True)
    return ((below + not_above) / (2 * count) - 0.5) * 12**0.5


def _zscore(x: Tensor, valid: Tensor, count: Tensor) -> Tensor:
    # Told by the extremes: the variance of equal values is seldom exactly 0 after rounding.
    highest = x.masked_fill(~valid, float("-inf")).amax(-1, keepdim=True)
    lowest = x.masked_fill(~valid, float("inf")).amin(-1, keepdim=True)
    centred = x - x.masked_fill(~valid, 0.0).sum(-1, keepdim=True) / count
    deviation = (centred.masked_fill(~valid, 0.0).square().sum(-1, keepdim=True) / count).sqrt()
    return torch.where(highest > lowest, centred / deviation, 0.0)
