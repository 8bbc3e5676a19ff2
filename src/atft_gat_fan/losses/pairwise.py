"""Logistic loss of pairs of stocks in the wrong order. Burges et al. 2005, "Learning to rank using gradient descent".

RankNet takes every pair; with N stocks that is N²/2 a day and horizon. Here, as in systematic sampling, pairs stand at
`NUM_DISTANCES` evenly spaced distances in the order of the labels: O(N log N + 16 N), nothing random, and every
distance between labels, near and far, has its share. At constant scores the gradient of a stock is, as with all pairs,
linear in its rank, up to steps of 1/16.

Of the losses that rank, this one was chosen because it fixes the scale of the scores (a difference of two is the
log-odds that the one beats the other), treats the worst stocks as it does the best, as RankIC does, and needs no
temperature; the list-wise losses (ListNet, Cao et al. 2007; ListMLE, Xia et al. 2008) look mostly at the top of the
list, and a differentiable Spearman correlation (Blondel et al. 2020) needs an isotonic regression per day and horizon.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

NUM_DISTANCES = 16


def pairwise_loss(
    point: Float[Tensor, "days stocks horizons"],
    labels: Float[Tensor, "days stocks horizons"],
    stock_weights: Float[Tensor, "days stocks"] | None = None,
) -> Float[Tensor, "days horizons"]:
    """Mean of log(1 + exp(p_worse - p_better)) over the sampled pairs of each day with different labels.

    Constant scores cost log 2. Only the order of the labels counts. A pair weighs the product of its stocks'
    `stock_weights` (positive, any scale). An unknown label (NaN) has exactly no gradient; a day without two different
    labels costs 0.
    """
    unknown = labels.isnan().transpose(1, 2)
    count = unknown.logical_not().sum(-1)
    order = labels.transpose(1, 2).masked_fill(unknown, float("inf")).argsort(dim=-1, stable=True)
    target = labels.transpose(1, 2).gather(-1, order)
    # Filled: of an unknown label, no score may count, not even an infinite one times 0.
    scores = point.transpose(1, 2).masked_fill(unknown, 0.0).gather(-1, order)
    partner = torch.arange(order.shape[-1], device=order.device) + _distances(count).unsqueeze(-1)
    inside = partner < count[..., None, None]
    partner = partner.clamp(max=order.shape[-1] - 1)

    def ahead(values: Tensor) -> Tensor:
        return values.unsqueeze(-2).expand(-1, -1, NUM_DISTANCES, -1).gather(-1, partner)

    pairs = (inside & (ahead(target) > target.unsqueeze(-2))).to(point.dtype)
    if stock_weights is not None:
        weights = stock_weights.unsqueeze(1).expand(-1, order.shape[1], -1).gather(-1, order)
        pairs = pairs * weights.unsqueeze(-2) * ahead(weights)
    wrong = pairs * functional.softplus(scores.unsqueeze(-2) - ahead(scores))
    # An infinite score on the right side of all its pairs costs nothing, and 0 times it makes it known.
    told = 0.0 * scores.sum(-1)
    return wrong.sum((-2, -1)) / pairs.sum((-2, -1)).clamp(min=torch.finfo(pairs.dtype).tiny) + told


def _distances(count: Int[Tensor, "days horizons"]) -> Int[Tensor, "days horizons distances"]:
    """Between partners in the order of `count` labels: the middles of sixteen equal parts, at least 1."""
    middles = (torch.arange(NUM_DISTANCES, device=count.device) + 0.5) / NUM_DISTANCES
    return (count.unsqueeze(-1) * middles).long().clamp(min=1)
