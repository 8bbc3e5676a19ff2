"""Mean and variance of columns seen piece by piece, merged exactly.

Chan, Golub & LeVeque 1979, "Updating Formulae and a Pairwise Algorithm for Computing Sample Variances", eq. 2.1.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64


@dataclass(frozen=True, eq=False)
class RunningMoments:
    """Of the values of each column that are not NaN: how many, their mean, squared deviations, least and greatest."""

    count: Int64[np.ndarray, " columns"]
    mean: Float64[np.ndarray, " columns"]
    squares: Float64[np.ndarray, " columns"]
    """Sum of squared deviations from the mean."""
    least: Float64[np.ndarray, " columns"]
    greatest: Float64[np.ndarray, " columns"]

    @classmethod
    def of(cls, values: Float[np.ndarray, "rows columns"]) -> "RunningMoments":
        """In two passes, the second of which also takes back the rounding of the first."""
        values = values.astype(np.float64)
        known = ~np.isnan(values)
        count = known.sum(axis=0)
        at_least_one = np.maximum(count, 1)
        mean = values.sum(axis=0, where=known) / at_least_one
        deviation = np.where(known, values - mean, 0.0)
        rest = deviation.sum(axis=0) / at_least_one
        return cls(
            count=count,
            mean=mean + rest,
            squares=np.maximum(np.square(deviation).sum(axis=0) - count * rest**2, 0.0),
            least=np.fmin.reduce(values, axis=0, initial=np.inf),
            greatest=np.fmax.reduce(values, axis=0, initial=-np.inf),
        )

    def merge(self, other: "RunningMoments") -> "RunningMoments":
        """The moments of the values of both."""
        count = self.count + other.count
        share = other.count / np.maximum(count, 1)
        apart = other.mean - self.mean
        return RunningMoments(
            count=count,
            mean=self.mean + apart * share,
            squares=self.squares + other.squares + apart**2 * self.count * share,
            least=np.minimum(self.least, other.least),
            greatest=np.maximum(self.greatest, other.greatest),
        )

    @property
    def std(self) -> Float64[np.ndarray, " columns"]:
        """Of the population; 0 where nothing was seen."""
        std: np.ndarray = np.sqrt(self.squares / np.maximum(self.count, 1))
        return std

    @property
    def constant(self) -> Bool[np.ndarray, " columns"]:
        """No two different values were seen. Decided without rounding, which a variance of zero is not."""
        return self.least >= self.greatest
