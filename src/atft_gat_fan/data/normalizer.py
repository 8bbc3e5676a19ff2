"""Features on one scale: the statistics of the training days, and what they do to a panel's values."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Any

import numpy as np
from jaxtyping import Float, Float32, Float64, Int64

from atft_gat_fan.data.features import columns_behind, is_derivable
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

    @property
    def kept(self) -> Int64[np.ndarray, " features"]:
        """Positions of the features among the input columns."""
        return np.array([self.input_names.index(name) for name in self.feature_names], dtype=np.int64)

    def apply(self, features: Float[np.ndarray, "*rows inputs"]) -> Float32[np.ndarray, "*rows features"]:
        """Arithmetic in float64; the result is finite. Value by value, so that it does not depend on the other rows."""
        assert features.shape[-1] == len(self.input_names), f"expected {self.input_names}, got {features.shape[-1]}"
        scaled = features.take(self.kept, axis=-1).astype(np.float64)
        scaled -= self.mean
        scaled /= self.std
        scaled[np.isnan(scaled)] = 0.0
        return scaled.astype(np.float32)

    def aligned_to(self, names: Sequence[str]) -> "Normalizer":
        """The same for a panel with the columns `names`, in any order. DataError where it lacks one that is kept."""
        missing = [name for name in self.feature_names if name not in names]
        if missing:
            raise DataError(
                Problem(
                    f"expected the features of the training data, found none of {missing}", mend=_mend(missing, names)
                )
            )
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
        """Exactly the normaliser that `to_json` was called on: floats survive JSON.

        Raises ValueError, KeyError or TypeError for what is none: `apply` would make NaN of it, or other columns.
        """
        read = cls(
            input_names=_names(body, "input_names"),
            feature_names=_names(body, "feature_names"),
            mean=np.array(body["mean"], dtype=np.float64),
            std=np.array(body["std"], dtype=np.float64),
            counts=np.array(body["counts"], dtype=np.int64),
            dropped=dict(body["dropped"]),
        )
        for key in ("mean", "std", "counts"):
            if (found := getattr(read, key).shape) != (len(read.feature_names),):
                raise ValueError(f"{key} of shape {found} for {len(read.feature_names)} features")
        if not set(read.feature_names) <= set(read.input_names):
            raise ValueError("feature_names that are not in input_names")
        if not (np.isfinite(read.mean).all() and np.isfinite(read.std).all() and (read.std > 0).all()):
            raise ValueError("a mean that is not finite, or a std that is not finite and above 0")
        if not (read.counts > 0).all():
            raise ValueError("features of which no value was seen (counts)")
        return read


def _mend(missing: Sequence[str], names: Sequence[str]) -> str:
    if all(map(is_derivable, missing)):
        return f"give a panel with {', '.join(columns_behind(missing))}, which they are made of"
    near = {name: get_close_matches(name, names, n=1) for name in missing}
    renamed = [f"{found[0]} to {name}" for name, found in near.items() if found]
    return f"add them, or rename {', '.join(renamed)}" if renamed else "add them to the panel"


def _names(body: Mapping[str, Any], key: str) -> tuple[str, ...]:
    names = body[key]
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise TypeError(f"{key} that are not a list of names")
    if len(set(names)) < len(names):
        raise ValueError(f"{key} that repeat")
    return tuple(names)
