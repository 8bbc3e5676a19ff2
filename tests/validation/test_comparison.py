"""Pairs share seed, fold and stress point; days of the folds follow one another."""

import numpy as np

from atft_gat_fan.validation.comparison import Outcomes
from tests.validation.market import DAYS, make_config, make_outcomes


def test_differences_are_of_the_same_seed_and_day():
    config = make_config(folds=2)
    _, outcomes = make_outcomes(config, {"use_ema": 0.01}, noise=0.0)
    difference = outcomes.differences("use_ema", "baseline", 5, config.validation.seeds)
    assert difference.shape == (4, 2 * DAYS)
    np.testing.assert_allclose(difference, 0.01)
    assert outcomes.num_days() == 2 * DAYS


def test_a_missing_trial_leaves_its_days_unknown_and_the_others_in_place():
    config = make_config(folds=2)
    _, outcomes = make_outcomes(config, {"use_ema": 0.01}, noise=0.0)
    lost = next(t for t in outcomes.trials if (t.arm, t.kind, t.seed, t.fold) == ("use_ema", "rank_ic", 2, 0))
    left = Outcomes(outcomes.trials, {name: each for name, each in outcomes.found.items() if name != lost.name})
    difference = left.differences("use_ema", "baseline", 1, config.validation.seeds)
    assert np.isnan(difference[1, :DAYS]).all()
    assert np.isfinite(difference[1, DAYS:]).all()
    assert np.isfinite(difference[[0, 2, 3]]).all()


def test_a_seed_of_which_nothing_is_known_is_left_out():
    config = make_config()
    _, outcomes = make_outcomes(config, {})
    found = {t.name: outcomes.found[t.name] for t in outcomes.trials if (t.arm, t.seed) != ("use_ema", 3)}
    left = Outcomes(outcomes.trials, found)
    assert left.differences("use_ema", "baseline", 1, config.validation.seeds).shape[0] == 3


def test_pairs_of_the_stress_grid_share_the_point():
    config = make_config(stress={"num_seeds": 2})
    _, outcomes = make_outcomes(config, {}, diverged=("baseline",))
    pairs = list(outcomes.pairs("use_ema", "baseline", "stress"))
    assert len(pairs) == 2 * 2 * 2
    assert all(baseline.divergence.diverged and not variant.divergence.diverged for variant, baseline in pairs)
    assert outcomes.diverged("baseline", "stress") == {"spike": 8}
