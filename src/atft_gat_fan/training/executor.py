"""Who runs steps and validations, and what happens when memory runs out."""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict
from functools import partial
from typing import NoReturn, Protocol, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from atft_gat_fan.config.memory_levers import memory_levers
from atft_gat_fan.errors import MemoryLimitError
from atft_gat_fan.layers.graph_attention import CHUNK_LOGITS
from atft_gat_fan.models.network import ATFT_GAT_FAN
from atft_gat_fan.models.onednn import use_onednn
from atft_gat_fan.training.ema import EmaTeacher
from atft_gat_fan.training.out_of_memory import (
    RanOut,
    attempt,
    available_memory,
    estimate_need,
    free_memory,
    kept_kernels,
)
from atft_gat_fan.training.ranks import at_once
from atft_gat_fan.training.relief import Relief, Work, more_relief
from atft_gat_fan.training.settings import TrainSettings
from atft_gat_fan.training.step import StepReport, TrainStep, UpdateLostError
from atft_gat_fan.training.validation_pass import BatchScores, Scorer, ValidationScores, evaluating, score_rounds
from atft_gat_fan.types import DayBatch, RandomKey

T = TypeVar("T")

OnRelief = Callable[[Relief, str], None]
"""Told what is done from now on, and of what: the first line of what was said of the memory that ran out."""


class Executor(Protocol):
    """Computes for the training. Whatever is not about memory passes through, what `poll` raises included."""

    @property
    def relief(self) -> Relief:
        """What has been done against running out of memory so far."""
        ...

    def restore(self, relief: Relief) -> None:
        """Go on under the relief of a checkpoint."""
        ...

    def train(self, batches: Sequence[DayBatch], step: int) -> StepReport:
        """Train on the batches of step `step`.

        Raises MemoryLimitError where it does not fit, UpdateLostError where the weights are lost.
        """
        ...

    def load(self, read: Callable[[], DayBatch]) -> DayBatch:
        """A batch as it is read, in any thread. Raises MemoryLimitError."""
        ...

    def rehearse(self, batches: Sequence[DayBatch]) -> None:
        """Compute what a step on these batches would, and change nothing. Raises MemoryLimitError."""
        ...

    def score(self, model: ATFT_GAT_FAN, batches: Iterable[DayBatch]) -> ValidationScores:
        """Scores over the days of `batches`, those of every other rank's included. The model keeps its mode.

        With several ranks, `batches` are this rank's of `shares.whole_blocks`. Raises MemoryLimitError.
        """
        ...

    def predict(
        self, model: ATFT_GAT_FAN, batch: DayBatch, key: RandomKey | None = None
    ) -> Float[Tensor, "days stocks horizons"]:
        """Point forecasts in float32 by the model in its mode, without gradients. Raises MemoryLimitError.

        Every rank is to ask for them at the same time, each for a batch of its own.
        """
        ...


def make_executor(
    settings: TrainSettings,
    train_step: TrainStep,
    *,
    ema: EmaTeacher | None = None,
    on_relief: OnRelief = lambda relief, message: None,
) -> Executor:
    """The executor that the settings' plan names. What the step polls is polled before every piece of a scoring too."""
    if settings.executor.kind == "plain":
        return PlainExecutor(Computing(train_step), settings)
    return RobustExecutor(Computing(train_step), ema, settings, on_relief)


class Computing:
    """Pieces of work that can run out of memory, and be done again."""

    def __init__(self, train_step: TrainStep) -> None:
        self.train_step, self.device, self.ranks = train_step, train_step.device, train_step.ranks
        self.layout = train_step.layout
        self._scorer = Scorer(
            train_step.objective, self.device, train_step.to_device, autocast=lambda: train_step.autocast()
        )

    def score(self, model: ATFT_GAT_FAN, piece: DayBatch) -> BatchScores:
        self.train_step.poll()
        with kept_kernels():
            return self._scorer(model, piece)

    def predict(self, model: ATFT_GAT_FAN, key: RandomKey | None, piece: DayBatch) -> Tensor:
        step = self.train_step
        with torch.no_grad(), kept_kernels(), step.autocast():
            return model.forecast(step.to_device(piece, self.device), key).point.float()


class PlainExecutor:
    """Whole batches; where they do not fit, training fails at once."""

    def __init__(self, computing: Computing, settings: TrainSettings) -> None:
        self._computing, self._settings = computing, settings
        self.relief = Relief()

    def restore(self, relief: Relief) -> None:
        """Nothing: with the switch off, batches are whole again."""

    def train(self, batches: Sequence[DayBatch], step: int) -> StepReport:
        try:
            return self._or_fail(lambda: self._computing.train_step(batches, step))
        except UpdateLostError as error:
            self._fail(str(error))

    def load(self, read: Callable[[], DayBatch]) -> DayBatch:
        return self._or_fail(read)

    def rehearse(self, batches: Sequence[DayBatch]) -> None:
        train_step = self._computing.train_step
        with self._computing.layout.gathered(train_step.model):
            self._together(lambda: train_step.rehearse(batches))

    def score(self, model: ATFT_GAT_FAN, batches: Iterable[DayBatch]) -> ValidationScores:
        def scores(batches: Sequence[DayBatch]) -> list[BatchScores]:
            return [self._computing.score(model, batch) for batch in batches]

        ranks = self._computing.ranks
        with evaluating(model), self._computing.layout.gathered(model):
            return score_rounds((self._together(partial(scores, batch)) for batch in ranks.rounds(batches)), ranks)

    def predict(
        self, model: ATFT_GAT_FAN, batch: DayBatch, key: RandomKey | None = None
    ) -> Float[Tensor, "days stocks horizons"]:
        with self._computing.layout.gathered(model):
            return self._together(lambda: self._computing.predict(model, key, batch))

    def _together(self, work: Callable[[], T]) -> T:
        return self._or_fail(lambda: self._computing.ranks.together(work))

    def _or_fail(self, work: Callable[[], T]) -> T:
        result = attempt(work)
        if isinstance(result, RanOut):
            self._fail(result.message)
        return result

    def _fail(self, message: str) -> NoReturn:
        head = f"expected batches that fit in memory, ran out of it: {message}. The checkpoints are kept; what helps:"
        raise MemoryLimitError("\n  ".join([head, *self._levers()]))

    def _levers(self) -> Iterator[str]:
        settings, ema = self._settings, self._settings.ema
        yield from memory_levers(
            batch_size=settings.batch_size,
            accumulate=settings.accumulate,
            online_normalization=settings.online_normalization,
            gradient_checkpointing=self._computing.train_step.model.spec.gradient_checkpointing,
            ema_keys=() if ema is None else ema.by or ("improvements.use_ema",),
        )
        yield "improvements.auto_recover_oom=true, which does the same days again in smaller pieces until they fit"


class RobustExecutor:
    """Does in smaller pieces what does not fit, and everything after it too: it never climbs back by itself.

    A step is done again from its beginning, with nothing of the failed one left; only in the update of the weights
    that is impossible, and UpdateLostError says so, after the relief has grown.
    """

    def __init__(
        self, computing: Computing, ema: EmaTeacher | None, settings: TrainSettings, on_relief: OnRelief
    ) -> None:
        self._computing, self._ema, self._settings, self._on_relief = computing, ema, settings, on_relief
        self._ranks = computing.ranks
        self._autocast = computing.train_step.autocast
        self.relief = Relief()
        self._step = 0

    def restore(self, relief: Relief) -> None:
        self.relief = relief
        train_step = self._computing.train_step
        train_step.model.chunks = relief.chunks
        if relief.without_onednn:
            use_onednn(False)
        train_step.update_one_by_one = relief.one_by_one
        train_step.autocast = self._autocast if relief.bf16_from is None else self._bf16
        if relief.ema_on_host and self._ema is not None:
            self._ema.to_host()

    def train(self, batches: Sequence[DayBatch], step: int) -> StepReport:
        self._step = step
        train_step = self._computing.train_step
        lost: str | None = None
        try:
            # The ranks agree within the step.
            report = self._until_it_fits(lambda pieces: train_step(pieces, step), train_step.model, batches, at_once)
        except UpdateLostError as error:
            lost = str(error)
        if not self._ranks.any(lost is not None):
            return report
        lost = lost or "memory ran out on another rank"
        self._grow(RanOut(lost), train_step.model, batches, in_update=True)
        raise UpdateLostError(lost)

    def load(self, read: Callable[[], DayBatch]) -> DayBatch:
        batch = attempt(read)
        if isinstance(batch, RanOut):
            free_memory()
            batch = attempt(read)
        if isinstance(batch, RanOut):
            raise MemoryLimitError(
                f"expected batches that can be read into memory, found {available_memory(torch.device('cpu'))} for one "
                f"of {self._settings.batch_size} days: {batch.message}. The checkpoints are kept; batch_size and "
                "data.num_workers say how much is read at once"
            )
        return batch

    def rehearse(self, batches: Sequence[DayBatch]) -> None:
        train_step = self._computing.train_step
        with self._computing.layout.gathered(train_step.model):
            self._until_it_fits(train_step.rehearse, train_step.model, batches, self._ranks.together)

    def score(self, model: ATFT_GAT_FAN, batches: Iterable[DayBatch]) -> ValidationScores:
        def scores(pieces: Sequence[DayBatch]) -> list[BatchScores]:
            return [self._computing.score(model, piece) for piece in pieces]

        ranks = self._ranks
        with evaluating(model), self._computing.layout.gathered(model):
            rounds = (self._until_it_fits(scores, model, batch, ranks.together) for batch in ranks.rounds(batches))
            return score_rounds(rounds, ranks)

    def predict(
        self, model: ATFT_GAT_FAN, batch: DayBatch, key: RandomKey | None = None
    ) -> Float[Tensor, "days stocks horizons"]:
        def predictions(pieces: Sequence[DayBatch]) -> Tensor:
            return torch.cat([self._computing.predict(model, key, piece) for piece in pieces])

        with self._computing.layout.gathered(model):
            return self._until_it_fits(predictions, model, [batch], self._ranks.together)

    def _until_it_fits(
        self,
        work: Callable[[Sequence[DayBatch]], T],
        model: ATFT_GAT_FAN,
        batches: Sequence[DayBatch],
        agreed: Callable[[Callable[[], T]], T],
    ) -> T:
        """What `work` makes of the batches, in pieces; each attempt begins with nothing of the last one left.

        `agreed` runs an attempt so that all ranks come out of it alike: then all take the same relief, and try again.
        """
        while True:
            result = attempt(lambda: agreed(lambda: self._relieved(work, model, batches)))
            if not isinstance(result, RanOut):
                return result
            self._grow(result, model, batches)

    def _relieved(self, work: Callable[[Sequence[DayBatch]], T], model: ATFT_GAT_FAN, batches: Sequence[DayBatch]) -> T:
        days = self.relief.days
        pieces = batches if days is None else [piece for batch in batches for piece in batch.pieces(days)]
        model.chunks = self.relief.chunks
        if self._ema is None or model is not self._ema.model or not self._ema.on_host:
            return work(pieces)
        model.to(self._computing.device)
        try:
            return work(pieces)
        finally:
            self._ema.to_host()

    def _grow(
        self, ran_out: RanOut, model: ATFT_GAT_FAN, batches: Sequence[DayBatch], *, in_update: bool = False
    ) -> None:
        """Take the next rung. Raises MemoryLimitError on the last one."""
        free_memory()
        work = self._work_of_all(self._work(ran_out, model, batches) if batches else None)
        relief = more_relief(self.relief, work, self._step, in_update=in_update)
        if relief is None:
            self._give_up(ran_out, model, batches)
        self.restore(relief)
        self._on_relief(relief, ran_out.message)

    def _work_of_all(self, own: Work | None) -> Work:
        """The largest of what the ranks were at, so that one of them growing is all of them growing the same way."""
        if self._ranks.alone:
            assert own is not None, "memory ran out over no batches"
            return own
        told = map(json.loads, self._ranks.gather(json.dumps(None if own is None else asdict(own))))
        works = [values for values in told if values is not None]
        return Work(**{name: max(values[name] for values in works) for name in works[0]})

    def _work(self, ran_out: RanOut, model: ATFT_GAT_FAN, batches: Sequence[DayBatch]) -> Work:
        settings, spec, device = self._settings, model.spec, self._computing.device
        days, stocks = max(batch.num_days for batch in batches), max(batch.num_stocks for batch in batches)
        lists = max(1 if batch.neighbours is None else batch.neighbours.index.shape[-1] for batch in batches)
        at_once = days if self.relief.days is None else min(days, self.relief.days)
        queries = min(stocks, spec.gat_chunk_size or CHUNK_LOGITS // (at_once * lists * max(1, spec.gat_heads)))
        return Work(
            # Days that the LSTM runs over as one block cannot be split and stay the same.
            days=1 if spec.blockwise else days,
            stocks=stocks,
            queries=queries if spec.gat_heads else 0,
            by_day=spec.gradient_checkpointing,
            ema_on_device=self._ema is not None and device.type != "cpu" and self._computing.layout.shards == 1,
            bf16=settings.executor.allow_bf16 and settings.amp == "none",
            in_onednn=ran_out.in_onednn,
        )

    def _give_up(self, ran_out: RanOut, model: ATFT_GAT_FAN, batches: Sequence[DayBatch]) -> NoReturn:
        device, layout = self._computing.device, self._computing.layout
        with layout.gathered(model):
            if not batches:
                raise MemoryLimitError(f"expected this training to fit in memory, found that {ran_out.message}")
            day = self._computing.train_step.to_device(
                max(batches, key=lambda batch: batch.num_stocks).pieces(1)[0], device
            )
            need = estimate_need(model, day, ema=self._ema is not None, shards=layout.shards)
        free_memory()
        _, stocks, features = day.features.shape
        raise MemoryLimitError(
            f"expected one day of {stocks} stocks and {features} features to fit in memory, found that it does not, "
            f"with {self.relief}: {ran_out.message}; it needs {need}, available are {available_memory(device)}. The "
            "checkpoints are kept, and the same command goes on from there: give it more memory, or start a smaller "
            "network (model.hidden_size), or one with fewer features or stocks"
        )

    def _bf16(self) -> torch.autocast:
        return torch.autocast(self._computing.device.type, torch.bfloat16)
