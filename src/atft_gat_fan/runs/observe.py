"""What the monitor sees of days: their features, raw and as the model has them, scores, neighbours, realised RankIC."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
from jaxtyping import Float, Int64
from numpy.typing import NDArray

from atft_gat_fan.config.schema import DataConfig
from atft_gat_fan.data.batches import DayBatches
from atft_gat_fan.data.normalizer import Normalizer
from atft_gat_fan.data.raw_features import RawFeatures, holds_prices
from atft_gat_fan.data.sources import open_source
from atft_gat_fan.metrics.rank_ic import daily_rank_ic
from atft_gat_fan.monitoring.daily_histograms import Bins, DailyHistograms, Rows
from atft_gat_fan.monitoring.observations import (
    GRAPH_DEGREE,
    NAN_SHARE,
    SCORED_SHARE,
    Observations,
    rank_correlations,
    score_rows,
)
from atft_gat_fan.monitoring.result import Family
from atft_gat_fan.runs.assembly import Report

STRETCH_DAYS = 32
NOTHING_STANDARDISED = (
    "the panel brings its features, and nothing is standardised within the day: as they come is as the model sees them"
)
NO_PRICES = "a built store holds no prices to derive them from: give the panel"
CHANGED = "the panel has changed since its store was built"
NO_GRAPH = "the model has no graph attention"

AllRows = Callable[[], Iterator[Rows]]
"""The same rows each time it is called."""


@dataclass(frozen=True)
class Subject:
    """What is observed: the panel `data.source` as `batches` has it, under the normaliser of the model."""

    data: DataConfig
    batches: DayBatches
    normalizer: Normalizer


def observe(
    subject: Subject,
    days: Int64[NDArray[np.int64], " days"],
    scores: Float[NDArray[np.float32], "days stocks horizons"],
    report: Report,
    bins: Mapping[Family, Bins] | None = None,
) -> Observations:
    """Observe consecutive `days` (positions in the store) and their `scores`, NaN where there is none.

    Values are counted in `bins`, by default in such as these days suggest; families without bins are left out. What
    is seen of a day depends on that day and those before it, realised RankIC aside.
    """
    assert len(days), "expected days"
    store = subject.batches.store
    period = slice(int(days[0]), int(days[-1]) + 1)
    assert period.stop - period.start == len(days), "expected consecutive days"
    present, labels = store.column("present", period), store.column("labels", period)
    scored = np.isfinite(scores).all(axis=2) & present
    rows, unavailable = _feature_rows(subject, days, report)
    names = subject.normalizer.feature_names
    horizons = tuple(f"{horizon}d" for horizon in store.horizons)
    families: dict[Family, DailyHistograms] = {}
    for family, (its_names, its_rows) in {
        **{family: (names, its_rows) for family, its_rows in rows.items()},
        "predictions": (horizons, lambda: iter([score_rows(scores)])),
    }.items():
        if bins is not None and family not in bins:
            continue
        its_bins = Bins.of(its_names, its_rows(), int(present.sum())) if bins is None else bins[family]
        families[family] = its_bins.count(its_rows(), len(days))
    of_model = families.get("standardised_features", families.get("raw_features"))
    degree = _graph_degree(subject.batches, days)
    return Observations(
        days=tuple(str(day) for day in store.days[period]),
        stocks=scored.sum(axis=1).astype(np.int64),
        families=families,
        numbers={
            **rank_correlations(scores, store.horizons),
            SCORED_SHARE: scored.sum(axis=1) / np.maximum(present.sum(axis=1), 1),
            **({} if of_model is None else {NAN_SHARE: of_model.daily_nan_share()}),
            **({} if degree is None else {GRAPH_DEGREE: degree}),
        },
        rank_ic={
            name: daily_rank_ic(scores[..., position], labels[..., position], present)
            for position, name in enumerate(horizons)
        },
        unavailable=unavailable,
        missing_numbers={GRAPH_DEGREE: NO_GRAPH} if degree is None else {},
    )


def _feature_rows(
    subject: Subject, days: Int64[NDArray[np.int64], " days"], report: Report
) -> tuple[dict[Family, AllRows], dict[Family, str]]:
    """Rows of each family of features that there is, and why there is none of the others."""
    store = subject.batches.store
    if store.metadata["features"] == "panel":
        return (
            {"raw_features": partial(_store_rows, subject, days, False)},
            {"standardised_features": NOTHING_STANDARDISED},
        )
    rows: dict[Family, AllRows] = {"standardised_features": partial(_store_rows, subject, days, True)}
    if not holds_prices(subject.data, report):
        return rows, {"raw_features": NO_PRICES}
    source = open_source(subject.data, report)
    if source.fingerprint != store.metadata["source_fingerprint"]:
        return rows, {"raw_features": CHANGED}
    dates = tuple(day.item() for day in store.days[days])
    names = subject.normalizer.feature_names
    raw = RawFeatures.open(subject.data, dates, names, partial(report, "checking the panel"), source)
    return {"raw_features": partial(raw.stretches, partial(report, "features before standardising")), **rows}, {}


def _store_rows(subject: Subject, days: Int64[NDArray[np.int64], " days"], scaled: bool) -> Iterator[Rows]:
    """The features of the stocks present, missing ones NaN; `scaled` as the normaliser does before it fills them."""
    store = subject.batches.store
    normalizer = subject.normalizer.aligned_to(store.feature_names)
    kept = normalizer.kept
    for begin in range(0, len(days), STRETCH_DAYS):
        positions, values = [], []
        for place, day in enumerate(days[begin : begin + STRETCH_DAYS].tolist(), begin):
            block = store.block(day, 1, 1)
            of_day = block.features[0][block.present[0]].take(kept, axis=-1)
            positions.append(np.full(len(of_day), place, np.int64))
            values.append((of_day - normalizer.mean) / normalizer.std if scaled else of_day)
        yield np.concatenate(positions), np.concatenate(values)


def _graph_degree(
    batches: DayBatches, days: Int64[NDArray[np.int64], " days"]
) -> Float[NDArray[np.float64], " days"] | None:
    """Mean number of neighbours of a stock on each day, itself not counted; NaN without stocks."""
    if batches.graph is None:
        return None
    degrees = np.full(len(days), np.nan)
    for place, day in enumerate(days.tolist()):
        stocks = batches.stocks(day)
        if len(stocks):
            neighbours = batches.graph.at(np.array([day]), stocks, np.ones((1, len(stocks)), np.bool_))
            degrees[place] = float(neighbours.mask.sum()) / len(stocks) - 1
    return degrees
