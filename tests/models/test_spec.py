from dataclasses import replace
from typing import Any

import pytest

from atft_gat_fan.config.plan import FreqDropoutPlan, GraphAttentionPlan, HeadPlan, ModelSpec, RunPlan
from atft_gat_fan.config.schema import Config
from atft_gat_fan.data.calendar import CALENDAR_COVARIATES
from atft_gat_fan.data.features import DERIVED_FEATURES
from atft_gat_fan.errors import ConfigError
from atft_gat_fan.models.network import ATFT_GAT_FAN
from atft_gat_fan.models.spec import model_spec, require_configurable, spec_from_mapping

DEFAULT = ModelSpec(num_features=len(DERIVED_FEATURES), num_covariates=len(CALENDAR_COVARIATES))


def test_no_mapping_means_the_derived_features() -> None:
    assert ATFT_GAT_FAN().spec == ATFT_GAT_FAN({}).spec == DEFAULT


@pytest.mark.parametrize(
    ("data", "number"),
    [
        ({"features": "alpha158"}, 157),  # without the VWAP
        ({"features": "derived+alpha158"}, 184),
        ({"relative": ("sector",)}, 64),
        ({"features": "alpha158", "relative": ("market", "sector")}, 157 * 2 + 115),
    ],
)
def test_a_feature_set_and_its_variants_are_the_inputs(data: dict[str, Any], number: int) -> None:
    assert spec_from_mapping({"data": data}).num_features == number


def test_the_memo_form_is_a_mapping_of_literal_ellipses() -> None:
    model = ATFT_GAT_FAN({"model": {"hidden_size": 32}, "data": {...}})
    assert model.spec == ModelSpec(
        num_features=len(DERIVED_FEATURES), num_covariates=len(CALENDAR_COVARIATES), hidden_size=32
    )


def test_every_model_key_reaches_the_spec() -> None:
    config = Config.model_validate(
        {
            "gradient_checkpointing": True,
            "data": {"horizons": (1, 4), "window": 12},
            "model": {
                "hidden_size": 24,
                "variable_size": 6,
                "num_heads": 3,
                "lstm_layers": 2,
                "dropout": 0.25,
                "quantiles": (0.1, 0.5),
                "fan": {"top_k": 2},
                "gat": {"num_heads": 2, "chunk_size": 100},
            },
        }
    )
    assert model_spec(config, RunPlan(), num_features=7, num_categories=5, num_covariates=3) == ModelSpec(
        num_features=7,
        horizons=(1, 4),
        window=12,
        num_categories=5,
        num_covariates=3,
        hidden_size=24,
        variable_size=6,
        num_heads=3,
        lstm_layers=2,
        dropout=0.25,
        quantiles=(0.1, 0.5),
        fan_top_k=2,
        gat_heads=2,
        gat_chunk_size=100,
        gradient_checkpointing=True,
    )


@pytest.mark.parametrize(
    ("plan", "changes"),
    [
        (RunPlan(), {}),
        (RunPlan(head=HeadPlan(0.02, 0.3)), {"head_init_std": 0.02, "head_layer_scale": 0.3}),
        (RunPlan(graph_attention=GraphAttentionPlan(0.7, start=2.0, share=0.5)), {"gat_temperature": 0.7}),
        (
            RunPlan(freq_dropout=FreqDropoutPlan(0.2, max_width=5, rescale=True)),
            {"freq_dropout_p": 0.2, "freq_dropout_max_width": 5, "freq_dropout_rescale": True},
        ),
    ],
    ids=["off", "head", "temperature", "freq_dropout"],
)
def test_each_slot_of_the_plan_reaches_its_fields_alone(plan: RunPlan, changes: dict[str, Any]) -> None:
    spec = model_spec(Config(), plan, num_features=7, num_categories=0, num_covariates=3)
    assert spec == replace(ModelSpec(num_features=7, num_covariates=3), **changes)


def test_improvements_of_a_mapping_reach_the_network() -> None:
    improvements = {"output_head_small_init": True, "gat_temperature": 0.5, "freq_dropout_p": 0.1}
    spec = ATFT_GAT_FAN({"improvements": improvements, "model": {"head": {"layer_scale": 0.3}}}).spec
    assert spec == replace(DEFAULT, head_init_std=0.01, head_layer_scale=0.3, gat_temperature=0.5, freq_dropout_p=0.1)


def test_switched_off_layers_are_zero() -> None:
    spec = spec_from_mapping({"model": {"fan": {"enabled": False}, "gat": {"enabled": False}}})
    assert (spec.fan_top_k, spec.gat_heads) == (0, 0)


def test_equal_networks_have_equal_specifications() -> None:
    """Whatever is set of parts that are off."""

    def spec(**model: Any) -> ModelSpec:
        off = {"temporal": {"encoder": "none"}, "attention": {"enabled": False}, "fan": {"enabled": False}}
        config = Config.model_validate({"model": {**off, "gat": {"enabled": False}, **model}})
        return model_spec(config, RunPlan(), num_features=7, num_categories=0, num_covariates=3)

    assert spec(lstm_forget_bias=None) == spec(lstm_forget_bias=0.5) == spec(lstm_layers=2, num_heads=2) == spec()
    assert spec(temporal={"encoder": "windows"}, lstm_forget_bias=None).lstm_forget_bias is None


def test_named_features_are_counted_and_patterns_refused() -> None:
    assert spec_from_mapping({"data": {"features": ["a", "b", "c"]}}).num_features == 3
    with pytest.raises(ConfigError, match="feat_\\*"):
        spec_from_mapping({"data": {"features": ["a", "feat_*"]}})


def test_unknown_key_is_refused() -> None:
    with pytest.raises(ConfigError, match="hiden_size"):
        ATFT_GAT_FAN({"model": {"hiden_size": 64}})


@pytest.mark.parametrize(
    ("model", "changes"),
    [
        ({"inputs": {"expansion": "polynomial"}}, {"input_expansion": "polynomial"}),
        ({"same_day_skip": True}, {"same_day_skip": True}),
        ({"temporal": {"encoder": "none"}}, {"lstm_layers": 0}),
        ({"attention": {"enabled": False}}, {"num_heads": 0}),
        (
            {"temporal": {"encoder": "blockwise"}, "fan": {"enabled": False}},
            {"blockwise": True, "fan_top_k": 0},
        ),
        ({"lstm_forget_bias": 3.0}, {"lstm_forget_bias": 3.0}),
        ({"lstm_forget_bias": None}, {"lstm_forget_bias": None}),
    ],
    ids=str,
)
def test_each_option_of_the_encoder_reaches_its_fields_alone(model: dict[str, Any], changes: dict[str, Any]) -> None:
    spec = spec_from_mapping({"model": model})
    assert spec == replace(DEFAULT, **changes)
    require_configurable(spec)


def test_only_a_network_without_any_part_that_looks_back_reads_no_window() -> None:
    off = {"temporal": {"encoder": "none"}, "attention": {"enabled": False}, "fan": {"enabled": False}}
    assert not spec_from_mapping({"model": off}).reads_window
    for part in off:
        assert spec_from_mapping({"model": {key: value for key, value in off.items() if key != part}}).reads_window
    assert spec_from_mapping({"model": off, "improvements": {"freq_dropout_p": 0.1}}).reads_window


def test_a_network_that_no_configuration_could_ask_for_is_refused() -> None:
    with pytest.raises(ConfigError, match="expansion"):
        require_configurable(replace(DEFAULT, input_expansion="fourier"))
