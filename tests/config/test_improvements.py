from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from atft_gat_fan.config.improvements import resolve
from atft_gat_fan.config.load import load_config, read_config, to_yaml
from atft_gat_fan.config.plan import EmaPlan, ExecutorPlan, GraphAttentionPlan, HeadPlan, LossPlan, RunPlan
from atft_gat_fan.config.schema import Config, GroupsConfig, ImprovementsConfig
from atft_gat_fan.errors import ConfigError

# Every key that changes what stands in a slot: how it is set, the top-level key of plan.json, and what that becomes.
SWITCHES: dict[str, tuple[str, str, Any]] = {
    "improvements.output_head_small_init": ("true", "head", {"init_std": 0.01, "layer_scale": 0.1}),
    "improvements.gat_temperature": ("0.8", "graph_attention", {"temperature": 0.8, "start": None, "share": 0.0}),
    "improvements.freq_dropout_p": ("0.1", "freq_dropout", {"p": 0.1, "max_width": 3, "rescale": False}),
    "improvements.use_ema": ("true", "ema", {"decay": 0.999, "warmup": True, "by": ("improvements.use_ema",)}),
    "improvements.huber_loss": ("true", "loss", {"kind": "huber", "delta": 0.01, "by": ("improvements.huber_loss",)}),
    "improvements.online_normalization": ("true", "normalizer", {"kind": "online"}),
    "improvements.enable_wandb": ("true", "loggers", ("jsonl", "tensorboard", "wandb")),
    "improvements.auto_recover_oom": ("true", "executor", {"kind": "robust", "allow_bf16": False}),
    "loss.type": ("huber", "loss", {"kind": "huber", "delta": 0.01, "by": ("loss.type",)}),
    "ema.enabled": ("true", "ema", {"decay": 0.999, "warmup": True, "by": ("ema.enabled",)}),
    "model.gat.temperature_start": ("2", "graph_attention", {"temperature": 1.0, "start": 2.0, "share": 0.3}),
    "train.tensorboard": ("false", "loggers", ("jsonl",)),
    **{
        f"optimizer.groups.{group}.{key}": (
            "0.5",
            "optimizer",
            {**RunPlan().to_json()["optimizer"], group: {"lr": 1.0, "weight_decay": 1.0, key: 0.5}},
        )
        for group in GroupsConfig.model_fields
        for key in ("lr", "weight_decay")
    },
}


def plan(*overrides: str) -> RunPlan:
    return resolve(load_config(overrides))


def test_without_switches_every_slot_holds_the_baseline() -> None:
    assert resolve(Config()) == plan() == plan("~improvements") == plan("config=atft/train/production") == RunPlan()


def test_the_table_has_every_improvement() -> None:
    assert {f"improvements.{name}" for name in ImprovementsConfig.model_fields} <= SWITCHES.keys()


@pytest.mark.parametrize("key", SWITCHES)
def test_each_switch_alone_changes_exactly_its_key_of_the_plan(key: str) -> None:
    value, slot, content = SWITCHES[key]
    assert plan(f"{key}={value}").to_json() == {**RunPlan().to_json(), slot: content}


def test_all_refusals_come_at_once() -> None:
    with pytest.raises(ConfigError) as error:
        plan(
            "improvements.gat_temperature=0.5", "model.gat.enabled=false",
            "improvements.freq_dropout_p=0.1", "data.window=5", "model.freq_dropout.max_width=3",
        )  # fmt: skip
    assert len(str(error.value).splitlines()) == 2


@pytest.mark.parametrize(
    "settings",
    [
        ["loss.huber_delta=0.5"],
        ["loss.huber_delta=auto"],
        ["ema.decay=0.9", "ema.warmup=false"],
        ["model.head.layer_scale=1"],
        ["model.freq_dropout.max_width=9", "model.freq_dropout.rescale=true"],
        ["model.gat.temperature_share=0.9"],
        ["wandb.project=other"],
        ["recovery.allow_bf16=true"],
    ],
)
def test_settings_of_what_is_off_are_no_switch(settings: list[str]) -> None:
    assert plan(*settings) == RunPlan()


def test_settings_of_what_is_on_reach_their_slot() -> None:
    everything = plan(
        "improvements.output_head_small_init=true", "model.head.layer_scale=0.5",
        "improvements.gat_temperature=0.7", "model.gat.temperature_start=3", "model.gat.temperature_share=0.9",
        "improvements.freq_dropout_p=0.2", "model.freq_dropout.max_width=2", "model.freq_dropout.rescale=true",
        "improvements.huber_loss=true", "loss.huber_delta=[0.1,0.2,0.3,0.4,0.5]",
        "improvements.use_ema=true", "ema.decay=0.9", "ema.warmup=false",
        "improvements.auto_recover_oom=true", "recovery.allow_bf16=true",
    )  # fmt: skip
    assert everything.head == HeadPlan(0.01, 0.5)
    assert everything.graph_attention == GraphAttentionPlan(0.7, 3.0, 0.9)
    assert everything.freq_dropout is not None
    assert (everything.freq_dropout.p, everything.freq_dropout.max_width, everything.freq_dropout.rescale) == (
        0.2, 2, True,
    )  # fmt: skip
    assert everything.executor == ExecutorPlan("robust", allow_bf16=True)
    assert everything.loss == LossPlan("huber", (0.1, 0.2, 0.3, 0.4, 0.5), ("improvements.huber_loss",))
    assert everything.ema == EmaPlan(0.9, False, ("improvements.use_ema",))


def test_two_keys_to_one_thing_are_both_named_and_either_keeps_it_on() -> None:
    both = plan("improvements.huber_loss=true", "loss.type=huber", "improvements.use_ema=true", "ema.enabled=true")
    assert both.loss.by == ("improvements.huber_loss", "loss.type")
    assert both.ema is not None
    assert both.ema.by == ("improvements.use_ema", "ema.enabled")
    assert plan("improvements.huber_loss=false", "loss.type=huber").loss.kind == "huber"


def test_the_plan_keeps_an_automatic_delta_by_name() -> None:
    assert plan("improvements.huber_loss=true", "loss.huber_delta=auto").loss.delta == "auto"


@pytest.mark.parametrize("deltas", ["[0.1,0.2]", "[]"])
def test_a_delta_for_each_horizon_or_one_for_all(deltas: str) -> None:
    with pytest.raises(ConfigError, match=r"horizons 1,2,3,5,10 need 5 deltas, got \d \(loss\.huber_delta\)"):
        load_config([f"loss.huber_delta={deltas}"])


@pytest.mark.parametrize("temperature", ["0", "-1", "nan", "inf"])
def test_a_temperature_is_positive_and_finite(temperature: str) -> None:
    with pytest.raises(ConfigError, match=r"improvements\.gat_temperature"):
        load_config([f"improvements.gat_temperature={temperature}"])


@pytest.mark.parametrize("switch", ["improvements.gat_temperature=0.8", "model.gat.temperature_start=2.0"])
def test_a_temperature_of_no_attention_is_refused(switch: str) -> None:
    with pytest.raises(ConfigError, match=rf"^{switch} expects a graph attention, found model\.gat\.enabled=false"):
        plan(switch, "model.gat.enabled=false")


def test_a_band_wider_than_the_spectrum_is_refused_only_where_bands_are_masked() -> None:
    narrow = ["data.window=5", "model.freq_dropout.max_width=3"]
    assert plan(*narrow) == RunPlan()
    with pytest.raises(ConfigError, match=r"max_width of at most 2.*window of 5 days.*got 3"):
        plan(*narrow, "improvements.freq_dropout_p=0.1")


@pytest.mark.parametrize("loss", ["ic", "rank"])
def test_a_loss_that_ranks_changes_the_slot_of_the_loss_alone(loss: str) -> None:
    changed = plan(f"loss.type={loss}", "loss.mse_weight=0.1")
    assert changed.loss == LossPlan(loss, None, ("loss.type",))  # type: ignore[arg-type]
    assert replace(changed, loss=LossPlan()) == RunPlan()


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (["loss.mse_weight=0.1"], r"^loss\.mse_weight=0\.1 expects loss\.type ic or rank, found mse"),
        (["loss.type=ic", "improvements.huber_loss=true"], "expects loss.type mse or huber, found ic"),
        (["model.temporal.encoder=blockwise"], r"found model\.fan\.enabled; switch that off"),
        (
            ["model.temporal.encoder=blockwise", "model.fan.enabled=false", "improvements.freq_dropout_p=0.1"],
            r"found improvements\.freq_dropout_p",
        ),
        (
            [
                "model.same_day_skip=true",
                "model.temporal.encoder=none",
                "model.attention.enabled=false",
                "model.fan.enabled=false",
            ],
            "found no LSTM, attention, FAN or FreqDropout",
        ),
        (
            ["model.temporal.encoder=none", "model.lstm_forget_bias=null"],
            r"^model\.lstm_forget_bias=null expects an LSTM, found model\.temporal\.encoder=none",
        ),
        (
            ["loss.type=ic", "loss.huber_delta=0.5"],
            r"^loss\.huber_delta=0\.5 expects loss\.type huber, found ic",
        ),
        (
            ["loss.type=rank", "loss.huber_delta=[1,2,3,4,5]"],
            r"^loss\.huber_delta=\[1\.0,2\.0,3\.0,4\.0,5\.0\] expects",
        ),
    ],
    ids=str,
)
def test_keys_that_contradict_each_other_are_refused(keys: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        plan(*keys)


@pytest.mark.parametrize(
    "keys",
    [
        ["model.temporal.encoder=none"],
        ["model.temporal.encoder=none", "model.lstm_forget_bias=1"],
        ["loss.type=ic", "loss.huber_delta=0.01"],
        ["config=atft/train/ranking"],
        ["model=small", "model.temporal.encoder=none", "model.attention.enabled=false"],
    ],
    ids=str,
)
def test_a_configuration_that_was_resolved_is_resolved_again_from_its_file(keys: list[str], tmp_path: Path) -> None:
    """A file of all keys says of none whether somebody chose it."""
    config, file = load_config(keys), tmp_path / "config.yaml"
    file.write_text(to_yaml(config))
    assert resolve(read_config(file)) == resolve(config)


def test_heads_of_an_attention_that_is_off_need_not_divide() -> None:
    keys = ["model.hidden_size=30", "model.gat.enabled=false"]
    assert not load_config([*keys, "model.attention.enabled=false"]).model.attention.enabled
    with pytest.raises(ConfigError, match="num_heads to divide hidden_size"):
        load_config(keys)
