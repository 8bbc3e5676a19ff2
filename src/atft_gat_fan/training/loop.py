"""The training loop's door: resume what is there, train to the end, hand back the best weights."""

import json
from dataclasses import dataclass, replace

from rich.console import Console
from torch import Tensor

from atft_gat_fan.errors import ConfigError
from atft_gat_fan.models.network import ATFT_GAT_FAN
from atft_gat_fan.signals import StopSignals
from atft_gat_fan.training.checkpoint import TrainingState
from atft_gat_fan.training.compilation import decide_compile
from atft_gat_fan.training.history import EpochRecord, History
from atft_gat_fan.training.loggers import open_logger
from atft_gat_fan.training.progress import make_display
from atft_gat_fan.training.ranks import Ranks
from atft_gat_fan.training.relief import Relief
from atft_gat_fan.training.resources import peak_rss_bytes
from atft_gat_fan.training.run_folder import RunFolder
from atft_gat_fan.training.saving import fingerprint, newest_of_all
from atft_gat_fan.training.schedule import Schedule
from atft_gat_fan.training.session import Session
from atft_gat_fan.training.settings import TrainSettings
from atft_gat_fan.training.training_data import TrainingData, planned_steps


@dataclass(frozen=True)
class FitResult:
    """A finished training; `model` is in evaluation mode and carries the weights of `best_step`: averaged ones where
    there is an EMA, and then `raw_model_state` are the raw weights behind them, on the CPU.

    `best_rank_ic` is the best smoothed validation RankIC (mean over horizons), by which they were chosen unless the
    settings select the last ones; None where no validation day had one, and the last weights are kept. `reason` is
    `max_epochs`, `max_steps` or `early_stopping`. `seconds` is the time of all sessions of the run,
    `samples_per_second` counts stock-windows over the time of the training steps. `rollbacks` counts returns to a
    checkpoint after numbers that were not finite, `relief` is what was done against running out of memory (None: it
    never did).
    """

    model: ATFT_GAT_FAN
    best_step: int
    best_rank_ic: float | None
    steps: int
    skipped_steps: int
    epochs: int
    reason: str
    history: tuple[EpochRecord, ...]
    seconds: float
    samples_per_second: float
    peak_rss_bytes: int
    rollbacks: int = 0
    relief: Relief | None = None
    raw_model_state: dict[str, Tensor] | None = None


def fit(
    model: ATFT_GAT_FAN,
    data: TrainingData,
    settings: TrainSettings,
    folder: RunFolder,
    console: Console,
    signals: StopSignals,
    ranks: Ranks | None = None,
) -> FitResult:
    """Train, resuming from the newest checkpoint in the folder, and leave the best weights in the model of the result:
    in the one given, or, where `settings.sharded` divided that over the ranks, in another.

    `signals`, opened by the caller, are heeded after each step and each scored validation block.

    With several `ranks`, all of them call this with the same arguments, and come to the same result; rank 0 alone holds
    the folder, logs and shows. Settings, data and weights that are not the same on all raise ConfigError, a rank that
    is lost RankError.

    Same machine, settings, data and initial weights: the same bits, however often the run was killed
    and started again. Raises InterruptedRunError after one of `signals` (state saved), NonFiniteError when
    training diverges, MemoryLimitError where memory ran out, StorageError when a checkpoint cannot be written
    or none can be read, ConfigError when the folder's checkpoint belongs to another configuration, DataError
    without days to train on.
    """
    ranks = Ranks() if ranks is None else ranks
    _require_alike(ranks, settings, model)
    damage: list[str] = []
    state = newest_of_all(folder.checkpoints, ranks, damage.append)
    if state is not None:
        _check_origin(state, settings, folder)
    schedule = Schedule(settings.scheduler, planned_steps(data, settings), settings.warmup_steps)
    resumed_step = 0 if state is None else state.step
    with (
        make_display(console, schedule.planned_steps, resumed_step) as display,
        open_logger(_logged(settings, ranks), folder, resumed_step, display.message) as logger,
    ):
        compiled = decide_compile(
            settings,
            schedule.planned_steps,
            recorded=None if state is None else state.progress["compiled"],
            message=display.message,
        )
        model.compiled = ranks.every(compiled)
        session = Session(model, data, settings, folder, schedule, signals, display, logger, ranks)
        session.start(state, damage)
        trained, raw = session.run()
        result = _sum_up(trained, session.history, settings, raw)
        logger.log("finish", result.steps, reason=result.reason, best_step=result.best_step, seconds=result.seconds)
    # A signal during the last save: all is stored, but the caller must not begin its next work.
    ranks.share_stop(signals)
    signals.raise_if_received(f"after step {result.steps}, the last one")
    return result


def _require_alike(ranks: Ranks, settings: TrainSettings, model: ATFT_GAT_FAN) -> None:
    """Ranks that were started or fed differently would train something else together."""
    if ranks.alone:
        return
    own = {
        "configuration": settings.digest,
        "data": settings.data,
        "initial weights": fingerprint(model),
        "distributed.strategy": settings.sharded,
    }
    first, *others = map(json.loads, ranks.gather(json.dumps(own)))
    different = [
        f"rank {rank}: {what}" for rank, other in enumerate(others, 1) for what in first if other[what] != first[what]
    ]
    if different:
        raise ConfigError(
            f"expected what rank 0 trains on every rank, found other ({'; '.join(different)}); start all of them with "
            "the same command and installation, and the same data"
        )


def _logged(settings: TrainSettings, ranks: Ranks) -> TrainSettings:
    return settings if ranks.first else replace(settings, loggers=())


def _check_origin(state: TrainingState, settings: TrainSettings, folder: RunFolder) -> None:
    """A checkpoint goes on under the configuration and the data it comes from, and no other."""
    for what, there, here in (
        ("configuration", state.progress["digest"], settings.digest),
        ("data", state.progress["data"], settings.data),
    ):
        if there != here:
            other = {"configuration": "one of another", "data": "one made from other prices, features, codes or days"}
            raise ConfigError(
                f"{folder.path}: expected a checkpoint of this {what} ({here}), found {other[what]} ({there}); bring "
                f"back the {what} it was made with, choose another run.dir, or start over with run.fresh=true"
            )


def _sum_up(model: ATFT_GAT_FAN, history: History, settings: TrainSettings, raw: dict[str, Tensor] | None) -> FitResult:
    assert history.reason is not None
    best_step = history.stopping.best_step if settings.select == "best" else None
    return FitResult(
        model=model,
        best_step=history.step if best_step is None else best_step,
        best_rank_ic=history.stopping.best,
        steps=history.step,
        skipped_steps=history.skipped_steps,
        epochs=history.epoch,
        reason=history.reason,
        history=tuple(history.epochs),
        seconds=history.seconds,
        samples_per_second=history.samples / history.train_seconds,
        peak_rss_bytes=max(history.peak_rss_bytes, peak_rss_bytes()),
        rollbacks=history.rollbacks,
        relief=None if history.relief is None else Relief.from_json(history.relief),
        raw_model_state=raw,
    )
