"""Outcomes of trials, paired: the same seed and fold (or stress point) of two arms side by side."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from atft_gat_fan.validation.divergence import REASONS
from atft_gat_fan.validation.outcome import TrialOutcome
from atft_gat_fan.validation.plan import Kind, Trial


@dataclass(frozen=True)
class Outcomes:
    """Finished trials with their outcomes; trials without one are not in `found`."""

    trials: Sequence[Trial]
    found: Mapping[str, TrialOutcome]
    """By the trial's name."""

    def of(self, arm: str, kind: Kind) -> dict[tuple[object, ...], TrialOutcome]:
        """The outcomes of an arm, by what a pair shares: seed, fold and stress point."""
        return {
            (trial.seed, trial.fold, trial.stress): self.found[trial.name]
            for trial in self.trials
            if trial.arm == arm and trial.kind == kind and trial.name in self.found
        }

    def pairs(self, variant: str, baseline: str, kind: Kind) -> Iterator[tuple[TrialOutcome, TrialOutcome]]:
        """(variant, baseline) of every pair of which both are finished."""
        of_baseline = self.of(baseline, kind)
        for shared, outcome in self.of(variant, kind).items():
            if shared in of_baseline:
                yield outcome, of_baseline[shared]

    def rank_ic(self, arm: str, horizon: int, seeds: Sequence[int]) -> Float[NDArray[np.float64], "seeds days"]:
        """Daily RankIC of an arm, its folds one after another; NaN where a day has none, or a trial no outcome."""
        by_seed = []
        lengths = self._fold_lengths()
        of_arm = self.of(arm, "rank_ic")
        for seed in seeds:
            parts = []
            for fold, length in lengths.items():
                outcome = of_arm.get((seed, fold, None))
                daily = None if outcome is None else outcome.daily_rank_ic
                parts.append(np.full(length, np.nan) if daily is None else np.array(daily[horizon], dtype=np.float64))
            by_seed.append(np.concatenate(parts) if parts else np.empty(0))
        return np.stack(by_seed)

    def differences(
        self, variant: str, baseline: str, horizon: int, seeds: Sequence[int]
    ) -> Float[NDArray[np.float64], "seeds days"]:
        """Daily RankIC of the variant minus the baseline's; seeds of which nothing is known are left out."""
        difference = self.rank_ic(variant, horizon, seeds) - self.rank_ic(baseline, horizon, seeds)
        return difference[np.isfinite(difference).any(axis=1)]

    def num_days(self) -> int:
        """Test days of all folds together."""
        return sum(self._fold_lengths().values())

    def diverged(self, arm: str, kind: Kind) -> dict[str, int]:
        """How many of the arm's trainings diverged for each reason that occurred; one may have several."""
        divergences = [outcome.divergence for outcome in self.of(arm, kind).values() if outcome.divergence is not None]
        counts = {reason: sum(reason in each.reasons for each in divergences) for reason in REASONS}
        return {reason: count for reason, count in counts.items() if count}

    def _fold_lengths(self) -> dict[int, int]:
        lengths: dict[int, int] = {}
        for trial in self.trials:
            if trial.kind == "rank_ic" and trial.name in self.found:
                lengths.setdefault(trial.fold, len(self.found[trial.name].days))
        return dict(sorted(lengths.items()))
