"""Trials are paired: what is not the arm is the same."""

import json
from collections import defaultdict
from itertools import pairwise

import numpy as np
import pytest

from atft_gat_fan.config.load import from_mapping, overridden
from atft_gat_fan.data.splits import Split
from atft_gat_fan.errors import ConfigError
from atft_gat_fan.validation.arms import BASELINE, make_arms
from atft_gat_fan.validation.plan import Trial, laid_over, make_folds, make_trials

DAYS = np.arange(np.datetime64("2020-01-01"), np.datetime64("2022-01-01"))
SPLIT = Split(train=np.arange(19, 400), valid=np.arange(420, 500), test=np.arange(520, 731), purge=11, embargo=0)


def plan(**validation):
    config = from_mapping({"validation": validation})
    arms = make_arms(config)
    return config, make_trials(config, arms, make_folds(DAYS, SPLIT, config.validation.folds))


def test_arms_of_a_seed_and_fold_differ_in_the_improvements_alone():
    config, trials = plan(
        seeds=[4, 9], folds=2, leave_one_out=True, stress={"lr_factors": [1.0, 10.0], "spike_shares": [0.0, 0.001]}
    )
    by_pair = defaultdict(dict)
    for trial in trials:
        if trial.kind != "timing":
            by_pair[trial.kind, trial.seed, trial.fold, trial.stress][trial.arm] = trial
    assert len(by_pair) == 2 * 2 + 4
    for arms in by_pair.values():
        resolved = {
            name: overridden(config, trial.overrides).model_dump(exclude={"improvements"})
            for name, trial in arms.items()
        }
        assert len(resolved) >= 8
        assert all(values == resolved[BASELINE] for values in resolved.values())
        assert {trial.test_start for trial in arms.values()} == {arms[BASELINE].test_start}


def test_every_grid_point_stresses_what_it_names():
    config, trials = plan(
        seeds=[1, 2],
        stress={
            "lr_factors": [1.0, 3.0],
            "precisions": ["none", "bf16"],
            "spike_shares": [0.0, 0.001],
            "num_seeds": 2,
        },
    )
    stressed = [trial for trial in trials if trial.kind == "stress" and trial.arm == BASELINE]
    assert len({(trial.stress, trial.seed) for trial in stressed}) == 2 * 2 * 2 * 2
    for trial in stressed:
        made = overridden(config, trial.overrides)
        assert made.optimizer.lr == config.optimizer.lr * trial.stress.lr_factor
        assert made.amp == trial.stress.precision
        assert made.train.max_steps == config.validation.stress.max_steps
        assert made.recovery.max_rollbacks == 0


def test_names_are_distinct_and_no_stress_or_timing_can_be_had():
    _, trials = plan(leave_one_out=True, folds=2)
    assert len({trial.name for trial in trials}) == len(trials)
    _, trials = plan(stress={"num_seeds": 0}, timing={"rounds": 0})
    assert {trial.kind for trial in trials} == {"rank_ic"}


def test_folds_cover_the_test_days_and_train_before_them():
    folds = make_folds(DAYS, SPLIT, 3)
    assert folds[0].test_start == str(DAYS[520])
    assert folds[-1].test_end == str(DAYS[730])
    for fold, following in pairwise(folds):
        assert np.datetime64(fold.test_end) + 1 == np.datetime64(following.test_start)
    for fold in folds:
        assert fold.train_end < fold.valid_end < fold.test_start
        # As long a validation as the split's, its purge included.
        assert (np.datetime64(fold.valid_end) - np.datetime64(fold.train_end)).astype(int) == 520 - 420


def test_one_fold_is_the_configured_split():
    (fold,) = make_folds(DAYS, SPLIT, 1)
    assert fold.train_end == str(DAYS[419])
    assert fold.valid_end == str(DAYS[519])


def test_too_many_folds_are_refused():
    with pytest.raises(ConfigError, match=r"validation.folds=11: expected at least 20 test days a fold, found 211"):
        make_folds(DAYS, SPLIT, 11)


def test_a_trial_survives_json():
    _, trials = plan()
    for trial in trials:
        assert Trial.from_json(json.loads(json.dumps(trial.to_json()))) == trial


def test_keys_of_the_command_win_over_those_laid_over_and_are_not_claimed():
    config = from_mapping({"batch_size": 32, "model": {"hidden_size": 64}})
    assert "batch_size=32" in laid_over(config)
    assert "model.hidden_size=16" not in laid_over(config)
