"""validation.json: the keys of the specification, promises beside measurements, and what cannot be concluded."""

import json

import pytest

from atft_gat_fan.data.durable_files import strict_json
from atft_gat_fan.validation.gates import parse_gate
from atft_gat_fan.validation.result import SetUp
from atft_gat_fan.validation.summary import summarise
from tests.validation.market import DAYS, make_config, make_outcomes

SET_UP = SetUp("", "", 50.0, (1, 5), ("2016-01-04 to 2017-12-29",), 3, 1000, {}, (), 1.0, "", False)


def summary(config, *gates, effects=None, **keywords):
    arms, outcomes = make_outcomes(config, effects or {}, **keywords)
    return summarise(config, arms, outcomes, SET_UP, [parse_gate(gate) for gate in gates])


def test_the_file_has_the_keys_of_the_specification():
    result = summary(make_config(folds=2), "rank_ic_1d>=0", effects={"all": 0.02})
    values = json.loads(strict_json(result.to_json()))
    assert {"improvements", "targets", "baseline", "seeds", "days"} <= values.keys()
    for improvement in values["improvements"].values():
        assert {"delta_rank_ic", "divergence", "memory_ratio", "time_ratio", "verdict"} <= improvement.keys()
        for delta in improvement["delta_rank_ic"].values():
            assert {"mean", "low", "high", "p"} <= delta.keys()
    assert values["seeds"] == [1, 2, 3, 4]
    assert values["days"] == 2 * DAYS
    assert list(values["improvements"])[-1] == "all"
    assert values["baseline"]["loss"] == "mse"
    assert values["gates"][0]["held"]


def test_a_promise_is_reached_or_not_only_where_the_interval_says_so():
    reached = summary(make_config(), effects={"all": 0.03}, noise=0.002).targets["rank_ic_1d"]
    missed = summary(make_config(), effects={"all": 0.001}, noise=0.002).targets["rank_ic_1d"]
    unknown = summary(make_config(), effects={"all": 0.01}, noise=0.05).targets["rank_ic_1d"]
    assert (reached.reached, missed.reached, unknown.reached) == (True, False, None)


def test_costs_are_shares_beside_their_promises():
    targets = summary(make_config(), memory={"all": 0.8}, seconds={"all": 1.3}).targets
    assert targets["memory"].measured == pytest.approx(-0.2)
    assert targets["memory"].reached is True
    assert targets["time"].measured == pytest.approx(0.3)
    assert targets["time"].reached is False


def test_half_the_divergence_is_reached_only_where_it_is_shown():
    few = summary(make_config(), diverged=("baseline",)).targets["divergence"]
    many = summary(make_config(stress={"num_seeds": 4}), diverged=("baseline",)).targets["divergence"]
    assert (few.measured, few.reached) == (-1.0, None)
    assert (many.measured, many.reached) == (-1.0, True)
    assert summary(make_config()).targets["divergence"].measured is None


def test_what_each_adds_to_the_others_is_all_against_all_but_it():
    config = make_config(leave_one_out=True)
    result = summary(config, effects={"all": 0.02, "all-minus-use_ema": 0.005}, noise=0.002)
    assert "all" not in result.contributions
    assert result.contributions["use_ema"].delta_rank_ic["1d"].mean == pytest.approx(0.015, abs=0.002)
    assert result.contributions["use_ema"].verdict == "helps"
    assert summary(make_config()).contributions == {}


def test_what_cannot_be_concluded_is_said():
    config = make_config(seeds=[1, 2], stress={"num_seeds": 0})
    said = " ".join(summary(config).cannot_conclude)
    assert "2 seed(s)" in said
    assert "divergence" in said
    assert "model.hidden_size=16" not in said, "not in effect in this configuration, so it is not claimed"


def test_one_fold_no_divergence_and_wide_intervals_are_limits():
    undecided = summary(make_config(), noise=0.05, only=["use_ema"])
    said = " ".join(undecided.cannot_conclude)
    assert undecided.improvements["use_ema"].verdict == "underpowered"
    assert "whether these help, hurt or do nothing: EMA" in said
    assert "everything was trained before 2016-01-04" in said
    assert "none without improvements diverged" in said
    decided = summary(make_config(), effects={"use_ema": 0.03}, noise=0.002, only=["use_ema"], diverged=("baseline",))
    said = " ".join(decided.cannot_conclude)
    assert "whether these help" not in said
    assert "diverge less" not in said


def test_days_and_seeds_that_would_find_no_attainable_difference_say_so():
    result = summary(make_config(), noise=20.0, only=["use_ema"])
    (delta, _) = result.improvements["use_ema"].delta_rank_ic.values()
    assert delta.minimum_detectable > 1
    assert "these days and seeds find no attainable difference" in result.improvements["use_ema"].reason
    assert "whether these change the RankIC at all: EMA" in " ".join(result.cannot_conclude)
    assert "differences of RankIC of" not in " ".join(result.can_conclude)
