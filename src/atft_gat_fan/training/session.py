"""One session's part of a training: epochs, validation, early stopping, checkpoints; resumable to the same bits.

Nothing is random here. The order of the data is a function of seed and epoch, dropout one of seed,
step, day and layer; so weights, their average, optimizer state and `History` are all there is to save.

Several ranks run the same session, each on its share of the days. All that is decided here is decided by what they have
agreed on, so they agree on nothing more than: each step, what stopped one of them, and that a checkpoint is there.
"""

import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, NoReturn

from torch import Tensor

from atft_gat_fan.errors import NonFiniteError
from atft_gat_fan.models.network import ATFT_GAT_FAN
from atft_gat_fan.signals import StopRequested, StopSignals
from atft_gat_fan.training.cadence import Cadence
from atft_gat_fan.training.checkpoint import TrainingState
from atft_gat_fan.training.divergence import DivergedError, Divergence
from atft_gat_fan.training.executor import make_executor
from atft_gat_fan.training.history import History
from atft_gat_fan.training.layout import make_layout
from atft_gat_fan.training.loggers import Logger
from atft_gat_fan.training.objective import Objective
from atft_gat_fan.training.optim import build_optimizer, schedule_learning_rates
from atft_gat_fan.training.progress import ProgressDisplay
from atft_gat_fan.training.rank_batches import RankBatches
from atft_gat_fan.training.ranks import Ranks
from atft_gat_fan.training.relief import Relief
from atft_gat_fan.training.resources import peak_rss_bytes
from atft_gat_fan.training.run_folder import RunFolder
from atft_gat_fan.training.runtime import make_runtime
from atft_gat_fan.training.saving import Saves
from atft_gat_fan.training.schedule import Schedule
from atft_gat_fan.training.settings import TrainSettings
from atft_gat_fan.training.step import StepReport, TrainStep, UpdateLostError
from atft_gat_fan.training.temperature import TemperatureSchedule
from atft_gat_fan.training.training_data import TrainingData, step_groups
from atft_gat_fan.training.validation_pass import ValidationScores
from atft_gat_fan.training.watch import Watch
from atft_gat_fan.training.weights import Weights
from atft_gat_fan.types import DayBatch


@dataclass(frozen=True)
class _Back:
    """Why training goes back to the newest checkpoint; `diverged`: and has to go on more slowly."""

    why: str
    diverged: bool


class Session:
    """Owns model, optimizer and history while they change."""

    def __init__(
        self,
        model: ATFT_GAT_FAN,
        data: TrainingData,
        settings: TrainSettings,
        folder: RunFolder,
        schedule: Schedule,
        signals: StopSignals,
        display: ProgressDisplay,
        logger: Logger,
        ranks: Ranks,
    ) -> None:
        self._model, self._data, self._settings, self._folder = model, data, settings, folder
        self._schedule, self._signals, self._display, self._logger = schedule, signals, display, logger
        self._ranks = ranks
        self._runtime = make_runtime(settings)
        # Fabric's wrapper is left aside: it moves the model in place, and our state-dict keys are the model's own.
        self._runtime.fabric.setup_module(model)
        self._layout = make_layout(ranks, self._runtime.fabric.device, sharded=settings.sharded)
        self._weights = Weights(model, settings.ema, self._layout)
        self._optimizer = build_optimizer(model, settings)
        train_step = TrainStep(
            self._runtime,
            model,
            self._optimizer,
            Objective(settings, self._runtime.fabric.device),
            clip_norm=settings.clip_norm,
            seed=settings.seed,
            to_device=data.to_device,
            applied=self._weights.stepped,
            poll=signals.poll,
            layout=self._layout,
        )
        self._executor = make_executor(settings, train_step, ema=self._weights.ema, on_relief=self._relieved)
        self._batches = RankBatches(
            ranks,
            data.batch,
            self._executor.load,
            divisible=not model.spec.blockwise,
            num_workers=settings.num_workers,
        )
        self._saves = Saves(settings, folder, self._runtime, self._weights, self._optimizer, ranks)
        self._divergence = Divergence(settings, folder.path, data, model, self._layout)
        self._watch = Watch(settings, self._runtime, self._optimizer, self._weights, self._executor)
        self._temperature = TemperatureSchedule(settings.temperature, schedule.planned_steps)
        self.history = History()
        self._cadence = Cadence(settings.checkpoint_every)
        self._save_due = False
        self._begun = False
        self._probed = ranks.first
        self._started = time.monotonic()
        self._earlier_seconds = 0.0

    def start(self, state: TrainingState | None, damage: list[str]) -> None:
        """Take over a checkpoint, if there is one, and open the record of this session."""
        if state is not None:
            self._restore(state)
            self._earlier_seconds = self.history.seconds
            self._display.message(
                f"resuming from step {state.step} of {self._schedule.planned_steps} "
                f"(epoch {state.epoch + 1}, {state.name})"
            )
        self._watch.start(self.history)
        self._log(
            "start",
            digest=self._settings.digest,
            data=self._settings.data,
            compiled=self._model.compiled,
            parameters=sum(parameter.numel() for parameter in self._model.parameters()),
            planned_steps=self._schedule.planned_steps,
            warmup_steps=self._schedule.effective_warmup,
            device=str(self._runtime.fabric.device),
            **({} if self._ranks.alone else {"ranks": self._ranks.size}),
            **({"sharded": True} if self._settings.sharded else {}),
            resumed_from=None if state is None else state.step,
        )
        for message in damage:
            self._warn(message)
        self._begun = state is not None

    def run(self) -> tuple[ATFT_GAT_FAN, dict[str, Tensor] | None]:
        """Train to the end. A stop signal raises InterruptedRunError.

        Returns the network with the selected weights (averaged ones with an EMA), which is the one given unless weights
        are divided over ranks, and the raw weights behind averaged ones, else None.
        """
        self._model.train()
        compiling = self._model.compiled
        while self.history.reason is None:
            back = self._advance(compiling)
            if back is not None:
                self._go_back(back)
            compiling = False
        raw = self._weights.finish()
        model = self._weights.trained
        self._set_temperature(model, self._temperature.final)
        return model.eval(), raw

    def _advance(self, compiling: bool) -> _Back | None:
        """Train and validate what is left of the epoch. Returns why training has to go back, where it has to."""
        try:
            if compiling:
                self._compile()
            if not self._begun:
                # What training goes back to; and a disk that cannot be written shows before the first step.
                self._save()
            self._train_epoch()
            self._validate()
            self._save()
            return None
        except StopRequested:
            back = None
        except UpdateLostError as error:
            back = _Back(str(error), diverged=False)
        except DivergedError as error:
            back = _Back(str(error), diverged=True)
        # Out here no exception holds on to the tensors of the step it came from.
        if back is None:
            self._save_and_stop()
        return back

    def _save_and_stop(self) -> None:
        self._ranks.share_stop(self._signals)
        try:
            self._save()
        except DivergedError as error:
            self._go_back(_Back(str(error), diverged=True))
        self._signals.raise_if_received(f"after step {self.history.step}")

    def _compile(self) -> None:
        """Run each kind of forward and backward pass once, so that no step pays for compiling. Changes nothing."""
        self._display.message("compiling the network: up to some minutes the first time, less once it is cached")
        began = time.monotonic()
        first, *_ = step_groups(self._data, self._settings, epoch=0)[0]
        self._executor.rehearse(list(self._batches.load(self._batches.share([first]))))
        valid = self._data.valid_blocks()[: self._ranks.size]
        self._executor.score(self._weights.evaluated, self._batches.dealt(valid))
        self._log("compile", seconds=time.monotonic() - began)

    def _train_epoch(self) -> None:
        """Train the steps of the epoch that are not done yet."""
        history = self.history
        groups = step_groups(self._data, self._settings, history.epoch)
        last = min(len(groups), history.position + self._schedule.planned_steps - history.step)
        shares = {position: self._batches.share(groups[position]) for position in range(history.position, last)}
        stream = self._batches.load([part for share in shares.values() for part in share])
        while history.position < last:
            if self._ranks.alone:  # else in the step, whose first agreement it becomes
                self._signals.poll()
            began = time.perf_counter()
            schedule_learning_rates(self._optimizer, self._schedule(history.step) * history.lr_factor)
            self._set_temperature(self._model, self._temperature(history.step))
            blocks = groups[history.position]
            batches = list(islice(stream, len(shares[history.position])))
            report = self._executor.train(batches, history.step)
            history.train_seconds += time.perf_counter() - began
            history.position += 1
            history.step += 1
            self._account(report, batches, blocks)
            if history.step % self._settings.log_every == 0:
                self._log_step(report)
            # The epoch's last step is saved after its validation; while steps are skipped, nothing new is to be saved.
            due = self._save_due or self._due()
            if due and history.position < last and not history.non_finite_in_row:
                self._save()

    def _due(self) -> bool:
        """Whether a checkpoint is due; by the clock, where minutes are counted, of rank 0."""
        due = self._cadence.due(self.history.step)
        by_clock = isinstance(self._settings.checkpoint_every, str)
        return self._ranks.any(due and self._ranks.first) if by_clock else due

    def _account(self, report: StepReport, batches: Sequence[DayBatch], blocks: Sequence[tuple[int, int]]) -> None:
        """Count the step. Too many non-finite ones in a row send training back, or end it."""
        history = self.history
        history.samples += report.samples
        if report.outcome == "applied":
            history.loss_sum += report.loss
            history.loss_steps += 1
            history.non_finite_in_row = 0
            self._display.stepped(history.step, report.loss)
            return
        history.skipped_steps += 1
        if report.outcome != "non_finite":
            return
        history.non_finite_in_row += 1
        self._warn(f"step {history.step} skipped: loss {report.loss}, gradient norm {report.grad_norm}")
        if history.non_finite_in_row == self._settings.max_skipped_steps:
            first = history.step - self._settings.max_skipped_steps + 1
            seen = batches if self._ranks.alone else self._batches.whole(blocks)
            self._diverged(f"loss or gradients were not finite in steps {first} to {history.step}", seen, report)

    def _diverged(self, what: str, batches: Iterable[DayBatch] = (), report: StepReport | None = None) -> NoReturn:
        self._divergence.raise_for(self.history, what, self._runtime.fabric.device, batches, report)

    def _go_back(self, back: _Back) -> None:
        """Bring back the newest sound checkpoint, and remember in a new one that training went back."""
        damage: list[str] = []
        state = self._saves.sound(damage.append)
        now, relief = self.history, self._executor.relief
        self._restore(state)
        history = self.history
        history.returns, history.rollbacks, history.relief = now.returns + 1, now.rollbacks, now.relief
        self._executor.restore(relief)
        history.lr_factor, history.non_finite_in_row = now.lr_factor, 0
        if back.diverged:
            history.rollbacks += 1
            history.lr_factor *= self._settings.rollback_lr
        self._watch.start(history)
        self._log("return", why=back.why, lost_steps=now.step - history.step, lr_factor=history.lr_factor)
        lr = f", learning rate times {history.lr_factor:g} from here on" if back.diverged else ""
        for message in (*damage, f"{back.why}: back to step {history.step}{lr}"):
            self._warn(message)
        self._save()

    def _validate(self) -> None:
        """Score the validation days, close the epoch, and decide whether training is over."""
        history, settings = self.history, self._settings
        self._set_temperature(self._weights.evaluated, self._temperature.final)
        blocks = self._data.valid_blocks()
        if not self._probed:  # every rank looks at the batch that rank 0 meets first
            (probe,) = self._batches.whole(blocks[:1])
            self._watch.seen(probe)
            self._probed = True
        batches = map(self._watch.seen, self._batches.dealt(blocks))
        scores = self._executor.score(self._weights.evaluated, batches)
        rank_ic = scores.rank_ic if math.isfinite(scores.rank_ic) else None
        best = history.stopping.update(rank_ic, history.step, settings.smoothing)
        if best or settings.select == "last":
            self._weights.keep_as_best()
        self._close_epoch(scores, best)
        self._log("watch", epoch=history.epoch, **self._watch.epoch(history))
        if history.step == self._schedule.planned_steps:
            history.reason = "max_steps" if history.step == settings.max_steps else "max_epochs"
        elif settings.early_stopping and history.stopping.since_best >= settings.patience:
            history.reason = "early_stopping"

    def _close_epoch(self, scores: ValidationScores, best: bool) -> None:
        history, settings = self.history, self._settings
        record = history.close_epoch(scores, best=best)
        self._log(
            "valid",
            epoch=record.epoch,
            **settings.by_horizon("rank_ic", record.rank_ic_by_horizon),
            rank_ic=record.rank_ic,
            smoothed_rank_ic=record.smoothed_rank_ic,
            **settings.by_horizon("loss", record.loss_by_horizon),
            best=best,
        )
        self._display.validated(record.epoch, history.step, record.train_loss, record.rank_ic, best)

    def _save(self) -> None:
        began = time.monotonic()
        history = self.history
        history.seconds = self._seconds()
        history.peak_rss_bytes = max(history.peak_rss_bytes, peak_rss_bytes())
        try:
            path = self._saves.save(history)
        except NonFiniteError as error:
            self._diverged(str(error))
        self._cadence.done()
        self._save_due, self._begun = False, True
        self._log("checkpoint", path=str(path.relative_to(self._folder.path)), seconds=time.monotonic() - began)

    def _restore(self, state: TrainingState) -> None:
        self.history = self._saves.restore(state)
        if self.history.relief is not None:
            self._executor.restore(Relief.from_json(self.history.relief))

    def _relieved(self, relief: Relief, why: str) -> None:
        """Memory ran out, and from now on work is done in another way: to be saved with the next step done so."""
        self.history.relief = relief.to_json()
        self._save_due = True
        self._log("relief", why=why, stamp=relief.stamp, **relief.to_json())
        self._warn(f"out of memory at step {self.history.step + 1}: {why}; from now on {relief} ({relief.stamp})")

    def _set_temperature(self, model: ATFT_GAT_FAN, value: float) -> None:
        if self._temperature.moves:
            model.set_gat_temperature(value)

    def _log_step(self, report: StepReport) -> None:
        history, step = self.history, self.history.step - 1
        self._log(
            "train",
            epoch=history.epoch + 1,
            lr=self._settings.lr * self._schedule(step) * history.lr_factor,
            **({"gat_temperature": self._temperature(step)} if self._temperature.moves else {}),
            **self._watch.step(report),
            **self._watch.throughput(history),
        )

    def _warn(self, message: str) -> None:
        self._log("warning", message=message)
        self._display.message(f"warning: {message}")

    def _log(self, event: str, **values: Any) -> None:
        self._logger.log(event, self.history.step, **values)

    def _seconds(self) -> float:
        """Time spent on the run by all its sessions."""
        return self._earlier_seconds + time.monotonic() - self._started
