"""Which arms a configuration gives."""

import pytest

from atft_gat_fan.config.improvements import resolve
from atft_gat_fan.config.load import from_mapping, load_config, overridden
from atft_gat_fan.config.plan import RunPlan
from atft_gat_fan.errors import ConfigError
from atft_gat_fan.validation.arms import ALL, SWITCHES, make_arms


def config(**sections):
    return from_mapping({"train": {"tensorboard": False}, **sections})


def plan_of(base, *overrides):
    return resolve(overridden(base, overrides)).to_json()


def test_the_baseline_is_the_plan_without_improvements_whatever_is_switched_on():
    on = config(
        improvements=dict.fromkeys(("output_head_small_init", "huber_loss", "use_ema", "enable_wandb"), True),
        loss={"type": "huber"},
        ema={"enabled": True},
    )
    assert plan_of(on, *make_arms(on).baseline) == RunPlan(loggers=("jsonl",)).to_json()


def test_each_arm_changes_one_key_of_the_plan_and_all_changes_each_of_them():
    base = config()
    arms = make_arms(base)
    off = plan_of(base, *arms.baseline)
    changed = {}
    for arm in arms.variants:
        plan = plan_of(base, *arms.baseline, *arm.overrides)
        changed[arm.name] = {key for key in plan if plan[key] != off[key]}
    everything = changed.pop(ALL)
    assert list(changed) == list(SWITCHES)
    assert all(len(keys) == 1 for keys in changed.values())
    assert everything == set().union(*changed.values())


def test_without_a_switch_on_every_improvement_has_the_value_of_config_full():
    full = load_config(["config=configs/atft/config_full.yaml"]).improvements
    for arm in make_arms(config()).variants[:-1]:
        ((key, _, value),) = [override.partition("=") for override in arm.overrides]
        assert value == str(getattr(full, key.removeprefix("improvements."))).lower()


def test_what_is_switched_on_is_what_is_compared_at_its_value():
    arms = make_arms(config(improvements={"freq_dropout_p": 0.3}, ema={"enabled": True}))
    assert [arm.name for arm in arms.variants] == ["freq_dropout_p", "use_ema", ALL]
    assert arms.variants[0].overrides == ("improvements.freq_dropout_p=0.3",)


def names(arms):
    return [arm.name for arm in arms.variants]


def test_only_keeps_those_named_and_all_stays_all():
    everything = make_arms(config()).variants[-1]
    assert names(make_arms(config(), ["use_ema", "huber_loss"])) == ["huber_loss", "use_ema"]
    assert make_arms(config(), ["all"]).variants == (everything,)
    assert make_arms(config(), ["use_ema", "all"]).variants[1:] == (everything,)


def test_one_that_is_not_switched_on_can_be_named_and_is_not_in_all():
    arms = make_arms(config(improvements={"freq_dropout_p": 0.3, "huber_loss": True}), ["use_ema", "all"])
    assert names(arms) == ["use_ema", ALL]
    assert arms.variants[1].overrides == ("improvements.freq_dropout_p=0.3", "improvements.huber_loss=true")


def test_all_but_one_is_all_without_that_one():
    arms = make_arms(config(validation={"leave_one_out": True}))
    everything = set(arms.variants[-1].overrides)
    assert len(arms.without) == len(SWITCHES)
    for alone, arm in zip(arms.variants[:-1], arms.without, strict=True):
        assert arm.name == f"all-minus-{alone.name}"
        assert set(arm.overrides) == everything - set(alone.overrides)


def test_a_temperature_without_graph_attention_is_left_out_and_said():
    arms = make_arms(config(model={"gat": {"enabled": False}}))
    assert "gat_temperature" not in [arm.name for arm in arms.variants]
    assert "graph attention" in arms.left_out["gat_temperature"]


def test_an_unknown_name_is_refused_with_the_nearest():
    with pytest.raises(ConfigError, match=r"--only huber_los: expected one of .*huber_loss"):
        make_arms(config(), ["huber_los"])
    with pytest.raises(ConfigError, match="expected an improvement to compare, found none"):
        make_arms(config(model={"gat": {"enabled": False}}), ["gat_temperature"])
