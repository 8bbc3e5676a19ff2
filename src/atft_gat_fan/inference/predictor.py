"""Scores by the canonical batch: one day, the stocks present that day, in the order of their codes.

Evaluation and daily prediction both go through here, so the same day gives the same bits.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from jaxtyping import Float, Int64
from numpy.typing import NDArray

from atft_gat_fan.data.batches import DayBatches
from atft_gat_fan.data.stock_days import StoredStockDays
from atft_gat_fan.inference.blend import PARTS, Blend
from atft_gat_fan.models.network import ATFT_GAT_FAN

NETWORK_SHARE = 0.8
"""Of the time that a blend takes, about."""


@dataclass(frozen=True)
class Prediction:
    """Scores of some panel days and what the network looked at.

    `scores` [days, stocks, horizons] float32, NaN where a stock was absent. `variable_weights` [features] and
    `attention` [window], each of sum 1, are means over the scored stock-days (oldest lag first);
    `variable_weights_by_day` over the stocks of each day, NaN on a day without any. Of a blend, `scores` are the
    weighted ranks in [0, 1], and `parts` those of the network and of LightGBM that they are made of; else it is empty.
    """

    scores: Float[NDArray[np.float32], "days stocks horizons"]
    variable_weights: Float[NDArray[np.float64], " features"]
    attention: Float[NDArray[np.float64], " window"]
    variable_weights_by_day: Float[NDArray[np.float64], "days features"]
    parts: Mapping[str, Float[NDArray[np.float32], "days stocks horizons"]] = field(default_factory=dict)


def predict_days(
    model: ATFT_GAT_FAN,
    batches: DayBatches,
    days: Int64[NDArray[np.int64], " days"],
    *,
    blend: Blend | None = None,
    device: torch.device | None = None,
    progress: Callable[[float], None] | None = None,
) -> Prediction:
    """Score the stocks present on each of `days` (panel positions with a whole window before them).

    With a `blend`, by the network and LightGBM together; raises ConfigError where LightGBM does not load.

    Nothing is compiled for it, however the model was trained: that takes longer than a day's scores, needs a compiler
    wherever the model is used, and gives other bits.
    """
    device = device or torch.device("cpu")
    if blend is not None:
        blend.load()  # before the work, where it would be in vain
    told = progress or (lambda share: None)
    model = model.to(device).eval()
    share = 1.0 if blend is None else NETWORK_SHARE
    with _uncompiled(model):
        prediction = _predict_days(model, batches, days, device, lambda done: told(share * done))
    if blend is None:
        return prediction
    return _blended(prediction, blend, batches, days, lambda done: told(share + (1 - share) * done))


@contextmanager
def _uncompiled(model: ATFT_GAT_FAN) -> Iterator[None]:
    compiled, model.compiled = model.compiled, False
    try:
        yield
    finally:
        model.compiled = compiled


def _predict_days(
    model: ATFT_GAT_FAN,
    batches: DayBatches,
    days: Int64[NDArray[np.int64], " days"],
    device: torch.device,
    progress: Callable[[float], None],
) -> Prediction:
    scores = np.full((len(days), len(batches.store.codes), len(model.spec.horizons)), np.nan, dtype=np.float32)
    variables = np.zeros(model.spec.num_features)
    by_day = np.full((len(days), model.spec.num_features), np.nan)
    attention = np.zeros(model.spec.window)
    stock_days = 0
    with torch.inference_mode():
        for row, day in enumerate(days.tolist()):
            stocks = batches.stocks(day)
            if len(stocks):
                forecast = model.forecast(batches.to_device(batches.canonical(day), device))
                scores[row, stocks] = forecast.point[0].cpu().numpy()
                weights = forecast.variable_weights[-1].double().sum(0).cpu().numpy()
                variables += weights
                by_day[row] = weights / len(stocks)
                attention += forecast.attention[0].double().sum(0).cpu().numpy()
                stock_days += len(stocks)
            progress((row + 1) / len(days))
    return Prediction(scores, variables / max(stock_days, 1), attention / max(stock_days, 1), by_day)


def _blended(
    prediction: Prediction,
    blend: Blend,
    batches: DayBatches,
    days: Int64[NDArray[np.int64], " days"],
    progress: Callable[[float], None],
) -> Prediction:
    """The network's scores with LightGBM's, day by day; a day's ranks are among the stocks that the network scored."""
    panel = StoredStockDays(batches.store, batches.data.normalizer)
    parts = {name: np.full(prediction.scores.shape, np.nan, np.float32) for name in PARTS}
    for row, day in enumerate(days.tolist()):
        stocks = batches.stocks(day)
        if len(stocks):
            features = panel.features(day, stocks)
            ranks = blend.of_day(prediction.scores[row, stocks], features, torch.get_num_threads())
            for name, values in ranks.items():
                parts[name][row, stocks] = values
        progress((row + 1) / len(days))
    return replace(prediction, scores=blend.combined(parts), parts=parts)
