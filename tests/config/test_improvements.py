import pytest

from atft_gat_fan.config.improvements import resolve
from atft_gat_fan.config.load import load_config
from atft_gat_fan.config.plan import RunPlan
from atft_gat_fan.config.schema import Config
from atft_gat_fan.errors import ConfigError


def test_without_switches_every_slot_holds_the_baseline() -> None:
    assert resolve(Config()) == RunPlan()
    assert resolve(load_config(["config=atft/train/production"])) == RunPlan()


@pytest.mark.parametrize(
    ("switch", "default"),
    [
        ("improvements.output_head_small_init=true", "false"),
        ("improvements.gat_temperature=0.8", "1.0"),
        ("improvements.freq_dropout_p=0.1", "0.0"),
        ("improvements.use_ema=true", "false"),
        ("improvements.huber_loss=true", "false"),
        ("improvements.online_normalization=true", "false"),
        ("improvements.enable_wandb=true", "false"),
        ("improvements.auto_recover_oom=true", "false"),
        ("ema.enabled=true", "false"),
        ("loss.type=huber", "mse"),
    ],
)
def test_each_switch_is_refused_by_name_with_its_default(switch: str, default: str) -> None:
    with pytest.raises(ConfigError) as error:
        resolve(load_config([switch]))
    assert str(error.value).startswith(f"{switch} is not available yet (")
    assert str(error.value).endswith(f"leave it at {default}")


def test_all_refusals_come_at_once() -> None:
    config = load_config(["config=atft/config_full", "ema.enabled=true", "loss.type=huber"])
    with pytest.raises(ConfigError) as error:
        resolve(config)
    assert len(str(error.value).splitlines()) == 8 + 2


def test_settings_of_a_switched_off_improvement_are_no_switch() -> None:
    assert resolve(load_config(["loss.huber_delta=0.5", "ema.decay=0.9"])) == RunPlan()


def test_tensorboard_changes_the_loggers_and_nothing_else() -> None:
    plan = resolve(load_config(["train.tensorboard=false"]))
    assert plan.to_json() == {**RunPlan().to_json(), "loggers": ("jsonl",)}
