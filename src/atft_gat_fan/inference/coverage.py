"""Who was scored and who was not, and on how little some scores rest."""

from dataclasses import asdict, astuple, dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int64
from numpy.typing import NDArray

from atft_gat_fan.data.batches import DayBatches

FEW = 0.5
"""Share of unknown features above which few are known."""


@dataclass(frozen=True)
class Coverage:
    """Counts of stock-days. A stock is expected on a day when it has a row on that day or in the window before."""

    scored: int = 0
    no_row: int = 0
    """Not scored: suspended, delisted, or not delivered that day."""
    not_finite: int = 0
    """Not scored: the network's answer was no number."""
    short_history: int = 0
    """Scored, with rows on only some days of the window: newly listed, or suspended meanwhile."""
    few_features: int = 0
    """Scored, with less than half of the day's features known: in place of the others stands the training mean."""
    unknown_category: int = 0
    """Scored, of a static category that the training never saw, or of none."""

    def __add__(self, other: "Coverage") -> "Coverage":
        return Coverage(*(one + another for one, another in zip(astuple(self), astuple(other), strict=True)))

    @property
    def share(self) -> float:
        """Scored ones among the expected."""
        return self.scored / max(1, self.scored + self.no_row + self.not_finite)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def coverage(
    batches: DayBatches,
    days: Int64[NDArray[np.int64], " days"],
    scores: Float[NDArray[np.float32], "days stocks horizons"],
    *,
    categories: bool,
) -> Coverage:
    """Of the `scores` of panel days, NaN where there is none, made of these batches.

    `categories`: whether the model knows any, and so can miss one.
    """
    total, kept = Coverage(), batches.data.normalizer.kept
    for row, day in enumerate(days.tolist()):
        block = batches.data.block(day, 1, batches.window)
        here = block.present[-1]
        finite = np.isfinite(scores[row, block.stocks]).all(axis=-1) & here
        unknown = np.isnan(block.features[-1][:, kept]).mean(axis=-1)
        total += Coverage(
            scored=_count(finite),
            no_row=_count(block.present.any(axis=0) & ~here),
            not_finite=_count(here & ~finite),
            short_history=_count(finite & ~block.present.all(axis=0)),
            few_features=_count(finite & (unknown > FEW)),
            unknown_category=_count(finite & (batches.static[block.stocks] == 0)) if categories else 0,
        )
    return total


def _count(which: NDArray[np.bool_]) -> int:
    return int(np.count_nonzero(which))
