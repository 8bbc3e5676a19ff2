"""One optimizer step as a transaction: gradients, check, clip, update, average; or nothing at all."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NoReturn

import torch
from torch import Tensor
from torch.optim import Optimizer

from atft_gat_fan.models.network import ATFT_GAT_FAN
from atft_gat_fan.training.layout import Layout
from atft_gat_fan.training.objective import Objective
from atft_gat_fan.training.optim import gradient_norms
from atft_gat_fan.training.out_of_memory import RanOut, attempt, kept_kernels
from atft_gat_fan.training.ranks import NUM_SIGNS, Ranks, Trouble, heed, signs_of, tried
from atft_gat_fan.training.runtime import Runtime
from atft_gat_fan.types import DayBatch, RandomKey

Outcome = Literal["applied", "no_labels", "rescaled", "non_finite"]


class UpdateLostError(Exception):
    """Memory ran out from clipping on: weights, optimizer or average may be half updated, and the step cannot be
    done again. Whoever holds a checkpoint loads it and replays; never shown to users."""


@dataclass(frozen=True)
class StepReport:
    """What a step saw. Only after `applied` have weights and optimizer changed.

    `no_labels`: no label is known on its days. `rescaled`: fp16 gradients overflowed and the loss scale
    was lowered, which is how the right scale is found. `non_finite`: loss or gradients are NaN or infinite.

    `loss` and `loss_by_horizon` are means over the labelled days, `grad_norm` is the norm before
    clipping (`grad_norm_by_group`: of each layer type), `samples` the number of stock-windows whose stock was present.
    """

    outcome: Outcome
    loss: float
    loss_by_horizon: tuple[float, ...]
    grad_norm: float
    samples: int
    grad_norm_by_group: Mapping[str, float] = field(default_factory=dict)


class TrainStep:
    """Runs optimizer steps; keeps nothing between them that is not in the weights, optimizer and scaler.

    Gradients of the pieces are added up, each scaled by the label counts of the whole step, so that any
    split of the same days gives the same gradient. `clip_norm` None: no clipping.

    `applied` is called after each update, as a part of it; `poll` before every forward and every backward
    pass, to raise what should end the step. Whatever is raised before clipping leaves weights, optimizer and
    scaler as they were, without gradients; `UpdateLostError` follows where memory runs out later.

    With the several ranks of a `layout` the pieces are this rank's share of the step, which may be none: label counts
    are summed before the first forward pass and gradients after the last backward pass, so that every rank makes the
    same update, and the report is of the whole step. A stop request, or memory that runs out, of one rank is raised on
    all of them.
    """

    def __init__(
        self,
        runtime: Runtime,
        model: ATFT_GAT_FAN,
        optimizer: Optimizer,
        objective: Objective,
        *,
        clip_norm: float | None,
        seed: int,
        to_device: Callable[[DayBatch, torch.device], DayBatch] = DayBatch.to,
        applied: Callable[[], None] = lambda: None,
        poll: Callable[[], None] = lambda: None,
        layout: Layout | None = None,
    ) -> None:
        self.layout = Layout(Ranks()) if layout is None else layout
        self.ranks = self.layout.ranks
        self._fabric, self._scaler = runtime.fabric, runtime.scaler
        self.model, self.objective = model, objective
        self.device, self.to_device, self.poll = runtime.fabric.device, to_device, poll
        self.autocast = runtime.fabric.autocast
        """The precision of the forward pass."""
        self._optimizer = optimizer
        committing = runtime.fabric.setup_optimizers(optimizer)
        assert not isinstance(committing, tuple)
        self._committing = committing
        # An infinite limit multiplies by exactly 1 and still returns the norm, which is the finite check.
        self._max_norm = math.inf if clip_norm is None else clip_norm
        self._applied = applied
        self._seed = seed
        self._sum = self.layout.step_sum(model, self.device)

    @property
    def update_one_by_one(self) -> bool:
        """Whether the optimizer updates one parameter at a time: the memory of a copy of the weights less."""
        return not any(group["foreach"] for group in self._optimizer.param_groups)

    @update_one_by_one.setter
    def update_one_by_one(self, value: bool) -> None:
        for group in self._optimizer.param_groups:
            group["foreach"] = not value

    def __call__(self, pieces: Sequence[DayBatch], step: int) -> StepReport:
        """Train on the pieces of step `step` (the key of its dropout)."""
        prepared, labelled_days, samples = self._counted(pieces)
        if not labelled_days.any():
            return StepReport("no_labels", math.nan, (math.nan,) * len(labelled_days), math.nan, samples)
        loss, by_horizon = self._gradients(prepared, labelled_days, step)
        # By itself, so that where memory runs out no traceback is left to hold gradients.
        report = attempt(lambda: self._update(loss, by_horizon, samples))
        if isinstance(report, RanOut):
            self._lose(report)
        return report

    def rehearse(self, pieces: Sequence[DayBatch]) -> None:
        """Compute all that a step on these pieces would, and change nothing: what is compiled is compiled then."""
        prepared = [self.objective.prepare(piece) for piece in pieces]
        if prepared:
            self._own_gradients(prepared, self.objective.labelled_days(prepared).clamp(min=1), step=0)
            self._optimizer.zero_grad()

    def _counted(self, pieces: Sequence[DayBatch]) -> tuple[list[DayBatch], Tensor, int]:
        """The pieces as the loss sees them; labelled days by horizon and stock-windows, over all ranks."""

        def count() -> tuple[list[DayBatch], Tensor, int]:
            samples = sum(int(piece.present.sum()) for piece in pieces)
            prepared = [self.objective.prepare(piece) for piece in pieces]
            return prepared, self.objective.labelled_days(prepared), samples

        if self.ranks.alone:
            return count()
        horizons = len(self.model.spec.horizons)
        nothing: tuple[list[DayBatch], Tensor, int] = [], torch.zeros(horizons, dtype=torch.int64), 0

        def own_count() -> tuple[list[DayBatch], Tensor, int]:
            self.poll()
            return count() if pieces else nothing

        own = tried(own_count)
        prepared, labelled_days, samples = nothing if isinstance(own, Trouble) else own
        counts = self.ranks.sum(torch.tensor([*labelled_days, samples, *map(int, signs_of(own))]))
        stopped, ran_out = counts[-NUM_SIGNS:].tolist()
        heed(stopped, ran_out, own)
        return prepared, counts[:horizons], int(counts[horizons])

    def _gradients(self, pieces: Sequence[DayBatch], labelled_days: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """Loss, and loss by horizon; the gradients are with the parameters, or, where anything is raised, gone."""
        with self.layout.gathered(self.model):
            if self._sum is None:
                return self._own_gradients(pieces, labelled_days, step)
            return self._sum(tried(lambda: self._own_gradients(pieces, labelled_days, step)))

    def _own_gradients(self, pieces: Sequence[DayBatch], labelled_days: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """Those of this rank's pieces."""
        try:
            with kept_kernels():
                return self._accumulate(pieces, labelled_days.to(self.device), step)
        except BaseException:
            self._optimizer.zero_grad()
            raise

    def _accumulate(self, pieces: Sequence[DayBatch], labelled_days: Tensor, step: int) -> tuple[Tensor, Tensor]:
        key = RandomKey(self._seed, step)
        loss = torch.zeros((), device=self.device)
        by_horizon = torch.zeros(len(labelled_days), device=self.device)
        self._optimizer.zero_grad()
        for piece in pieces:
            self.poll()
            piece = self.to_device(piece, self.device)
            # Not through Fabric's module wrapper: that one rounds inputs to the low precision and refuses
            # frozen dataclasses. The precision of the forward pass is all that is wanted of it.
            with self.autocast():
                forecast = self.model.forecast(piece, key)
            share, share_by_horizon = self.objective(forecast, piece, labelled_days)
            self.poll()
            self._fabric.backward(share)
            loss += share.detach()
            by_horizon += share_by_horizon.detach()
        return loss, by_horizon

    def _update(self, loss: Tensor, by_horizon: Tensor, samples: int) -> StepReport:
        with self.layout.exchange():
            grad_norm = self.layout.clip(self._fabric, self.model, self._optimizer, self._max_norm)
            norms = gradient_norms(self._optimizer, self.layout)
        # The one wait for the device in a step.
        numbers = torch.cat([torch.stack([loss, grad_norm, *norms.values()]), by_horizon]).tolist()
        outcome = self._commit(loss=numbers[0], grad_norm=numbers[1])
        by_group = _before_clipping(dict(zip(norms, numbers[2:], strict=False)), numbers[1])
        return StepReport(outcome, numbers[0], tuple(numbers[2 + len(norms) :]), numbers[1], samples, by_group)

    def _lose(self, ran_out: RanOut) -> NoReturn:
        self._optimizer.zero_grad()
        if self._scaler is not None:
            # It would refuse the next step as one that is unscaled already. With its own scale, nothing else changes.
            self._scaler.update(self._scaler.get_scale())
        raise UpdateLostError(ran_out.message)

    def _commit(self, loss: float, grad_norm: float) -> Outcome:
        if math.isfinite(loss) and math.isfinite(grad_norm):
            self._committing.step()
            self._applied()
            return "applied"
        self._optimizer.zero_grad()
        if self._scaler is None:
            return "non_finite"
        overflow = math.isfinite(loss) and self._scaler.get_scale() > 1.0
        self._scaler.update()
        return "rescaled" if overflow else "non_finite"


def _before_clipping(norms: Mapping[str, float], total: float) -> dict[str, float]:
    """Norms of the parts of a gradient whose norm was `total` before clipping, from those after it.

    Clipping keeps their proportions, and only after it are fp16 gradients known to be unscaled.
    """
    clipped = math.hypot(*norms.values())
    return {name: norm * total / clipped if clipped else 0.0 for name, norm in norms.items()}
