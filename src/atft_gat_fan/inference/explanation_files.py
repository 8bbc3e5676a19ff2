"""An explanation as data: three tables and a summary, whose form docs/explaining.md describes."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.stats import rankdata

from atft_gat_fan.inference.blend import Blend
from atft_gat_fan.inference.explain import GRAPH_FACTS, DayExplanation, Explanation, Moments
from atft_gat_fan.inference.permutation import PermutationImportance
from atft_gat_fan.inference.stock_explanation import StockExplanation

FORMAT = 1

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Names:
    """What the axes of the arrays are called."""

    features: tuple[str, ...]
    horizons: tuple[int, ...]
    window: int
    codes: tuple[str, ...]
    """Of the store's stocks."""

    @property
    def horizon_names(self) -> list[str]:
        return [f"{horizon}d" for horizon in self.horizons]

    @property
    def lags(self) -> list[str]:
        """Of the attention's columns: trading days before the predicted one, oldest first."""
        return [str(lag) for lag in reversed(range(self.window))]

    @property
    def bins(self) -> list[str]:
        return [str(k) for k in range(self.window // 2 + 1)]


@dataclass(frozen=True)
class Explained:
    """All that one command found out. `stock` is its position in `day.stocks`, with `about` what is said of it."""

    run: str
    model: str
    """Fingerprint of the model."""
    source: str
    names: Names
    over_time: Explanation
    day: DayExplanation
    permutation: PermutationImportance | None = None
    stock: int | None = None
    about: StockExplanation | None = None
    blend: Blend | None = None
    """LightGBM's part of the model; all else here is of the network alone."""

    @property
    def date(self) -> np.datetime64:
        """The day that is explained stock by stock: the last of the period."""
        date: np.datetime64 = self.over_time.days[-1]
        return date

    def code(self, position: int) -> str:
        """Of a stock by its position in `day.stocks`."""
        return self.names.codes[int(self.day.stocks[position])]

    @property
    def ranks(self) -> NDArray[np.int64]:
        """[stocks, horizons]: 1 is the highest score of the day; equal scores share the better rank."""
        ranks: NDArray[np.int64] = rankdata(-self.day.scores, method="min", axis=0).astype(np.int64)
        return ranks


def universe_table(explained: Explained) -> pl.DataFrame:
    """`date, part, item, mean, std`: mean and standard deviation over the stocks of each day, null where unknown."""
    over_time, names = explained.over_time, explained.names
    parts: list[tuple[str, Sequence[str], Moments | None]] = [
        ("variable_weight", names.features, over_time.variable_weights),
        ("attention", names.lags, over_time.attention),
        ("frequency_taken", names.bins, over_time.taken),
        ("frequency_energy", names.bins, over_time.energy),
        ("frequency_removed", names.bins, over_time.removed),
        ("graph", GRAPH_FACTS, over_time.graph),
    ]
    tables = [
        pl.DataFrame(
            {
                "date": np.repeat(over_time.days.astype("datetime64[D]"), len(items)),
                "part": [part] * moments.mean.size,
                "item": list(items) * len(over_time.days),
                "mean": moments.mean.ravel(),
                "std": moments.std.ravel(),
            },
            schema_overrides={"date": pl.Date},
        )
        for part, items, moments in parts
        if moments is not None
    ]
    return pl.concat(tables).with_columns(pl.col("mean", "std").fill_nan(None))


def stock_table(explained: Explained) -> pl.DataFrame:
    """`date, code, part, item, value` of every stock on the explained day."""
    day, names = explained.day, explained.names
    parts: list[tuple[str, Sequence[str], NDArray[Any] | None]] = [
        ("score", names.horizon_names, day.scores),
        ("variable_weight", names.features, day.variable_weights),
        ("attention", names.lags, day.attention),
        ("frequency_taken", names.bins, day.taken),
        ("frequency_removed", names.bins, day.removed),
    ]
    codes = [explained.code(position) for position in range(len(day.stocks))]
    tables = [
        pl.DataFrame(
            {
                "code": np.repeat(np.asarray(codes, dtype=object), len(items)).tolist(),
                "part": [part] * values.size,
                "item": list(items) * len(codes),
                "value": values.astype(np.float64).ravel(),
            },
            schema_overrides={"code": pl.String},
        )
        for part, items, values in parts
        if values is not None
    ]
    date = pl.lit(explained.date.astype("datetime64[D]").item(), pl.Date).alias("date")
    return pl.concat(tables).select(date, "code", "part", "item", "value")


def neighbour_table(explained: Explained) -> pl.DataFrame:
    """`date, code, neighbour, slot, correlation, same_sector, weight` of every stock on the explained day.

    Slot 0 is the stock itself. Weights of a stock add up to 1. No rows where the network has no graph attention.
    """
    schema = {
        "date": pl.Date, "code": pl.String, "neighbour": pl.String, "slot": pl.Int32, "correlation": pl.Float64,
        "same_sector": pl.Boolean, "weight": pl.Float64,
    }  # fmt: skip
    links = explained.day.links
    if links is None:
        return pl.DataFrame(schema=schema)
    stock, slot = np.nonzero(links.mask)
    return pl.DataFrame(
        {
            "date": [explained.date.astype("datetime64[D]").item()] * len(stock),
            "code": [explained.code(position) for position in stock.tolist()],
            "neighbour": [explained.code(position) for position in links.index[stock, slot].tolist()],
            "slot": slot,
            "correlation": links.correlation[stock, slot],
            "same_sector": links.same_sector[stock, slot],
            "weight": links.weight[stock, slot],
        },
        schema=schema,
    )


def summary(explained: Explained) -> dict[str, Any]:
    """The form of `explanation.json`; what is not known or not asked for is null."""
    over_time, names = explained.over_time, explained.names
    return {
        "format": FORMAT,
        "run": explained.run,
        "model": explained.model,
        "source": explained.source,
        "date": str(explained.date),
        "first": str(over_time.days[0]),
        "days": len(over_time.days),
        "stocks": len(explained.day.stocks),
        "horizons": list(names.horizons),
        "window": names.window,
        "variables": {
            name: {"weight": float(mean), "on_date": float(today)}
            for name, mean, today in zip(
                names.features,
                over_time.variable_weights.mean.mean(axis=0),
                over_time.variable_weights.mean[-1],
                strict=True,
            )
        },
        "attention_by_lag": dict(zip(names.lags, over_time.attention.mean.mean(axis=0).tolist(), strict=True)),
        "frequencies": _frequencies(explained),
        "graph": _graph(over_time),
        "permutation": None if explained.permutation is None else _permutation(explained.permutation, names),
        "stock": None if explained.stock is None else _stock(explained, explained.stock),
        "blend": None if explained.blend is None else _blend(explained.blend, names),
    }


def _blend(blend: Blend, names: Names) -> dict[str, Any]:
    return {
        "network_weight": blend.weight_by_horizon,
        "lightgbm_gain": {
            name: _by_horizon(shares, names) for name, shares in zip(names.features, blend.gain, strict=True)
        },
    }


def _frequencies(explained: Explained) -> dict[str, Any] | None:
    over_time, window = explained.over_time, explained.names.window
    if over_time.taken is None or over_time.energy is None or over_time.removed is None:
        return None
    assert over_time.removed_by_channel is not None
    shares = [each.mean.mean(axis=0) for each in (over_time.taken, over_time.energy, over_time.removed)]
    return {
        "removed": float(shares[2].sum()),
        "bins": [
            {
                "bin": k,
                "period_days": None if k == 0 else window / k,
                "taken": float(taken),
                "energy": float(energy),
                "removed": float(removed),
            }
            for k, (taken, energy, removed) in enumerate(zip(*shares, strict=True))
        ],
        "removed_by_channel": over_time.removed_by_channel.tolist(),
    }


def _graph(over_time: Explanation) -> dict[str, float | None] | None:
    if over_time.graph is None:
        return None
    return {name: _mean(values) for name, values in zip(GRAPH_FACTS, over_time.graph.mean.T, strict=True)}


def _mean(values: FloatArray) -> float | None:
    known = values[np.isfinite(values)]
    return float(known.mean()) if known.size else None


def _permutation(found: PermutationImportance, names: Names) -> dict[str, Any]:
    return {
        "days": found.num_days,
        "labelled_days": found.num_labelled,
        "rank_ic": _by_horizon(found.rank_ic, names),
        "features": {
            names.features[feature]: {
                "rank_ic_drop": _by_horizon(found.drop[place], names),
                "standard_error": _by_horizon(found.drop_error[place], names),
                "rank_change": _by_horizon(found.rank_change[place], names),
            }
            for place, feature in enumerate(found.features)
        },
    }


def _by_horizon(values: FloatArray, names: Names) -> dict[str, float | None]:
    pairs = zip(names.horizon_names, values.tolist(), strict=True)
    return {name: value if math.isfinite(value) else None for name, value in pairs}


def _stock(explained: Explained, position: int) -> dict[str, Any]:
    day, names, about = explained.day, explained.names, explained.about
    assert about is not None, "a stock was asked for and explained"
    alone = about.without_neighbours
    return {
        "code": explained.code(position),
        "score": _by_horizon(day.scores[position].astype(np.float64), names),
        "rank": dict(zip(names.horizon_names, explained.ranks[position].tolist(), strict=True)),
        "without_neighbours": None if alone is None else _by_horizon(alone, names),
        "variables": {
            name: {
                "value": float(about.values[place]),
                "weight": float(day.variable_weights[position, place]),
                "universe_weight": float(day.variable_weights[:, place].mean()),
                "occlusion": _by_horizon(about.occlusion[place], names),
            }
            for place, name in enumerate(names.features)
        },
        "attention_by_lag": dict(zip(names.lags, day.attention[position].tolist(), strict=True)),
        "neighbours": list(neighbours_of(explained, position)),
    }


def neighbours_of(explained: Explained, position: int) -> Iterator[Mapping[str, Any]]:
    """The stock itself, then its neighbours by falling weight; nothing where the network has no graph attention."""
    day, links = explained.day, explained.day.links
    if links is None:
        return
    slots = np.flatnonzero(links.mask[position])
    others = slots[1:][np.argsort(-links.weight[position, slots[1:]], kind="stable")]
    for slot in (0, *others.tolist()):
        neighbour = int(links.index[position, slot])
        yield {
            "code": explained.code(neighbour),
            "weight": float(links.weight[position, slot]),
            "correlation": float(links.correlation[position, slot]),
            "same_sector": bool(links.same_sector[position, slot]),
            "score": _by_horizon(day.scores[neighbour].astype(np.float64), explained.names),
        }
