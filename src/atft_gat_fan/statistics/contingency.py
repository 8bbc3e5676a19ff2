"""Paired yes-or-no outcomes: does the variant diverge less often than its baseline under the same stress?"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool
from numpy.typing import NDArray
from scipy.stats import binomtest


@dataclass(frozen=True)
class PairedRates:
    """Of `pairs` pairs: the share of each arm where it happened, the discordant counts, McNemar's exact p."""

    pairs: int
    baseline: float
    variant: float
    only_baseline: int
    only_variant: int
    p: float


def mcnemar(only_baseline: int, only_variant: int) -> float:
    """Exact two-sided p that both discordant outcomes are as likely (McNemar 1947, binomial); 1 without discordance.

    Raises ValueError for negative counts.
    """
    if min(only_baseline, only_variant) < 0:
        raise ValueError(f"expected counts >= 0, got {only_baseline} and {only_variant}")
    discordant = only_baseline + only_variant
    return float(binomtest(only_baseline, discordant).pvalue) if discordant else 1.0


def paired_rates(
    baseline: Bool[NDArray[np.bool_], " pairs"], variant: Bool[NDArray[np.bool_], " pairs"]
) -> PairedRates:
    """Rates and exact test of pairs in the same order.

    No pairs give NaN rates. Raises ValueError for unequal lengths.
    """
    if baseline.shape != variant.shape:
        raise ValueError(f"expected pairs, got {baseline.size} baseline and {variant.size} variant outcomes")
    only_baseline, only_variant = int((baseline & ~variant).sum()), int((variant & ~baseline).sum())
    return PairedRates(
        pairs=baseline.size,
        baseline=float(baseline.mean()) if baseline.size else float("nan"),
        variant=float(variant.mean()) if variant.size else float("nan"),
        only_baseline=only_baseline,
        only_variant=only_variant,
        p=mcnemar(only_baseline, only_variant),
    )
