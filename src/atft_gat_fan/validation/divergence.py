"""Did a training diverge? Decided on its loss, the loss of a constant predictor on the same days, and what it predicts.

Losses are divided by the constant predictor's on the days of the same step: a calm month's batch and a crash's differ
tenfold for reasons that are not the model's, and the minimum of a raw curve would be the calmest batch ever drawn.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float
from numpy.typing import NDArray

from atft_gat_fan.metrics.dispersion import collapse_share, daily_dispersion

Reason = Literal["non_finite", "spike", "worse_than_constant", "collapse"]
REASONS: tuple[Reason, ...] = ("non_finite", "spike", "worse_than_constant", "collapse")

SPIKE_FACTOR, SPIKE_STEPS = 3.0, 100
CONSTANT_FACTOR = 1.05
FINAL_SHARE, FINAL_STEPS = 0.1, 20
"""The end of a curve: its last tenth, at least twenty steps."""
COLLAPSE_SPREAD, COLLAPSE_DAYS = 1e-3, 0.05

DEFINITION = (
    "A training has diverged if a loss or gradient was not finite; or its loss, in units of a constant predictor's on "
    f"the same days, stayed above {SPIKE_FACTOR:g} times its running minimum for {SPIKE_STEPS} steps in a row, or over "
    f"the last {FINAL_SHARE:.0%} of the steps (at least {FINAL_STEPS}) averaged more than {CONSTANT_FACTOR:g}; or it "
    f"collapsed: at some horizon its predictions spread over a day's stocks less than {COLLAPSE_SPREAD:g} of what the "
    f"labels do, or are all the same on more than {COLLAPSE_DAYS:.0%} of the days."
)


@dataclass(frozen=True)
class Divergence:
    """Why a training counts as diverged; no reason, no divergence."""

    reasons: tuple[Reason, ...]

    @property
    def diverged(self) -> bool:
        return bool(self.reasons)


def diagnose(
    losses: Float[NDArray[np.float64], " steps"],
    constant_losses: Float[NDArray[np.float64], " steps"],
    scores: Float[NDArray[np.floating], "days stocks horizons"] | None,
    labels: Float[NDArray[np.floating], "days stocks horizons"],
    present: Bool[NDArray[np.bool_], "days stocks"],
    *,
    gave_up: bool = False,
) -> Divergence:
    """Every reason that holds.

    `losses` and `constant_losses` of each optimizer step, NaN where the step's was not finite or had no labels
    (`constant_losses` NaN or 0: left out); `scores` of the test days in label units, NaN where a stock is absent, None
    where training `gave_up` for numbers that were not finite; `labels` as the loss sees them.
    """
    usable = np.isfinite(constant_losses) & (constant_losses > 0)
    relative = losses[usable] / constant_losses[usable]
    found = {
        "non_finite": gave_up or not np.isfinite(relative).all(),
        "spike": spiked(relative),
        "worse_than_constant": worse_than_constant(relative),
        "collapse": scores is not None and collapsed(scores, labels, present),
    }
    return Divergence(tuple(reason for reason in REASONS if found[reason]))


def spiked(relative: Float[NDArray[np.float64], " steps"]) -> bool:
    """Whether the loss stayed above 3 times its running minimum for 100 steps in a row; NaN is above anything."""
    lowest = np.fmin.accumulate(relative)
    above = ~(relative <= SPIKE_FACTOR * lowest)
    run = 0
    for is_above in above:
        run = run + 1 if is_above else 0
        if run >= SPIKE_STEPS:
            return True
    return False


def worse_than_constant(relative: Float[NDArray[np.float64], " steps"]) -> bool:
    """Whether the end of the curve lies above 1.05 times the constant predictor's; a constant-level loss does not."""
    if not relative.size:
        return False
    end = relative[-max(FINAL_STEPS, int(FINAL_SHARE * relative.size)) :]
    end = end[np.isfinite(end)]
    return bool(end.size) and float(end.mean()) > CONSTANT_FACTOR


def collapsed(
    scores: Float[NDArray[np.floating], "days stocks horizons"],
    labels: Float[NDArray[np.floating], "days stocks horizons"],
    present: Bool[NDArray[np.bool_], "days stocks"],
) -> bool:
    """Whether predictions no longer tell stocks apart at some horizon; horizons without a labelled day are left out."""
    for h in range(scores.shape[2]):
        spread = daily_dispersion(scores[..., h], present)
        label_spread = daily_dispersion(labels[..., h], present)
        known = np.isfinite(spread) & np.isfinite(label_spread)
        if not known.any():
            continue
        if float(spread[known].mean()) < COLLAPSE_SPREAD * float(label_spread[known].mean()):
            return True
        if collapse_share(scores[..., h], present) > COLLAPSE_DAYS:
            return True
    return False
