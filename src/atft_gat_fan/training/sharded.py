"""Weights divided over the ranks by torch's own `fully_shard` (FSDP2), for a network that one device cannot hold whole.

Between steps a rank has its part of every parameter, gradient, moment and average: an n-th of the rows, as a DTensor.
The weights are gathered before the first forward pass of a step and divided again after the last backward pass, where
the gradients are summed, each rank keeping its part. In between no rank waits for another: those with fewer days, or
none, need no empty passes, and memory that runs out there is told to all, as with whole weights.

Not stage by stage, which is what `fully_shard` is made for: ranks have different numbers of passes, and stages run day
by day or some stocks at a time, as often as the batch is large, where every rank would have to come to each gathering
as often. It would save little: one stage, variable selection or the temporal encoder, has most of the weights.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
import torch.distributed as dist
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.optim import Optimizer

from atft_gat_fan.errors import MemoryLimitError
from atft_gat_fan.models.network import ATFT_GAT_FAN
from atft_gat_fan.training.gradient_sum import Losses, StepMessage
from atft_gat_fan.training.layout import Layout
from atft_gat_fan.training.out_of_memory import is_out_of_memory
from atft_gat_fan.training.ranks import Ranks, Trouble


class Sharded(Layout):
    """Each rank has its part of weights, gradients, optimizer and average. Needs the process group of torchrun's ranks.

    What all ranks have to come through raises RankError where another one ended, and MemoryLimitError where memory ran
    out: the others are in the middle of it then, and cannot be told to do it again.
    """

    def __init__(self, ranks: Ranks, device: torch.device) -> None:
        super().__init__(ranks)
        self.shards = ranks.size
        self._device = device
        assert dist.group.WORLD is not None
        self._mesh = DeviceMesh.from_group(dist.group.WORLD, device.type)
        self._divided: dict[nn.Module, _Shards] = {}

    def divide(self, model: ATFT_GAT_FAN) -> None:
        self._divided[model] = _Shards(model, self._mesh)

    @contextmanager
    def gathered(self, model: ATFT_GAT_FAN) -> Iterator[None]:
        shards = self._divided[model]
        with self.exchange():
            shards.gather()
        whole = [*model.parameters()]
        try:
            yield
        finally:
            for parameter in whole:
                parameter.grad = None
            shards.divide()

    def step_sum(self, model: ATFT_GAT_FAN, device: torch.device) -> "ShardedSum":
        return ShardedSum(self, self._divided[model], device)

    @contextmanager
    def exchange(self) -> Iterator[None]:
        with self.ranks.answered():
            try:
                yield
            except (MemoryError, RuntimeError, OSError) as error:
                if not is_out_of_memory(error):
                    raise
                raise MemoryLimitError(
                    "expected each rank to hold weights and gradients of the network whole while it computes a step, "
                    f"ran out of memory where they are gathered and summed: {error}. The checkpoints are kept; what "
                    "helps: fewer processes on a machine, a smaller network (model.hidden_size), a smaller batch_size"
                ) from error

    def clip(self, fabric: Fabric, model: ATFT_GAT_FAN, optimizer: Optimizer, max_norm: float) -> Tensor:
        fabric.strategy.precision.unscale_gradients(optimizer)
        parameters = [parameter for parameter in model.parameters() if parameter.grad is not None]
        own = [self.own(parameter.grad) for parameter in parameters if parameter.grad is not None]
        norm = self.norms({"all": nn.utils.get_total_norm(own)})["all"]
        nn.utils.clip_grads_with_norm_(parameters, max_norm, norm)
        return norm

    def own(self, tensor: Tensor) -> Tensor:
        return tensor.to_local() if isinstance(tensor, DTensor) else tensor

    def norms(self, own: Mapping[str, Tensor]) -> dict[str, Tensor]:
        squares = self.ranks.sum(torch.stack([*own.values()]).double().square())
        return dict(zip(own, squares.sqrt().float().unbind(), strict=True))

    def whole(self, tensors: Mapping[str, Tensor], *, keep: bool = True) -> Mapping[str, Tensor]:
        """On the host, one gathered after the other."""
        result = {}
        for name, tensor in tensors.items():
            if isinstance(tensor, DTensor):
                with self.exchange():
                    tensor = self._together(tensor)
            if keep:
                result[name] = tensor.detach().cpu()
        return result

    def _together(self, parts: DTensor) -> Tensor:
        on_device = parts.detach().to(self._device)
        assert isinstance(on_device, DTensor)
        return on_device.full_tensor()

    def divided(self, saved: Mapping[str, Tensor], like: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """On the host. Nothing is sent: every rank has read the file."""
        return {
            name: distribute_tensor(tensor, lies.device_mesh, lies.placements, src_data_rank=None).to("cpu", copy=True)
            if isinstance(lies := like.get(name), DTensor)
            else tensor
            for name, tensor in saved.items()
        }

    def plain(self, model: ATFT_GAT_FAN) -> ATFT_GAT_FAN:
        """Another network: what `fully_shard` has divided does not come together again."""
        weights = self.whole(model.state_dict())
        with torch.random.fork_rng(devices=[]):  # initial weights are drawn, and replaced
            plain = ATFT_GAT_FAN(model.spec).to(self._device)
        plain.load_state_dict(weights)
        plain.train(model.training)
        plain.compiled, plain.chunks = model.compiled, model.chunks
        if model.spec.gat_heads:
            plain.set_gat_temperature(model.graph.temperature)
        return plain


class _Around(nn.Module):
    """What `fully_shard` is given to divide: a module around the network, whose own passes know nothing of it.

    An empty pass of it is what sums the gradients that the network's passes have left.
    """

    def __init__(self, model: ATFT_GAT_FAN) -> None:
        super().__init__()
        self.model = model

    def forward(self, empty: Tensor) -> Tensor:
        return empty.clone()  # a view, which this would be, is warned of


class _Shards:
    """A network divided over the ranks of `mesh`."""

    def __init__(self, model: ATFT_GAT_FAN, mesh: DeviceMesh) -> None:
        self.model, self._around = model, _Around(model)
        self._divided: FSDPModule = fully_shard(self._around, mesh=mesh, reshard_after_forward=False)
        # Sums, by the one kind of reduction that gloo has too: losses are divided by the counts of the step already.
        self._divided.set_gradient_divide_factor(1.0)
        self._divided.set_force_sum_reduction_for_comms(True)

    def gather(self) -> None:
        self._divided.unshard()

    def divide(self) -> None:
        self._divided.reshard()

    def sum_gradients(self, device: torch.device) -> None:
        """Of a network that is gathered; afterwards it is divided."""
        self._around(torch.zeros((), device=device, requires_grad=True)).backward()


class ShardedSum:
    """Sums the gradients of a network that is gathered, and divides it again."""

    def __init__(self, layout: Sharded, shards: _Shards, device: torch.device) -> None:
        self._layout, self._shards, self._device = layout, shards, device
        parameters, horizons = len([*shards.model.parameters()]), len(shards.model.spec.horizons)
        self._message = StepMessage(layout.ranks, parameters, horizons, device)

    def __call__(self, own: Losses | Trouble) -> Losses:
        parameters = [*self._shards.model.parameters()]
        self._message.write(own, parameters)
        losses, held = self._message.exchange(own)
        with self._layout.exchange():
            for parameter, somewhere in zip(parameters, held, strict=True):
                if somewhere and parameter.grad is None:
                    parameter.grad = torch.zeros_like(parameter)
            self._shards.sum_gradients(self._device)
        return losses
