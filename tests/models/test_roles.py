import pytest
import torch
from torch import nn

from atft_gat_fan.config.plan import ModelSpec
from atft_gat_fan.models.network import ATFT_GAT_FAN
from atft_gat_fan.models.roles import ParameterRole, parameter_roles

SPEC = ModelSpec(
    num_features=5,
    num_categories=3,
    num_covariates=2,
    hidden_size=16,
    variable_size=4,
    lstm_layers=2,
    head_layer_scale=0.1,
)


def test_every_parameter_has_exactly_one_role_and_every_group_is_used() -> None:
    model = ATFT_GAT_FAN(SPEC)
    roles = model.parameter_roles()
    assert list(roles) == [name for name, _ in model.named_parameters()]
    assert {role.group for role in roles.values()} == {"embedding", "temporal", "graph", "head"}


def test_decay_is_on_the_matrices_that_multiply_inputs() -> None:
    """Biases, norms and scales by their names, whatever their shape: grouped biases are matrices."""
    model = ATFT_GAT_FAN(SPEC)
    for name, role in model.parameter_roles().items():
        last = name.split(".")[-1]
        is_scale = "norm" in name or last == "gamma"
        assert role.decay == (not is_scale and "bias" not in last), name
    roles = model.parameter_roles()
    assert roles["variable_selection.variables.input_bias"] == ParameterRole("embedding", decay=False)
    assert roles["temporal.lstm.bias_hh_l1"] == ParameterRole("temporal", decay=False)
    assert roles["temporal.lstm.weight_hh_l1"] == ParameterRole("temporal", decay=True)
    assert roles["graph.attention_edge"] == ParameterRole("graph", decay=True)
    assert roles["heads.point.weight"] == ParameterRole("head", decay=True)
    assert roles["heads.scale.gamma"] == ParameterRole("head", decay=False)


def test_a_layer_that_declares_nothing_is_refused() -> None:
    class Undeclared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(2))

    with pytest.raises(AssertionError, match="Undeclared does not declare"):
        parameter_roles(nn.ModuleDict({"heads": Undeclared()}), {"heads": "head"})
