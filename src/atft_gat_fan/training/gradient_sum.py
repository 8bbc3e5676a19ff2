"""The sum of a step's gradients over ranks, as one message.

Not DistributedDataParallel: that sends buckets in the middle of the backward pass, so a rank that runs out of memory
or is stopped there leaves the others waiting in a bucket, and one with nothing to compute needs its join protocol; it
averages, where our losses are divided by the counts of the whole step already; and it sees `forward` alone. One message
after the last micro-batch is exact for any number of them, and carries what went wrong along.
"""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from atft_gat_fan.models.network import ATFT_GAT_FAN
from atft_gat_fan.training.ranks import NUM_SIGNS, Ranks, Trouble, heed, signs_of

Losses = tuple[Tensor, Tensor]
"""Loss of a step, and by horizon."""


class StepSum(Protocol):
    def __call__(self, own: Losses | Trouble) -> Losses:
        """Losses over all ranks. The gradients of the parameters become the sums, valid until the next call.

        A parameter has none where it has none on any rank. Where one rank was in trouble, StopRequested or MemoryError
        is raised on all of them, and there are no gradients left.
        """
        ...


class StepMessage:
    """What the ranks say to each other of a step: what went wrong, losses, which parameters have a gradient, and
    `room` for more numbers to be summed. Takes its memory once."""

    def __init__(self, ranks: Ranks, parameters: int, horizons: int, device: torch.device, room: int = 0) -> None:
        self._ranks = ranks
        self._all = torch.zeros(room + parameters + 1 + horizons + NUM_SIGNS, device=device)
        self.room, self._held, self._losses, self._signs = torch.split(
            self._all, [room, parameters, 1 + horizons, NUM_SIGNS]
        )

    def write(self, own: Losses | Trouble, parameters: Sequence[nn.Parameter]) -> None:
        """Say this, with zeros in the room."""
        self._all.zero_()
        self._signs.copy_(torch.tensor(signs_of(own)))
        if not isinstance(own, Trouble):
            self._losses.copy_(torch.cat([own[0].reshape(1), own[1]]))
            self._held.copy_(torch.tensor([float(parameter.grad is not None) for parameter in parameters]))

    def exchange(self, own: Losses | Trouble) -> tuple[Losses, list[bool]]:
        """The losses of all, and which parameters have a gradient somewhere. Raises what a rank was kept by."""
        self._ranks.sum(self._all)
        held, (stopped, ran_out) = self._held.tolist(), self._signs.tolist()
        heed(stopped, ran_out, own)
        losses = self._losses.clone()
        return (losses[0], losses[1:]), [bool(count) for count in held]


class GradientSum:
    """Takes the memory of one copy of the gradients once, so that none is asked for where it may have run out."""

    def __init__(self, ranks: Ranks, model: ATFT_GAT_FAN, device: torch.device) -> None:
        self._parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        sizes = [parameter.numel() for parameter in self._parameters]
        self._message = StepMessage(ranks, len(sizes), len(model.spec.horizons), device, room=sum(sizes))
        flat = torch.split(self._message.room, sizes)
        self._sums = [values.view_as(parameter) for values, parameter in zip(flat, self._parameters, strict=True)]

    @torch.no_grad()
    def __call__(self, own: Losses | Trouble) -> Losses:
        self._message.write(own, self._parameters)
        if not isinstance(own, Trouble):
            for parameter, values in zip(self._parameters, self._sums, strict=True):
                if parameter.grad is not None:
                    values.copy_(parameter.grad)
        for parameter in self._parameters:
            parameter.grad = None
        losses, held = self._message.exchange(own)
        for parameter, values, somewhere in zip(self._parameters, self._sums, held, strict=True):
            parameter.grad = values if somewhere else None
        return losses
