"""When to stop, and which weights to keep: the best smoothed validation RankIC."""

from dataclasses import dataclass


@dataclass
class SmoothedBest:
    """Exponentially smoothed score, its best value so far, and how long ago that was.

    smoothed = smoothing * past + (1 - smoothing) * value; the first value counts in full.
    """

    smoothed: float | None = None
    best: float | None = None
    best_step: int | None = None
    since_best: int = 0

    def update(self, value: float | None, step: int, smoothing: float) -> bool:
        """Take in the score of a validation after `step` steps; True where it is the best so far.

        An unknown score (None: no day had a RankIC) says nothing for or against the weights.
        """
        if value is None:
            return False
        self.smoothed = value if self.smoothed is None else smoothing * self.smoothed + (1 - smoothing) * value
        if self.best is None or self.smoothed > self.best:
            self.best, self.best_step, self.since_best = self.smoothed, step, 0
            return True
        self.since_best += 1
        return False
