"""Daily differences of seeds x days with known parts: a serially correlated day effect, seeds, and a residual."""

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from scipy.signal import lfilter


def autoregressive(rng: np.random.Generator, shape: tuple[int, ...], correlation: float) -> NDArray[np.float64]:
    """Stationary AR(1) of unit variance along the last axis."""
    warm_up = 50
    noise = rng.normal(size=(*shape[:-1], shape[-1] + warm_up))
    series: NDArray[np.float64] = lfilter([np.sqrt(1 - correlation**2)], [1, -correlation], noise)[..., warm_up:]
    return series


def paired_differences(
    rng: np.random.Generator,
    num_seeds: int,
    num_days: int,
    *,
    day: float = 0.5,
    seed: float = 0.0,
    residual: float = 1.0,
    correlation: float = 0.3,
) -> Float[NDArray[np.float64], "seeds days"]:
    """Mean 0; `day` and `residual` are daily standard deviations, `seed` is one of seeds' means times sqrt(days)."""
    return (
        day * autoregressive(rng, (1, num_days), correlation)
        + seed * rng.normal(size=(num_seeds, 1)) / np.sqrt(num_days)
        + residual * autoregressive(rng, (num_seeds, num_days), correlation)
    )
