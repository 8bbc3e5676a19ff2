"""Switches become a plan. No other file looks at one."""

from collections.abc import Iterator

from atft_gat_fan.config.plan import RunPlan
from atft_gat_fan.config.schema import Config, ImprovementsConfig
from atft_gat_fan.errors import ConfigError

TITLES = {
    "output_head_small_init": "small-initialised output head, 4.1",
    "gat_temperature": "temperature of the graph attention, 4.3",
    "freq_dropout_p": "FreqDropout, 4.2",
    "use_ema": "EMA teacher, 4.5",
    "huber_loss": "multi-horizon Huber loss, 4.4",
    "online_normalization": "streaming normalisation, 4.7",
    "enable_wandb": "Weights & Biases, 4.9",
    "auto_recover_oom": "recovery from running out of memory, 4.10",
}


def resolve(config: Config) -> RunPlan:
    """What stands in each slot of a run under this configuration.

    Raises ConfigError naming every improvement that is switched on: none of them is available yet.
    """
    asked = list(_switched_on(config))
    if asked:
        raise ConfigError("\n".join(asked))
    return RunPlan(loggers=("jsonl", "tensorboard") if config.train.tensorboard else ("jsonl",))


def _switched_on(config: Config) -> Iterator[str]:
    for name, field in ImprovementsConfig.model_fields.items():
        value = getattr(config.improvements, name)
        if value != field.default:
            yield _refusal(f"improvements.{name}={_text(value)}", name, _text(field.default))
    if config.ema.enabled:
        yield _refusal("ema.enabled=true", "use_ema", "false")
    if config.loss.type != "mse":
        yield _refusal(f"loss.type={config.loss.type}", "huber_loss", "mse")


def _refusal(setting: str, improvement: str, default: str) -> str:
    return f"{setting} is not available yet ({TITLES[improvement]}); leave it at {default}"


def _text(value: object) -> str:
    return str(value).lower()
