"""Mean and variance of columns seen piece by piece, merged exactly.

Chan, Golub & LeVeque 1979, "Updating Formulae and a Pairwise Algorithm for Computing Sample Variances", eq. 2.1.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64


@dataclass(frozen=True, eq=False)
class RunningMoments:
    """Of the values of each column that are not NaN: how many, their mean, and their squared deviations from it."""

    count: Int64[np.ndarray, " columns"]
    mean: Float64[np.ndarray, " columns"]
    squares: Float64[np.ndarray, " columns"]

    @classmethod
    def of(cls, values: Float32[np.ndarray, "rows columns"]) -> "RunningMoments":
        """In two passes, in float64."""
        known = ~np.isnan(values)
        count = np.count_nonzero(known, axis=0)
        # Zeros for what is missing: sums with `where=` take twice the time.
        filled = np.where(known, values, np.float32(0)).astype(np.float64)
        mean = filled.sum(axis=0) / np.maximum(count, 1)
        filled -= mean
        filled *= known
        filled *= filled
        return cls(count, mean, filled.sum(axis=0))

    def merge(self, other: "RunningMoments") -> "RunningMoments":
        """The moments of the values of both."""
        count = self.count + other.count
        share = other.count / np.maximum(count, 1)
        apart = other.mean - self.mean
        return RunningMoments(
            count, self.mean + apart * share, self.squares + other.squares + apart**2 * self.count * share
        )

    @property
    def std(self) -> Float64[np.ndarray, " columns"]:
        """Of the population; 0 where nothing was seen."""
        std: np.ndarray = np.sqrt(self.squares / np.maximum(self.count, 1))
        return std

    @property
    def constant(self) -> Bool[np.ndarray, " columns"]:
        """No two different values were seen. Exact: n equal float32 values have an exact float64 sum for n < 2^29."""
        constant: np.ndarray = self.squares == 0
        return constant
