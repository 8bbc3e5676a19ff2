"""What a model looks at, day by day: variables, lags, frequencies and neighbours. Read off, not approximated.

None of these weights says what causes a return, nor what a score would be without the thing weighed: see
`inference.permutation` and `inference.stock_explanation` for that.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float64, Int64
from numpy.typing import NDArray
from scipy.stats import rankdata
from torch import Tensor

from atft_gat_fan.data.batches import DayBatches
from atft_gat_fan.inference.inside import Inside, look_inside
from atft_gat_fan.models.network import ATFT_GAT_FAN
from atft_gat_fan.types import DayBatch

FloatArray = NDArray[np.float64]

GRAPH_FACTS = ("degree", "self_weight", "effective_neighbours", "weight_correlation")
"""Of a stock: neighbours beside itself; its weight on itself; 1 / sum of squared weights, by which an even weight on n
neighbours counts n. Of a day: the rank correlation, over all edges between two stocks, of the learned weight with the
absolute correlation that made the edge."""


MEASURED = ("variable_weights", "attention", "taken", "energy", "removed")
"""What is kept of every stock, and of which `Explanation` has the moments."""


@dataclass(frozen=True)
class Links:
    """The neighbours of each stock of a day, as positions among its stocks; slot 0 is the stock itself."""

    index: Int64[NDArray[np.int64], "stocks neighbours"]
    mask: Bool[NDArray[np.bool_], "stocks neighbours"]
    correlation: Float64[FloatArray, "stocks neighbours"]
    """Shrunk correlation of past returns, which made the edge."""
    same_sector: Bool[NDArray[np.bool_], "stocks neighbours"]
    weight: Float64[FloatArray, "stocks neighbours"]
    """Learned weight, mean over heads: of sum 1, 0 where masked."""


@dataclass(frozen=True)
class DayExplanation:
    """One day, all stocks that are present. Shares and weights are fractions of 1; no value is missing.

    `stocks` are positions in the store; `scores` what `predict` gives, to the bit. `variable_weights` are those of the
    day itself, `attention` has the oldest lag first. `taken` is the share of a stock's latent channels whose frequency
    was taken out, `energy` the share of its window's energy at that frequency, `removed` what of it was taken out;
    `removed_by_channel` is the share of each channel's energy that was, over all stocks. None where the network has no
    such part.
    """

    stocks: Int64[NDArray[np.int64], " stocks"]
    scores: NDArray[np.float32]
    variable_weights: Float64[FloatArray, "stocks features"]
    attention: Float64[FloatArray, "stocks window"]
    taken: Float64[FloatArray, "stocks bins"] | None
    energy: Float64[FloatArray, "stocks bins"] | None
    removed: Float64[FloatArray, "stocks bins"] | None
    removed_by_channel: Float64[FloatArray, " hidden"] | None
    links: Links | None


@dataclass(frozen=True)
class Moments:
    """Mean and standard deviation over the stocks of each day."""

    mean: Float64[FloatArray, "days items"]
    std: Float64[FloatArray, "days items"]


@dataclass(frozen=True)
class Explanation:
    """The universe over time: each `Moments` has a row a day.

    `graph` has the columns `GRAPH_FACTS`; its rank correlation has no spread (NaN), and is NaN on a day without edges.
    `removed_by_channel` is the mean over the days.
    """

    days: NDArray[np.datetime64]
    num_stocks: Int64[NDArray[np.int64], " days"]
    variable_weights: Moments
    attention: Moments
    taken: Moments | None
    energy: Moments | None
    removed: Moments | None
    removed_by_channel: Float64[FloatArray, " hidden"] | None
    graph: Moments | None


def explain_days(
    model: ATFT_GAT_FAN,
    batches: DayBatches,
    days: Int64[NDArray[np.int64], " days"],
    *,
    device: torch.device | None = None,
    progress: Callable[[float], None] | None = None,
) -> tuple[Explanation, DayExplanation]:
    """Explain each of `days` (panel positions with a whole window before them), and the last one stock by stock.

    Of the panel nothing after a day is read for it. Days without stocks are left out; at least one day must have some.
    """
    device = device or torch.device("cpu")
    model = model.to(device).eval()
    rows, kept = [], []
    for done, day in enumerate(days.tolist(), start=1):
        if len(batches.stocks(day)):
            last = explain_day(model, batches, day, device)
            rows.append(_reduced(last))
            kept.append(day)
        if progress is not None:
            progress(done / len(days))
    assert rows, "days with stocks expected"

    def moments(name: str) -> Moments | None:
        pairs = [row[name] for row in rows]
        if pairs[0] is None:
            return None
        mean, std = (np.stack(parts) for parts in zip(*pairs, strict=True))
        return Moments(mean, std)

    variables, attention = moments("variable_weights"), moments("attention")
    assert variables is not None
    assert attention is not None
    channels = [row["removed_by_channel"] for row in rows]
    return Explanation(
        days=batches.store.days[kept],
        num_stocks=np.array([row["num_stocks"] for row in rows]),
        variable_weights=variables,
        attention=attention,
        taken=moments("taken"),
        energy=moments("energy"),
        removed=moments("removed"),
        removed_by_channel=None if channels[0] is None else np.mean(channels, axis=0),
        graph=moments("graph"),
    ), last


def explain_day(model: ATFT_GAT_FAN, batches: DayBatches, day: int, device: torch.device) -> DayExplanation:
    """One day with the stocks present on it, from the canonical batch that `predict` scores."""
    with torch.inference_mode():
        batch = batches.to_device(batches.canonical(day), device)
        return _day(batches.stocks(day), batch, look_inside(model, batch))


def _day(stocks: NDArray[np.int64], batch: DayBatch, inside: Inside) -> DayExplanation:
    forecast = inside.forecast
    taken = energy = removed = by_channel = None
    if inside.taken is not None and inside.energy is not None:
        of_window = inside.energy.double()
        out = of_window * inside.taken
        total = of_window.sum((0, 2)).clamp_min(torch.finfo(torch.float64).tiny)
        taken = _array(inside.taken.double().mean(-1).t())
        energy = _array((of_window.sum(-1) / total).t())
        removed = _array((out.sum(-1) / total).t())
        by_channel = _array(out.sum((0, 1)) / of_window.sum((0, 1)).clamp_min(torch.finfo(torch.float64).tiny))
    return DayExplanation(
        stocks=stocks,
        scores=forecast.point[0].cpu().numpy(),
        variable_weights=_array(forecast.variable_weights[-1]),
        attention=_array(forecast.attention[0]),
        taken=taken,
        energy=energy,
        removed=removed,
        removed_by_channel=by_channel,
        links=_links(inside),
    )


def _links(inside: Inside) -> Links | None:
    if inside.neighbours is None or inside.neighbour_weights is None:
        return None
    edge = inside.neighbours.edge.cpu().numpy()
    return Links(
        index=inside.neighbours.index.cpu().numpy(),
        mask=inside.neighbours.mask.cpu().numpy(),
        correlation=edge[..., 0].astype(np.float64),
        same_sector=edge[..., 1] > 0,
        weight=_array(inside.neighbour_weights),
    )


def _array(tensor: Tensor) -> FloatArray:
    return tensor.double().cpu().numpy()


def _reduced(day: DayExplanation) -> dict[str, Any]:
    """Mean and spread over the stocks."""

    def moments(values: FloatArray | None) -> tuple[FloatArray, FloatArray] | None:
        return None if values is None else (values.mean(axis=0), values.std(axis=0))

    return {
        "num_stocks": len(day.stocks),
        "removed_by_channel": day.removed_by_channel,
        **{name: moments(getattr(day, name)) for name in MEASURED},
        "graph": None if day.links is None else _graph_facts(day.links),
    }


def _graph_facts(links: Links) -> tuple[FloatArray, FloatArray]:
    """Mean and spread of `GRAPH_FACTS`."""
    by_stock = np.stack(
        [links.mask[:, 1:].sum(axis=1), links.weight[:, 0], 1 / np.square(links.weight).sum(axis=1)], axis=1
    )
    others = links.mask[:, 1:]
    agreement = rank_correlation(links.weight[:, 1:][others], np.abs(links.correlation[:, 1:][others]))
    return np.append(by_stock.mean(axis=0), agreement), np.append(by_stock.std(axis=0), np.nan)


def rank_correlation(one: FloatArray, other: FloatArray) -> float:
    """Spearman's; NaN for fewer than three pairs or a constant."""
    if len(one) < 3 or np.ptp(one) == 0 or np.ptp(other) == 0:
        return float("nan")
    return float(np.corrcoef(rankdata(one), rankdata(other))[0, 1])
