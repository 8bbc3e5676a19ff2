"""Learning rate over the steps of a run: a linear warm-up, then a decay that ends with the run."""

import math
from dataclasses import dataclass
from typing import Literal

WARMUP_SHARE = 0.1


@dataclass(frozen=True)
class Schedule:
    """Factor on the base learning rate at each step, a closed form of the step alone.

    `warmup_steps` is the wish; at most a tenth of the planned steps is used (`effective_warmup`), so
    that a short run also trains at its full rate. Cosine: Loshchilov and Hutter 2017, eq. 5, one cycle.
    """

    kind: Literal["cosine", "linear", "constant"]
    planned_steps: int
    warmup_steps: int

    @property
    def effective_warmup(self) -> int:
        return min(self.warmup_steps, int(WARMUP_SHARE * self.planned_steps))

    def __call__(self, step: int) -> float:
        """Factor in (0, 1] of step `step`, counted from 0."""
        assert 0 <= step < self.planned_steps
        warmup = self.effective_warmup
        if step < warmup:
            return (step + 1) / warmup
        if self.kind == "constant":
            return 1.0
        # The first step after the plan would have factor 0, so every planned step still learns.
        done = (step - warmup) / (self.planned_steps - warmup)
        return 1.0 - done if self.kind == "linear" else 0.5 * (1.0 + math.cos(math.pi * done))
