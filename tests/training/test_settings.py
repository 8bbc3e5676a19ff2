import pytest

from atft_gat_fan.config.plan import (
    EmaPlan,
    ExecutorPlan,
    GraphAttentionPlan,
    GroupPlan,
    NormalizerPlan,
    OptimizerPlan,
    RunPlan,
)
from atft_gat_fan.config.schema import Config
from atft_gat_fan.training.settings import TrainSettings, WandbSettings, config_digest


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"optimizer": {"lr": 0.5}},
        {"data": {"window": 9}},
        {"train": {"max_epochs": 1}},
        {"model": {"dropout": 0}},
        {"compile": True},
        {"improvements": {"use_ema": True}},
        {"optimizer": {"groups": {"head": {"lr": 2}}}},
    ],
)
def test_the_digest_names_what_is_trained(change):
    assert config_digest(Config.model_validate(change)) != config_digest(Config())


@pytest.mark.parametrize(
    "change",
    [
        {"run": {"dir": "elsewhere"}},
        {"distributed": {"strategy": "fsdp"}},
        {"data": {"num_workers": 2}},
        {"train": {"log_every": 1}},
        {"evaluation": {"cost_bps": 1}},
        {"improvements": {"enable_wandb": True}},
        {"improvements": {"auto_recover_oom": True}, "recovery": {"allow_bf16": True}},
        {"wandb": {"project": "other"}},
    ],
)
def test_the_digest_leaves_out_where_and_how_it_runs(change):
    assert config_digest(Config.model_validate(change)) == config_digest(Config())


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"improvements": {"use_ema": True}}, {"ema": {"enabled": True}}),
        ({"improvements": {"huber_loss": True}}, {"loss": {"type": "huber"}}),
    ],
)
def test_two_names_of_one_switch_are_one_configuration(one, other):
    assert config_digest(Config.model_validate(one)) == config_digest(Config.model_validate(other))
    assert config_digest(Config.model_validate(one)) != config_digest(Config())


def test_every_knob_of_the_configuration_arrives():
    config = Config.model_validate(
        {
            "seed": 1,
            "batch_size": 2,
            "accumulate_grad_batches": 3,
            "warmup_steps": 4,
            "scheduler": "linear",
            "amp": "bf16",
            "compile": True,
            "run": {"device": "cpu"},
            "distributed": {"strategy": "fsdp"},
            "data": {"horizons": [1, 4], "num_workers": 18},
            "labels": {"transform": "rank"},
            "model": {"quantiles": [0.2, 0.5]},
            "loss": {"multi_horizon_weights": [0.5, 0.25], "quantile_weight": 5.0},
            "grad_scaler": {"init_scale": 6.0},
            "optimizer": {"lr": 7.0, "betas": [0.8, 0.9], "eps": 8.0, "weight_decay": 9.0, "clip_norm": 10.0},
            "early_stopping": {"enabled": False, "patience": 11, "smoothing": 0.12},
            "train": {
                "max_epochs": 13,
                "max_steps": 14,
                "checkpoint_every": "15m",
                "keep_checkpoints": 16,
                "log_every": 17,
            },
            "recovery": {"max_skipped_steps": 19, "max_rollbacks": 20, "rollback_lr": 0.21},
            "wandb": {"project": "ours", "entity": "us", "tags": ["a", "b"]},
        }
    )
    plan = RunPlan(
        ema=EmaPlan(0.9),
        graph_attention=GraphAttentionPlan(0.5, 2.0, 0.3),
        optimizer=OptimizerPlan(head=GroupPlan(2.0)),
        normalizer=NormalizerPlan("online"),
        executor=ExecutorPlan("robust", allow_bf16=True),
        loggers=("jsonl", "wandb"),
    )
    assert TrainSettings.from_config(config, plan, (0.1, 0.2)) == TrainSettings(
        digest=config_digest(config),
        seed=1,
        batch_size=2,
        accumulate=3,
        warmup_steps=4,
        scheduler="linear",
        amp="bf16",
        compile=True,
        device="cpu",
        sharded=True,
        horizons=(1, 4),
        label_transform="rank",
        quantiles=(0.2, 0.5),
        horizon_weights=(0.5, 0.25),
        quantile_weight=5.0,
        init_scale=6.0,
        lr=7.0,
        betas=(0.8, 0.9),
        eps=8.0,
        weight_decay=9.0,
        clip_norm=10.0,
        early_stopping=False,
        patience=11,
        smoothing=0.12,
        max_epochs=13,
        max_steps=14,
        checkpoint_every="15m",
        keep_checkpoints=16,
        log_every=17,
        num_workers=18,
        max_skipped_steps=19,
        max_rollbacks=20,
        rollback_lr=0.21,
        online_normalization=True,
        executor=ExecutorPlan("robust", allow_bf16=True),
        huber_deltas=(0.1, 0.2),
        ema=EmaPlan(0.9),
        temperature=GraphAttentionPlan(0.5, 2.0, 0.3),
        optimizer_groups=OptimizerPlan(head=GroupPlan(2.0)),
        loggers=("jsonl", "wandb"),
        wandb=WandbSettings("ours", "us", ("a", "b"), config.model_dump(mode="json")),
    )


def test_a_plan_without_improvements_gives_the_default_components():
    settings = TrainSettings.from_config(Config(), RunPlan(), None)
    bare = TrainSettings(digest="", horizons=(), horizon_weights=())
    for name in ("huber_deltas", "ema", "temperature", "optimizer_groups", "executor"):
        assert getattr(settings, name) == getattr(bare, name)
    assert settings.loggers == ("jsonl", "tensorboard")
