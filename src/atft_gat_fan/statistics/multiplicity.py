"""Improvements judged together: the chance that any useless one is called useful stays at the level."""

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray


def holm(p: Float[NDArray[np.float64], " tests"]) -> Float[NDArray[np.float64], " tests"]:
    """Adjusted p of each test, to be compared with the level itself (Holm 1979); under any dependence of the tests.

    NaN = not tested: stays NaN and does not count. Raises ValueError for a p outside [0, 1].
    """
    tested = np.isfinite(p)
    known = p[tested]
    if ((known < 0) | (known > 1)).any():
        raise ValueError(f"expected p in [0, 1], got {known.min():g}..{known.max():g}")
    order = np.argsort(known)
    stepped = np.minimum(np.maximum.accumulate(known[order] * np.arange(known.size, 0, -1)), 1.0)
    adjusted = np.full(p.shape, np.nan)
    adjusted[np.flatnonzero(tested)[order]] = stepped
    return adjusted
