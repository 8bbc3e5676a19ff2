"""How far is a distribution from its reference? PSI, Kolmogorov-Smirnov and Wasserstein-1 from histograms.

Histograms rather than values: those of single days add up to that of any window, so a year of a market with hundreds of
features is a few megabytes, and rolling or resampling days is adding them. The bins are finer than deciles and reach 30
standard deviations beyond the reference's tails, so that a unit of measurement that changed is told from a drift.

Missing values are in no bin. They are counted apart, and judged as a share of their own.
"""

import numpy as np
from jaxtyping import Float, Int, Real
from numpy.typing import NDArray

LEVELS = np.array([0.005, 0.01, 0.025, *(level / 100 for level in range(5, 100, 5)), 0.975, 0.99, 0.995])
"""Quantiles of the reference that are edges of bins."""
BEYOND = np.array([1.0, 3.0, 10.0, 30.0])
"""Standard deviations beyond the outer quantiles that are edges too."""
NUM_EDGES = LEVELS.size + 2 * BEYOND.size
NUM_BINS = NUM_EDGES + 1
DECILES = np.array(
    [0, *(BEYOND.size + int(np.flatnonzero(np.isclose(LEVELS, tenth / 10))[0]) + 1 for tenth in range(1, 10))]
)
"""First bin of each tenth of the reference."""
HALF_A_COUNT = 0.5
RESOLUTION = 1e-9
"""Of a standard deviation, as a share of the values' size: below it there is no spread to scale by."""


def bin_edges(
    values: Float[NDArray[np.floating], " values"],
) -> tuple[Float[NDArray[np.float64], " edges"], float]:
    """Edges of the bins for a reference, not decreasing, and its standard deviation; non-finite values are left out.

    A sample is enough: edges need not be exact quantiles, because the reference is counted in the bins as well.
    Values without spread are given that of their size (1 for zeros), so that any change is seen. Without any value
    the edges are around 0.
    """
    known = np.asarray(values, dtype=np.float64)
    known = known[np.isfinite(known)]
    if not known.size:
        known = np.zeros(1)
    deviation, size = float(known.std()), float(np.abs(known).max())
    if deviation <= RESOLUTION * size:
        deviation = size or 1.0
    quantiles = np.quantile(known, LEVELS)
    beyond = BEYOND * deviation
    return np.concatenate([quantiles[0] - beyond[::-1], quantiles, quantiles[-1] + beyond]), deviation


def histogram(
    values: Float[NDArray[np.floating], " rows"],
    day: Int[NDArray[np.integer], " rows"],
    num_days: int,
    edges: Float[NDArray[np.float64], " edges"],
) -> Int[NDArray[np.int64], "days bins"]:
    """Counts in the bins of the finite values of each `day`; a value on an edge belongs to the bin below it."""
    known = np.isfinite(values)
    place = np.searchsorted(edges, values[known].astype(np.float64), side="left")
    counts = np.bincount(day[known] * NUM_BINS + place, minlength=num_days * NUM_BINS)
    return counts.reshape(num_days, NUM_BINS).astype(np.int64)


def population_stability_index(
    reference: Real[NDArray[np.generic], "*batch bins"], current: Real[NDArray[np.generic], "*batch bins"]
) -> Float[NDArray[np.float64], "*batch"]:
    """Σ (p - q) ln(p / q) over the reference's tenths (Siddiqi 2006, ch. 6), natural logarithm; NaN without counts.

    An empty bin would make it infinite: half a count is added to each tenth of both (Krichevsky and Trofimov 1981), to
    none where both are empty, as the tenths of a feature of few values are. Were the values independent, it would be
    about χ² with nine degrees times 1/n + 1/m under equality (Yurdakul 2018); those of a day are not.
    """
    counts = [np.add.reduceat(np.asarray(bins, np.float64), DECILES, axis=-1) for bins in (current, reference)]
    used = (counts[0] + counts[1]) > 0
    p, q = (_shares(np.where(used, count + HALF_A_COUNT, 0.0)) for count in counts)
    log_ratio = np.log(np.divide(p, q, out=np.ones_like(p), where=used & (q > 0)))
    nothing = (counts[0].sum(axis=-1) == 0) | (counts[1].sum(axis=-1) == 0)
    index: Float[NDArray[np.float64], "*batch"] = np.where(nothing, np.nan, ((p - q) * log_ratio).sum(axis=-1))
    return index


def _shares(counts: Float[NDArray[np.float64], "*batch bins"]) -> Float[NDArray[np.float64], "*batch bins"]:
    total = counts.sum(axis=-1, keepdims=True)
    shares: Float[NDArray[np.float64], "*batch bins"] = np.zeros_like(counts)
    np.divide(counts, total, out=shares, where=total > 0)
    return shares


def kolmogorov_smirnov(
    reference: Real[NDArray[np.generic], "*batch bins"], current: Real[NDArray[np.generic], "*batch bins"]
) -> Float[NDArray[np.float64], "*batch"]:
    """Largest difference of the two distribution functions at the edges, in [0, 1]; NaN without counts.

    Never above the statistic of the values themselves (Kolmogorov 1933; Smirnov 1939), and below it by at most what a
    bin holds.
    """
    distance: Float[NDArray[np.float64], "*batch"] = np.abs(_differences(reference, current)).max(axis=-1)
    return distance


def wasserstein(
    reference: Real[NDArray[np.generic], "*batch bins"],
    current: Real[NDArray[np.generic], "*batch bins"],
    edges: Float[NDArray[np.float64], "*batch edges"],
    deviation: Float[NDArray[np.float64], "*batch"],
) -> Float[NDArray[np.float64], "*batch"]:
    """∫ |F - G| dx between the outer edges (Vallender 1974), in standard deviations of the reference.

    The distribution functions are known at the edges and taken as straight in between, which a shift hardly notices: a
    mean that moves by 0.25 standard deviations gives 0.25. NaN without counts.
    """
    apart = np.abs(_differences(reference, current))
    area = ((apart[..., 1:] + apart[..., :-1]) / 2 * np.diff(edges, axis=-1)).sum(axis=-1)
    distance: Float[NDArray[np.float64], "*batch"] = area / deviation
    return distance


def _differences(
    reference: Real[NDArray[np.generic], "*batch bins"], current: Real[NDArray[np.generic], "*batch bins"]
) -> Float[NDArray[np.float64], "*batch edges"]:
    """Of the distribution functions, at the edges."""
    return _distribution(current) - _distribution(reference)


def _distribution(counts: Real[NDArray[np.generic], "*batch bins"]) -> Float[NDArray[np.float64], "*batch edges"]:
    summed = np.cumsum(counts, axis=-1, dtype=np.float64)
    total = summed[..., -1:]
    distribution: Float[NDArray[np.float64], "*batch edges"] = np.full(summed[..., :-1].shape, np.nan)
    np.divide(summed[..., :-1], total, out=distribution, where=total > 0)
    return distribution
