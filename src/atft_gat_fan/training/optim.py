"""AdamW over declared parameter groups, and its state as named tensors."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import AdamW

from atft_gat_fan.config.plan import Group, GroupPlan
from atft_gat_fan.models.network import ATFT_GAT_FAN
from atft_gat_fan.training.layout import Layout
from atft_gat_fan.training.settings import TrainSettings

MOMENTS = ("step", "exp_avg", "exp_avg_sq")


@dataclass(frozen=True)
class ParameterGroup:
    """Parameters of one layer type that share learning rate (before the schedule) and weight decay."""

    group: Group
    decay: bool
    lr: float
    weight_decay: float
    names: tuple[str, ...]
    num_tensors: int
    num_parameters: int


def parameter_groups(model: ATFT_GAT_FAN, settings: TrainSettings) -> tuple[ParameterGroup, ...]:
    """Every trainable parameter in exactly one group, by the role its layer declares.

    Weight decay falls on roles with `decay` only (weights; never norms, biases, layer scales). It is AdamW's,
    multiplied by the learning rate: a layer type's multiplier of the one changes the strength of the other too.
    """
    parameters = dict(model.named_parameters())
    roles = model.parameter_roles()
    assert roles.keys() == parameters.keys(), f"parameters without one role: {roles.keys() ^ parameters.keys()}"
    keys = sorted({(role.group, role.decay) for role in roles.values()}, key=lambda key: (key[0], not key[1]))
    groups = []
    for group, decay in keys:
        names = tuple(name for name in parameters if (roles[name].group, roles[name].decay) == (group, decay))
        multipliers: GroupPlan = getattr(settings.optimizer_groups, group)
        groups.append(
            ParameterGroup(
                group=group,
                decay=decay,
                lr=settings.lr * multipliers.lr,
                weight_decay=settings.weight_decay * multipliers.weight_decay if decay else 0.0,
                names=names,
                num_tensors=len(names),
                num_parameters=sum(parameters[name].numel() for name in names),
            )
        )
    return tuple(groups)


def parameter_groups_table(model: ATFT_GAT_FAN, settings: TrainSettings) -> list[dict[str, Any]]:
    """The groups as JSON: what `param_groups.json` holds."""
    return [asdict(group) for group in parameter_groups(model, settings)]


def build_optimizer(model: ATFT_GAT_FAN, settings: TrainSettings) -> AdamW:
    """AdamW (Loshchilov and Hutter 2019) with its state allocated, so that memory is known before the first step."""
    parameters = dict(model.named_parameters())
    groups: list[dict[str, Any]] = [
        {
            "params": [parameters[name] for name in group.names],
            "group": group.group,
            "lr": group.lr,
            "initial_lr": group.lr,
            "weight_decay": group.weight_decay,
        }
        for group in parameter_groups(model, settings)
    ]
    optimizer = AdamW(groups, lr=settings.lr, betas=settings.betas, eps=settings.eps, foreach=True)
    for parameter in parameters.values():
        optimizer.state[parameter] = {
            "step": torch.tensor(0.0),
            "exp_avg": torch.zeros_like(parameter, memory_format=torch.preserve_format),
            "exp_avg_sq": torch.zeros_like(parameter, memory_format=torch.preserve_format),
        }
    return optimizer


def schedule_learning_rates(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """From the next step on, use `factor` times its own learning rate in every group."""
    for group in optimizer.param_groups:
        group["lr"] = group["initial_lr"] * factor


def learning_rates(optimizer: torch.optim.Optimizer) -> dict[str, float]:
    """Present learning rate by layer type."""
    return {group["group"]: group["lr"] for group in optimizer.param_groups}


def gradient_norms(optimizer: torch.optim.Optimizer, layout: Layout) -> dict[str, Tensor]:
    """L2 norm of the present gradients by layer type, on their device."""
    gradients: dict[str, list[Tensor]] = {}
    for group in optimizer.param_groups:
        gradients.setdefault(group["group"], []).extend(
            layout.own(p.grad) for p in group["params"] if p.grad is not None
        )
    return layout.norms({group: nn.utils.get_total_norm(each) for group, each in gradients.items() if each})


def optimizer_tensors(optimizer: torch.optim.Optimizer, model: nn.Module) -> dict[str, Tensor]:
    """The optimizer's state, named `exp_avg.<parameter>`: the tensors themselves, not copies."""
    return {
        f"{moment}.{name}": optimizer.state[parameter][moment]
        for name, parameter in model.named_parameters()
        for moment in MOMENTS
    }


def load_optimizer_tensors(optimizer: torch.optim.Optimizer, model: nn.Module, saved: Mapping[str, Tensor]) -> None:
    """Copy saved state into the allocated one. Raises KeyError or RuntimeError where names or shapes differ."""
    current = optimizer_tensors(optimizer, model)
    if current.keys() != saved.keys():
        raise KeyError(", ".join(sorted(current.keys() ^ saved.keys())))
    for name, tensor in current.items():
        # Copied, not assigned: tensors of a file are not aligned as torch's own, and alignment can change bits.
        tensor.copy_(saved[name])
