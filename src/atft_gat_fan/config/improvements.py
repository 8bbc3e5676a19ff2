"""Switches become a plan. No other file looks at one."""

from collections.abc import Iterator

from atft_gat_fan.config.model_sections import ModelConfig
from atft_gat_fan.config.plan import (
    EmaPlan,
    ExecutorPlan,
    FreqDropoutPlan,
    GraphAttentionPlan,
    GroupPlan,
    HeadPlan,
    LossPlan,
    NormalizerPlan,
    OptimizerPlan,
    RunPlan,
)
from atft_gat_fan.config.schema import Config, GroupConfig
from atft_gat_fan.config.training_sections import LossConfig
from atft_gat_fan.errors import ConfigError

SMALL_INIT_STD = 0.01


def resolve(config: Config) -> RunPlan:
    """What stands in each slot of a run under this configuration. Defaults give `RunPlan()`.

    Raises ConfigError with every switch that can change nothing here.
    """
    problems = [*_without_effect(config), *_contradictions(config)]
    if problems:
        raise ConfigError("\n".join(problems))
    return RunPlan(
        head=_head(config),
        graph_attention=_graph_attention(config),
        freq_dropout=_freq_dropout(config),
        loss=_loss(config),
        ema=_ema(config),
        optimizer=_optimizer(config),
        normalizer=NormalizerPlan("online") if config.improvements.online_normalization else NormalizerPlan(),
        executor=_executor(config),
        loggers=_loggers(config),
    )


def _without_effect(config: Config) -> Iterator[str]:
    """Switches for a part that this network does not have: ignored, they would look as if they had done something."""
    temperature, start = config.improvements.gat_temperature, config.model.gat.temperature_start
    if not config.model.gat.enabled and (temperature != 1.0 or start is not None):
        key = f"improvements.gat_temperature={temperature}" if start is None else f"model.gat.temperature_start={start}"
        default = "1.0" if start is None else "null"
        yield f"{key} expects a graph attention, found model.gat.enabled=false; enable that, or leave this at {default}"
    bias, default_bias = config.model.lstm_forget_bias, ModelConfig().lstm_forget_bias
    if config.model.temporal.encoder == "none" and bias != default_bias:
        found = "null" if bias is None else bias
        yield (
            f"model.lstm_forget_bias={found} expects an LSTM, found model.temporal.encoder=none; choose windows or "
            f"blockwise, or leave this at {default_bias}"
        )
    num_bins, width = config.data.window // 2, config.model.freq_dropout.max_width
    if config.improvements.freq_dropout_p and width > num_bins:
        yield (
            f"expected model.freq_dropout.max_width of at most {num_bins}, the frequencies of a window of "
            f"{config.data.window} days beside its mean, got {width}; lower it, or lengthen data.window"
        )


def _contradictions(config: Config) -> Iterator[str]:
    """Keys that do not go with others."""
    loss, model = config.loss, config.model
    ranking = loss.type in ("ic", "rank")
    if loss.mse_weight and not ranking:
        yield (
            f"loss.mse_weight={loss.mse_weight} expects loss.type ic or rank, found {loss.type}; choose one of those, "
            "or leave the weight at 0"
        )
    if config.improvements.huber_loss and ranking:
        yield (
            f"improvements.huber_loss=true expects loss.type mse or huber, found {loss.type}: a training has one loss; "
            "set one of the two back"
        )
    delta, default_delta = loss.huber_delta, LossConfig().huber_delta
    if ranking and delta != default_delta:
        yield (
            f"loss.huber_delta={_flat(delta)} expects loss.type huber, found {loss.type}, which has no delta; "
            f"leave it at {default_delta}"
        )
    if model.temporal.encoder == "blockwise":
        for key, on in (
            ("model.fan.enabled", model.fan.enabled),
            ("improvements.freq_dropout_p", config.improvements.freq_dropout_p > 0),
        ):
            if on:
                yield (
                    "model.temporal.encoder=blockwise expects nothing that changes each window before the LSTM, which "
                    f"runs once over all of a batch's days; found {key}; switch that off, or use the encoder windows"
                )
    if model.same_day_skip and not _reads_window(config):
        yield (
            "model.same_day_skip=true expects something that looks at earlier days, whose correction it would gate; "
            "found no LSTM, attention, FAN or FreqDropout; set it to false"
        )


def _flat(value: float | str | tuple[float, ...]) -> str:
    """As it is written on the command line."""
    return f"[{','.join(map(str, value))}]" if isinstance(value, tuple) else str(value)


def _reads_window(config: Config) -> bool:
    model = config.model
    recurrent = model.temporal.encoder != "none"
    return recurrent or model.attention.enabled or model.fan.enabled or config.improvements.freq_dropout_p > 0


def _head(config: Config) -> HeadPlan:
    if not config.improvements.output_head_small_init:
        return HeadPlan()
    return HeadPlan(init_std=SMALL_INIT_STD, layer_scale=config.model.head.layer_scale)


def _graph_attention(config: Config) -> GraphAttentionPlan:
    temperature, gat = config.improvements.gat_temperature, config.model.gat
    if gat.temperature_start is None:
        return GraphAttentionPlan(temperature)
    return GraphAttentionPlan(temperature, gat.temperature_start, gat.temperature_share)


def _freq_dropout(config: Config) -> FreqDropoutPlan | None:
    p, how = config.improvements.freq_dropout_p, config.model.freq_dropout
    return FreqDropoutPlan(p, how.max_width, how.rescale) if p else None


def _loss(config: Config) -> LossPlan:
    if config.loss.type in ("ic", "rank"):
        return LossPlan(config.loss.type, by=("loss.type",))
    by = _turned_on(
        {"improvements.huber_loss": config.improvements.huber_loss, "loss.type": config.loss.type == "huber"}
    )
    return LossPlan("huber", config.loss.huber_delta, by) if by else LossPlan()


def _ema(config: Config) -> EmaPlan | None:
    by = _turned_on({"improvements.use_ema": config.improvements.use_ema, "ema.enabled": config.ema.enabled})
    return EmaPlan(config.ema.decay, config.ema.warmup, by) if by else None


def _turned_on(keys: dict[str, bool]) -> tuple[str, ...]:
    return tuple(key for key, on in keys.items() if on)


def _optimizer(config: Config) -> OptimizerPlan:
    def plan(group: GroupConfig) -> GroupPlan:
        return GroupPlan(group.lr, group.weight_decay)

    groups = config.optimizer.groups
    return OptimizerPlan(plan(groups.embedding), plan(groups.temporal), plan(groups.graph), plan(groups.head))


def _executor(config: Config) -> ExecutorPlan:
    return (
        ExecutorPlan("robust", config.recovery.allow_bf16) if config.improvements.auto_recover_oom else ExecutorPlan()
    )


def _loggers(config: Config) -> tuple[str, ...]:
    return _turned_on(
        {"jsonl": True, "tensorboard": config.train.tensorboard, "wandb": config.improvements.enable_wandb}
    )
