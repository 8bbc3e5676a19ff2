"""From a configuration to the few numbers that decide the network."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import ValidationError

from atft_gat_fan.config.improvements import resolve
from atft_gat_fan.config.model_sections import (
    AttentionConfig,
    FanConfig,
    GatConfig,
    InputsConfig,
    ModelConfig,
    TemporalConfig,
)
from atft_gat_fan.config.plan import FreqDropoutPlan, ModelSpec, RunPlan
from atft_gat_fan.config.schema import Config, DataConfig
from atft_gat_fan.data.calendar import CALENDAR_COVARIATES
from atft_gat_fan.data.features import EVERY_COLUMN, derivable_features, set_of
from atft_gat_fan.errors import ConfigError


def model_spec(
    config: Config, plan: RunPlan, *, num_features: int, num_categories: int, num_covariates: int
) -> ModelSpec:
    """The network of `config` and its `plan` for data with `num_features` inputs a stock-day.

    `num_categories` counts the known values of the static category (0: none), `num_covariates` the
    calendar facts (0: none).
    """
    model = config.model
    freq_dropout = plan.freq_dropout or FreqDropoutPlan(p=0.0)
    recurrent = model.temporal.encoder != "none"
    return ModelSpec(
        num_features=num_features,
        horizons=config.data.horizons,
        window=config.data.window,
        num_categories=num_categories,
        num_covariates=num_covariates,
        hidden_size=model.hidden_size,
        variable_size=model.variable_size,
        num_heads=model.num_heads if model.attention.enabled else 0,
        lstm_layers=model.lstm_layers if recurrent else 0,
        dropout=model.dropout,
        quantiles=model.quantiles,
        fan_top_k=model.fan.top_k if model.fan.enabled else 0,
        gat_heads=model.gat.num_heads if model.gat.enabled else 0,
        gat_chunk_size=model.gat.chunk_size,
        gradient_checkpointing=config.gradient_checkpointing,
        head_init_std=plan.head.init_std,
        head_layer_scale=plan.head.layer_scale,
        gat_temperature=plan.graph_attention.temperature,
        freq_dropout_p=freq_dropout.p,
        freq_dropout_max_width=freq_dropout.max_width,
        freq_dropout_rescale=freq_dropout.rescale,
        input_expansion=model.inputs.expansion,
        same_day_skip=model.same_day_skip,
        blockwise=model.temporal.encoder == "blockwise",
        # Equal networks have equal specifications.
        lstm_forget_bias=model.lstm_forget_bias if recurrent else ModelSpec.lstm_forget_bias,
    )


def spec_from_mapping(mapping: Mapping[str, Any]) -> ModelSpec:
    """The network of a nested configuration without data behind it.

    The features are those `data.features` lists by name, else those that prices and volumes allow (Alpha158's VWAP0
    needs more); there is no static category. Raises ConfigError for unknown keys, bad values, improvements that
    cannot be had, and feature globs, which only data can resolve.
    """
    # Brings Hydra's libraries, which a network of a ModelSpec, such as a bundle's, does not need.
    from atft_gat_fan.config.load import from_mapping

    config = from_mapping(mapping)
    features = config.data.features
    if isinstance(features, str):
        features = derivable_features(EVERY_COLUMN - {"vwap"}, set_of(features), config.data.relative)
    if globs := [name for name in features if any(sign in name for sign in "*?[")]:
        raise ConfigError(
            f"expected feature names, got the patterns {globs} (data.features) -> list the columns, or give a "
            "ModelSpec with num_features"
        )
    return model_spec(
        config,
        resolve(config),
        num_features=len(features),
        num_categories=0,
        num_covariates=len(CALENDAR_COVARIATES),
    )


def _encoder(spec: ModelSpec) -> Literal["windows", "blockwise", "none"]:
    if not spec.lstm_layers:
        return "none"
    return "blockwise" if spec.blockwise else "windows"


def require_configurable(spec: ModelSpec) -> None:
    """Raises ConfigError where no configuration could ask for the network, by its sizes for instance."""
    try:
        DataConfig(horizons=spec.horizons, window=spec.window)
        ModelConfig(
            hidden_size=spec.hidden_size,
            variable_size=spec.variable_size,
            num_heads=spec.num_heads or 1,
            attention=AttentionConfig(enabled=spec.num_heads > 0),
            lstm_layers=spec.lstm_layers or 1,
            temporal=TemporalConfig(encoder=_encoder(spec)),
            inputs=InputsConfig(expansion=spec.input_expansion),
            same_day_skip=spec.same_day_skip,
            lstm_forget_bias=spec.lstm_forget_bias,
            dropout=spec.dropout,
            quantiles=spec.quantiles,
            fan=FanConfig(enabled=spec.fan_top_k > 0, top_k=spec.fan_top_k or 1),
            gat=GatConfig(enabled=spec.gat_heads > 0, num_heads=spec.gat_heads or 1, chunk_size=spec.gat_chunk_size),
        )
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        where = ".".join(map(str, problem["loc"]))
        raise ConfigError(f"{where}: {problem['msg']}, found {problem['input']!r:.80}") from error
