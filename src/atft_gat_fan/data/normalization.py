"""Features on one scale: statistics of the training days, and a panel normalised with them once, in memory."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any

import numpy as np
from jaxtyping import Float, Float32, Float64, Int64, Shaped

from atft_gat_fan.data.running_moments import RunningMoments
from atft_gat_fan.data.store import Block, Store
from atft_gat_fan.errors import DataError, Problem


@dataclass(frozen=True, eq=False)
class Normalizer:
    """Standardises features: (x - mean) / population std. A missing value becomes 0, the training mean.

    Takes the columns `input_names` [I] and keeps `feature_names` [F] of them, which `mean`, `std` and `counts` (values
    seen) are of; `dropped` names the others, each with the reason.
    """

    input_names: tuple[str, ...]
    feature_names: tuple[str, ...]
    mean: Float64[np.ndarray, " features"]
    std: Float64[np.ndarray, " features"]
    counts: Int64[np.ndarray, " features"]
    dropped: Mapping[str, str]

    def apply(self, features: Float[np.ndarray, "*rows inputs"]) -> Float32[np.ndarray, "*rows features"]:
        """Arithmetic in float64; the result is finite."""
        assert features.shape[-1] == len(self.input_names), f"expected {self.input_names}, got {features.shape[-1]}"
        kept = [self.input_names.index(name) for name in self.feature_names]
        scaled: np.ndarray = (features[..., kept].astype(np.float64) - self.mean) / self.std
        scaled[np.isnan(scaled)] = 0.0
        return scaled.astype(np.float32)

    def aligned_to(self, names: Sequence[str]) -> "Normalizer":
        """The same for a panel with the columns `names`, in any order. DataError where it lacks one that is kept."""
        missing = [name for name in self.feature_names if name not in names]
        if missing:
            raise DataError(Problem(f"expected the features of the training data, found none of {missing}"))
        return replace(self, input_names=tuple(names))

    def to_json(self) -> dict[str, Any]:
        return {
            "input_names": list(self.input_names),
            "feature_names": list(self.feature_names),
            "mean": self.mean.tolist(),
            "std": self.std.tolist(),
            "counts": self.counts.tolist(),
            "dropped": dict(self.dropped),
        }

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> "Normalizer":
        """Exactly the normaliser that `to_json` was called on: floats survive JSON."""
        return cls(
            input_names=tuple(body["input_names"]),
            feature_names=tuple(body["feature_names"]),
            mean=np.array(body["mean"], dtype=np.float64),
            std=np.array(body["std"], dtype=np.float64),
            counts=np.array(body["counts"], dtype=np.int64),
            dropped=dict(body["dropped"]),
        )


def fit_normalizer(store: Store, days: Int64[np.ndarray, " days"], *, strict: bool) -> Normalizer:
    """Statistics of the known values of `days` (positions), the training days; nothing else is read.

    Merged day by day, so they do not depend on how the store is divided into files. Columns that are constant or
    empty on those days are dropped, or with `strict` refused: DataError, as when none is left.
    """
    assert len(days) > 0, "expected training days"
    moments = reduce(RunningMoments.merge, (RunningMoments.of(store.block(int(day), 1, 1).features[0]) for day in days))
    dropped = {
        name: "empty" if empty else "constant"
        for name, empty, constant in zip(store.feature_names, moments.count == 0, moments.constant, strict=True)
        if constant
    }
    if dropped and (strict or len(dropped) == len(store.feature_names)):
        where = f"{store.path}, {store.days[days[0]]} to {store.days[days[-1]]}"
        mend = "leave it out of data.features" + (", or set data.strict=false to drop it" if strict else "")
        raise DataError(
            [
                Problem(f"feature {name}: expected different values on the training days, found it {why}", where, mend)
                for name, why in dropped.items()
            ]
        )
    kept = ~moments.constant
    return Normalizer(
        input_names=store.feature_names,
        feature_names=tuple(name for name in store.feature_names if name not in dropped),
        mean=moments.mean[kept],
        std=moments.std[kept],
        counts=moments.count[kept],
        dropped=dropped,
    )


@dataclass(frozen=True, eq=False)
class NormalizedStore:
    """A store with normalised, finite features, all in memory; blocks are views of it.

    Labels, returns, dollar volume and presence are those of the store.
    """

    store: Store
    normalizer: Normalizer
    panel: Block
    """All days of the store."""

    @property
    def days(self) -> Shaped[np.ndarray, " days"]:
        return self.store.days

    @property
    def codes(self) -> tuple[str, ...]:
        return self.store.codes

    @property
    def static(self) -> Int64[np.ndarray, " stocks"]:
        return self.store.static

    @property
    def static_categories(self) -> tuple[str, ...]:
        return self.store.static_categories

    @property
    def horizons(self) -> tuple[int, ...]:
        return self.store.horizons

    @property
    def feature_names(self) -> tuple[str, ...]:
        return self.normalizer.feature_names

    def breaks(self, count: int, window: int) -> tuple[int, ...]:
        """As of the store, so that batches do not depend on where features are normalised."""
        return self.store.breaks(count, window)

    def block(self, first: int, count: int, window: int) -> Block:
        """Views of the span of days first..first+count-1. DataError for days without a whole window."""
        return self.panel.days(self.store.span(first, count, window))

    def column(self, name: str, days: slice = slice(None)) -> Shaped[np.ndarray, "days stocks ..."]:
        """One of a block's arrays, by its name, over consecutive days; a view."""
        values: np.ndarray = getattr(self.panel, name)
        return values[days]


def nbytes_needed(store: Store, normalizer: Normalizer) -> int:
    """Memory that `materialise` takes, known beforehand: four bytes a value, one for presence."""
    values = len(normalizer.feature_names) + len(store.horizons) + 2
    return len(store.days) * len(store.codes) * (4 * values + 1)


def materialise(store: Store, normalizer: Normalizer) -> NormalizedStore:
    """Normalises all of a store into memory, once. DataError when the store lacks a feature."""
    normalizer = normalizer.aligned_to(store.feature_names)
    features = np.empty((len(store.days), len(store.codes), len(normalizer.feature_names)), np.float32)
    for day in range(len(store.days)):
        features[day] = normalizer.apply(store.block(day, 1, 1).features[0])
    panel = Block(
        stocks=np.arange(len(store.codes)),
        features=features,
        labels=store.column("labels"),
        returns=store.column("returns"),
        dollar_volume=store.column("dollar_volume"),
        present=store.column("present"),
    )
    return NormalizedStore(store, normalizer, panel)
