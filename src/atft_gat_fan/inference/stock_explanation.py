"""Why one stock has its score on one day: what the score would be without each feature, and without its neighbours.

Occlusion (Zeiler and Fergus 2014): the network itself is asked again with one thing taken away, so unlike a weight it
says how much the score depends on that thing. The answers for features that move together share what they have in
common, and they do not add up to the score.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float64
from numpy.typing import NDArray

from atft_gat_fan.models.network import ATFT_GAT_FAN
from atft_gat_fan.types import DayBatch, Neighbours

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class StockExplanation:
    """Scores in the unit of the training labels.

    `without_neighbours` is the score of the stock standing alone, None where the network has no graph attention:
    `score - without_neighbours` is what its neighbours add. `occlusion` is score minus the score with the feature at
    its training mean on every day of the window, as if it were missing: positive where the feature raises the score.
    `values` are the features of the day in training standard deviations from their training mean (0: missing).
    """

    score: Float64[FloatArray, " horizons"]
    without_neighbours: Float64[FloatArray, " horizons"] | None
    occlusion: Float64[FloatArray, "features horizons"]
    values: Float64[FloatArray, " features"]


def explain_stock(model: ATFT_GAT_FAN, batch: DayBatch, position: int) -> StockExplanation:
    """Explain the score of the stock at `position` of a day's canonical batch with normalised features.

    The stock stands in one batch once a question, beside its neighbours; a prediction depends on the stock's own rows
    and its neighbours', so the other stocks are not needed. Scores agree with those of the whole day to rounding.
    """
    num_features = model.spec.num_features
    with torch.inference_mode():
        point = model.forecast(_questions(batch, position, num_features)).point[0].double().cpu().numpy()
    score = point[0]
    return StockExplanation(
        score=score,
        without_neighbours=point[1 + num_features] if model.spec.gat_heads else None,
        occlusion=score - point[1 : 1 + num_features],
        values=batch.features[-1, position].double().cpu().numpy(),
    )


def _questions(batch: DayBatch, position: int, num_features: int) -> DayBatch:
    """The stock as it is, once without each feature, once without neighbours; then its neighbours, standing alone."""
    device = batch.features.device
    asked = num_features + 2
    graph = batch.neighbours
    others = torch.empty(0, dtype=torch.int64, device=device)
    if graph is not None:
        others = graph.index[0, position][graph.mask[0, position]][1:]
    own = torch.full((asked,), position, device=device)
    members = torch.cat([own, others])
    features = batch.features[:, members].clone()
    places = torch.arange(num_features, device=device)
    features[:, 1 + places, places] = 0.0
    return replace(
        batch,
        features=features,
        labels=batch.labels[:, members],
        present=batch.present[:, members],
        static=batch.static[members],
        neighbours=None if graph is None else _linked(graph, position, asked, len(others)),
    )


def _linked(graph: Neighbours, position: int, asked: int, others: int) -> Neighbours:
    """Lists in which every question but the last has the stock's neighbours, and nobody else has any."""
    total, slots, device = asked + others, graph.index.shape[-1], graph.index.device
    own = torch.arange(total, device=device)
    index = own.unsqueeze(1).repeat(1, slots)
    mask = torch.zeros(total, slots, dtype=torch.bool, device=device)
    mask[:, 0] = True
    edge = graph.edge.new_zeros(total, slots, graph.edge.shape[-1])
    edge[:, 0] = graph.edge[0, position, 0]
    known = graph.mask[0, position].nonzero().squeeze(1)
    asking = slice(0, asked - 1)
    mask[asking] = graph.mask[0, position]
    edge[asking] = graph.edge[0, position]
    index[asking, known[1:]] = asked + torch.arange(others, device=device)
    return Neighbours(index.unsqueeze(0), mask.unsqueeze(0), edge.unsqueeze(0))
