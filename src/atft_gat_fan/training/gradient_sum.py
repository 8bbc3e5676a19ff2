"""The sum of a step's gradients over ranks, as one message.

Not DistributedDataParallel: that sends buckets in the middle of the backward pass, so a rank that runs out of memory
or is stopped there leaves the others waiting in a bucket, and one with nothing to compute needs its join protocol; it
averages, where our losses are divided by the counts of the whole step already; and it sees `forward` alone. One message
after the last micro-batch is exact for any number of them, and carries what went wrong along.
"""

import torch
from torch import Tensor

from atft_gat_fan.models.network import ATFT_GAT_FAN
from atft_gat_fan.training.ranks import NUM_SIGNS, Ranks, Trouble, heed, signs_of

Losses = tuple[Tensor, Tensor]
"""Loss of a step, and by horizon."""


class GradientSum:
    """Takes the memory of one copy of the gradients once, so that none is asked for where it may have run out."""

    def __init__(self, ranks: Ranks, model: ATFT_GAT_FAN, device: torch.device) -> None:
        self._ranks = ranks
        self._parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        sizes = [parameter.numel() for parameter in self._parameters]
        losses = 1 + len(model.spec.horizons)
        self._message = torch.zeros(sum(sizes) + len(sizes) + losses + NUM_SIGNS, device=device)
        *flat, self._held, self._losses, self._signs = torch.split(
            self._message, [*sizes, len(sizes), losses, NUM_SIGNS]
        )
        self._sums = [values.view_as(parameter) for values, parameter in zip(flat, self._parameters, strict=True)]

    @torch.no_grad()
    def __call__(self, own: Losses | Trouble) -> Losses:
        """Losses over all ranks. The gradients of the parameters become the sums, valid until the next call.

        A parameter has none where it has none on any rank. Where one rank was in trouble, StopRequested or MemoryError
        is raised on all of them, and there are no gradients left.
        """
        self._message.zero_()
        self._signs.copy_(torch.tensor(signs_of(own)))
        if not isinstance(own, Trouble):
            self._losses.copy_(torch.cat([own[0].reshape(1), own[1]]))
            self._held.copy_(torch.tensor([float(parameter.grad is not None) for parameter in self._parameters]))
            for parameter, values in zip(self._parameters, self._sums, strict=True):
                if parameter.grad is not None:
                    values.copy_(parameter.grad)
        for parameter in self._parameters:
            parameter.grad = None
        self._ranks.sum(self._message)
        held, (stopped, ran_out) = self._held.tolist(), self._signs.tolist()
        heed(stopped, ran_out, own)
        for parameter, values, somewhere in zip(self._parameters, self._sums, held, strict=True):
            parameter.grad = values if somewhere else None
        losses = self._losses.clone()
        return losses[0], losses[1:]
