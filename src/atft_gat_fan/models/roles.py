"""What each parameter is, for the optimizer: its layer group, and whether weight decay may shrink it."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import nn

from atft_gat_fan.config.plan import Group


@dataclass(frozen=True)
class ParameterRole:
    group: Group
    decay: bool
    """False for norms, biases and scales."""


# Our layers declare `no_decay`; torch's own cannot.
_TORCH_NO_DECAY: dict[type[nn.Module], frozenset[str]] = {
    nn.Linear: frozenset({"bias"}),
    nn.LayerNorm: frozenset({"weight", "bias"}),
    nn.Embedding: frozenset(),
}


def parameter_roles(network: nn.Module, groups: Mapping[str, Group]) -> dict[str, ParameterRole]:
    """The role of every parameter of `network`, by name; `groups` gives the group of each direct child.

    Decay is what the module that owns the parameter declares, never guessed from the shape: the
    biases of grouped layers are matrices.
    """
    roles = {}
    for path, module in network.named_modules():
        for name, _ in module.named_parameters(recurse=False):
            assert path, f"{name} belongs to no direct child of the network and so to no group"
            decay = name not in _no_decay(module)
            roles[f"{path}.{name}"] = ParameterRole(groups[path.split(".")[0]], decay)
    return roles


def _no_decay(module: nn.Module) -> frozenset[str]:
    if isinstance(module, nn.LSTM):
        return frozenset(name for name, _ in module.named_parameters() if name.startswith("bias"))
    declared = _TORCH_NO_DECAY.get(type(module), getattr(module, "no_decay", None))
    assert isinstance(declared, frozenset), f"{type(module).__name__} does not declare which parameters do not decay"
    return declared
