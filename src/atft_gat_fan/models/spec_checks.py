"""What a network's specification must hold for the network to be built."""

import math

from atft_gat_fan.config.plan import ModelSpec
from atft_gat_fan.errors import ConfigError


def require_sound(spec: ModelSpec) -> None:
    """Raises ConfigError for what no configuration schema refuses: a ModelSpec is made by hand too."""
    for name in ("num_features", "window", "hidden_size"):
        if getattr(spec, name) < 1:
            raise ConfigError(f"expected {name} of at least 1, got {getattr(spec, name)}")
    if not spec.horizons:
        raise ConfigError("expected at least one horizon, got none (data.horizons)")
    if spec.variable_size < 2:
        raise ConfigError(
            f"expected variable_size of at least 2, got {spec.variable_size} (model.variable_size): layer norm over "
            "one channel is constant"
        )
    if spec.fan_top_k > spec.window // 2:
        raise ConfigError(
            f"expected fan.top_k of at most {spec.window // 2} for a window of {spec.window}, got {spec.fan_top_k} "
            "(model.fan.top_k): nothing would be left"
        )
    for name in ("num_heads", "gat_heads"):
        if (heads := getattr(spec, name)) and spec.hidden_size % heads:
            raise ConfigError(f"expected {name} to divide hidden_size {spec.hidden_size}, got {heads}")
    for name in ("head_init_std", "head_layer_scale"):
        if (value := getattr(spec, name)) is not None and not value > 0:
            raise ConfigError(f"expected {name} above 0, got {value}")
    if not 0 <= spec.freq_dropout_p < 1 or spec.freq_dropout_max_width < 1:
        raise ConfigError(
            "expected freq_dropout_p from 0 to below 1 (improvements.freq_dropout_p) and freq_dropout_max_width of at "
            f"least 1 (model.freq_dropout.max_width), got {spec.freq_dropout_p} and {spec.freq_dropout_max_width}"
        )
    if spec.blockwise and (spec.fan_top_k or spec.freq_dropout_p or not spec.lstm_layers):
        raise ConfigError(
            "expected an LSTM without FAN and FreqDropout to run blockwise (model.temporal.encoder), got lstm_layers "
            f"{spec.lstm_layers}, fan_top_k {spec.fan_top_k} and freq_dropout_p {spec.freq_dropout_p}"
        )
    if spec.same_day_skip and not spec.reads_window:
        raise ConfigError(
            "expected a part that reads earlier days beside same_day_skip, got none (model.same_day_skip)"
        )
    if spec.lstm_forget_bias is not None and not math.isfinite(spec.lstm_forget_bias):
        raise ConfigError(f"expected a finite lstm_forget_bias, got {spec.lstm_forget_bias} (model.lstm_forget_bias)")
    require_temperature(spec.gat_temperature)


def require_temperature(value: float) -> None:
    """Raises ConfigError unless 0 < value < infinity."""
    if not 0 < value < math.inf:
        raise ConfigError(
            f"expected a temperature above 0 and finite, got {value} (improvements.gat_temperature, "
            "model.gat.temperature_start) -> 1 changes nothing, less favours the best neighbours, more evens them out"
        )
