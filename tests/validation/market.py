"""Trials and outcomes with a planted effect, for tests of what is made of them."""

import numpy as np

from atft_gat_fan.config.load import from_mapping
from atft_gat_fan.data.folds import Fold
from atft_gat_fan.validation.arms import make_arms
from atft_gat_fan.validation.comparison import Outcomes
from atft_gat_fan.validation.divergence import Divergence
from atft_gat_fan.validation.outcome import TrialOutcome
from atft_gat_fan.validation.plan import make_trials

FOLDS = (
    Fold("2010-01-04", "2018-12-31", "2019-06-30", "2019-07-01", "2020-02-04"),
    Fold("2010-01-04", "2019-06-30", "2019-12-31", "2020-02-05", "2020-12-31"),
)
DAYS = 300
GRID = {"lr_factors": [1.0, 10.0], "spike_shares": [0.0, 0.001]}


def make_config(*, stress=None, **validation):
    return from_mapping(
        {
            "data": {"horizons": [1, 5]},
            "validation": {"seeds": [1, 2, 3, 4], "num_resamples": 999, "stress": GRID | (stress or {}), **validation},
        }
    )


def make_outcomes(config, effects, noise=0.01, *, only=(), diverged=(), memory=None, seconds=None):
    """Outcomes of every trial: baseline RankIC + effect of the arm + noise, days and market shared by all arms."""
    arms = make_arms(config, only)
    trials = make_trials(config, arms, FOLDS[: config.validation.folds])
    market = np.random.default_rng(0).normal(0.03, 0.1, (len(FOLDS), DAYS))
    found = {}
    for number, trial in enumerate(trials):
        rng = np.random.default_rng(number)
        effect = effects.get(trial.arm, 0.0)
        daily = market[trial.fold] + effect + rng.normal(0, noise, DAYS) + rng.normal(0, noise / 20)
        rounds = config.validation.timing.rounds
        timed = trial.kind == "timing"
        slower = (seconds or {}).get(trial.arm, 1.0)
        found[trial.name] = TrialOutcome(
            days=tuple(str(day) for day in np.datetime64(FOLDS[trial.fold].test_start) + np.arange(DAYS)),
            daily_rank_ic=None if timed else {h: tuple(daily.tolist()) for h in config.data.horizons},
            stocks=50.0,
            seconds=None if timed else 10.0,
            parameters=1000,
            epochs=3,
            peak_private_bytes=None if timed else int(1e8 * (memory or {}).get(trial.arm, 1.0)),
            divergence=None
            if timed
            else Divergence(("spike",) if trial.kind == "stress" and trial.arm in diverged else ()),
            baseline_seconds=tuple(1.0 + 0.1 * (i % 3) for i in range(2 * rounds)) if timed else (),
            variant_seconds=tuple(slower * (1.0 + 0.1 * (i % 3)) for i in range(2 * rounds)) if timed else (),
        )
    return arms, Outcomes(trials, found)
