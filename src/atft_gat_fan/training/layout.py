"""How the weights of a training lie on its ranks: here, whole on each of them. `Sharded` divides them."""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext

import torch
from lightning_fabric import Fabric
from torch import Tensor
from torch.optim import Optimizer

from atft_gat_fan.models.network import ATFT_GAT_FAN
from atft_gat_fan.training.gradient_sum import GradientSum, StepSum
from atft_gat_fan.training.ranks import Ranks


class Layout:
    """Whole weights, gradients, optimizer and average on every rank, kept equal by equal updates.

    All ranks call each of its methods at the same time, `own` aside.
    """

    shards = 1
    """Into how many parts a network is divided."""

    def __init__(self, ranks: Ranks) -> None:
        self.ranks = ranks

    def divide(self, model: ATFT_GAT_FAN) -> None:
        """Leave this rank its part of the parameters, which are equal on all of them."""

    def gathered(self, model: ATFT_GAT_FAN) -> AbstractContextManager[None]:
        """Inside, the network can compute. Gradients that have not been summed by its end are gone."""
        return nullcontext()

    def step_sum(self, model: ATFT_GAT_FAN, device: torch.device) -> StepSum | None:
        """What sums a step's gradients over ranks; None where there is nothing to sum."""
        return None if self.ranks.alone else GradientSum(self.ranks, model, device)

    def exchange(self) -> AbstractContextManager[None]:
        """Around work that every rank has to come through: what fails in it cannot be done again, and ends all."""
        return nullcontext()

    def clip(self, fabric: Fabric, model: ATFT_GAT_FAN, optimizer: Optimizer, max_norm: float) -> Tensor:
        """Scale the gradients of a step down to this L2 norm. Returns the norm they had, all ranks' parts together."""
        norm = fabric.clip_gradients(model, optimizer, max_norm=max_norm, error_if_nonfinite=False)
        assert norm is not None
        return norm

    def own(self, tensor: Tensor) -> Tensor:
        """This rank's part of a tensor of the training."""
        return tensor

    def norms(self, own: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """L2 norms of whole tensors, from those of this rank's parts."""
        return dict(own)

    def whole(self, tensors: Mapping[str, Tensor], *, keep: bool = True) -> Mapping[str, Tensor]:
        """Tensors of the training as one process has them; none where this rank is not to `keep` them."""
        return tensors

    def divided(self, saved: Mapping[str, Tensor], like: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Whole tensors of a file as those of the same name in `like` lie here."""
        return saved

    def plain(self, model: ATFT_GAT_FAN) -> ATFT_GAT_FAN:
        """The network with whole weights, for one process to go on with."""
        return model


def make_layout(ranks: Ranks, device: torch.device, *, sharded: bool) -> Layout:
    """Whole weights on every rank, or divided ones."""
    if not sharded:
        return Layout(ranks)
    from atft_gat_fan.training.sharded import Sharded  # loads seconds of torch that other trainings do not need

    return Sharded(ranks, device)
