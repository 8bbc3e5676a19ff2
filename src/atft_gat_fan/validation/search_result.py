"""What a search found, `search.json`: how good the best configuration is, and how much of that is luck."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from atft_gat_fan.statistics.deflation import deflated_icir
from atft_gat_fan.validation.outcome import TrialOutcome

UNSEEN = "the test days were not looked at: evaluate the best configuration on them once, at the end"


@dataclass(frozen=True)
class SearchTrial:
    """One configuration that was tried. RankIC and ICIR are of the validation days, means over the horizons."""

    number: int
    state: Literal["complete", "pruned", "failed"]
    arguments: tuple[str, ...]
    rank_ic: float | None
    """Of the weights that were kept; of a pruned training the last, smoothed. None: it failed."""
    icir: float | None
    """A day; of a pruned training from its last RankIC and the usual spread of the days. None: unknown."""
    by_epoch: tuple[float, ...]
    """Smoothed RankIC after each epoch."""
    seconds: float | None
    folder: str
    why: str = ""


@dataclass(frozen=True)
class Luck:
    """Whether the best is better than the best of as many useless configurations (`statistics.deflation`)."""

    tried: int
    variance: float | None
    """Of the ICIR across the trials."""
    icir: float | None
    """Of the best, a day."""
    expected_maximum: float | None
    effective_days: float | None
    p_undeflated: float | None
    p: float | None


@dataclass(frozen=True)
class SearchResult:
    command: str
    data: str
    space: tuple[str, ...]
    days: tuple[str, str, int]
    """First, last and number of the validation days."""
    horizons: tuple[int, ...]
    trials: tuple[SearchTrial, ...]
    best: int | None
    """Number of the trial of the greatest RankIC among the complete ones."""
    luck: Luck | None
    importance: Mapping[str, float]
    """Share of each parameter in what tells good trials from others; empty where it could not be said."""
    best_config: str | None
    """File to train it with, as `config=`."""
    test: str = UNSEEN

    @property
    def ranked(self) -> list[SearchTrial]:
        """Complete trials, the best first."""
        complete = [each for each in self.trials if each.state == "complete" and each.rank_ic is not None]
        return sorted(complete, key=lambda each: (-(each.rank_ic or 0.0), each.number))

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def daily_mean(outcome: TrialOutcome) -> Float[NDArray[np.float64], " days"]:
    """RankIC of each validation day, mean over the horizons that have one; NaN on a day without."""
    assert outcome.daily_rank_ic is not None
    rows = np.array([[np.nan if v is None else v for v in of_h] for of_h in outcome.daily_rank_ic.values()], np.float64)
    known = np.isfinite(rows)
    counts = known.sum(axis=0)
    total = np.where(known, rows, 0.0).sum(axis=0)
    mean: NDArray[np.float64] = np.divide(total, counts, out=np.full(total.shape, np.nan), where=counts > 0)
    return mean


def score(outcome: TrialOutcome) -> float:
    """Validation RankIC of the kept weights: what the search maximises. 0 where no day has one."""
    daily = daily_mean(outcome)
    known = daily[np.isfinite(daily)]
    return float(known.mean()) if known.size else 0.0


def icirs(trials: Sequence[SearchTrial], outcomes: Mapping[int, TrialOutcome]) -> list[float | None]:
    """ICIR a day of each trial. Pruned ones, of which only the mean is known, have the spread of the others: leaving
    out the worst would make the trials look alike, and the best less lucky than it is.
    """
    spreads = {number: float(np.nanstd(daily_mean(outcome), ddof=1)) for number, outcome in outcomes.items()}
    usual = float(np.median(list(spreads.values()))) if spreads else 0.0
    found: list[float | None] = []
    for trial in trials:
        spread = spreads.get(trial.number, usual)
        known = trial.rank_ic is not None and spread > 0
        found.append(trial.rank_ic / spread if known and trial.rank_ic is not None else None)
    return found


def judge_luck(best: TrialOutcome, trial_icirs: Sequence[float | None], horizons: Sequence[int]) -> Luck:
    """Deflate the best trial's daily RankIC by all that was tried, failed and pruned ones included: one ICIR each."""
    known = np.array([np.nan if each is None else each for each in trial_icirs], np.float64)
    found = deflated_icir(daily_mean(best), known, horizon=max(horizons))
    return Luck(
        tried=found.num_trials,
        variance=_finite(found.variance),
        icir=_finite(found.ratio.icir),
        expected_maximum=_finite(found.expected_maximum),
        effective_days=_finite(found.ratio.effective_days),
        p_undeflated=_finite(found.p_undeflated),
        p=_finite(found.p),
    )


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None
