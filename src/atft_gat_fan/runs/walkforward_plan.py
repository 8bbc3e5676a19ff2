"""What a walk-forward is made of: folds of the panel's days, one ordinary run for each of them and each seed."""

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64
from numpy.typing import NDArray
from rich.console import Console

from atft_gat_fan.config.improvements import resolve
from atft_gat_fan.config.load import PLACES, load_config, overridden
from atft_gat_fan.config.schema import Config
from atft_gat_fan.data.conversion import cached_store
from atft_gat_fan.data.folds import Days, Fold, length_in_days, walk_forward
from atft_gat_fan.data.splits import Split, least_purge, usable_days
from atft_gat_fan.data.store import Store
from atft_gat_fan.evaluation.walkforward import FoldPeriods, Period
from atft_gat_fan.runs.assembly import assemble
from atft_gat_fan.runs.pace import START_UP, Pace, measure_pace
from atft_gat_fan.runs.process import prepare_process
from atft_gat_fan.runs.run_status import finished_run
from atft_gat_fan.runs.stages import Stages
from atft_gat_fan.runs.trial_runner import threads_of_each
from atft_gat_fan.signals import StopSignals
from atft_gat_fan.validation.trials import Job, estimated_seconds

REPLACED = ("train_start", "train_end", "valid_end", "test_end")
"""Keys of `split` that every fold has values of its own for."""


@dataclass(frozen=True)
class FoldRun:
    """The run of one fold with one seed, in the folder that its configuration names."""

    seed: int
    config: Config
    job: Job

    @property
    def folder(self) -> Path:
        return self.job.folder

    @property
    def finished(self) -> bool:
        return finished_run(self.folder) is not None


@dataclass(frozen=True)
class PlannedFold:
    """A fold, counted from 1. `split` holds positions of the store's days."""

    number: int
    split: Split
    runs: tuple[FoldRun, ...]
    """One a seed, in the order of the seeds."""


@dataclass(frozen=True)
class WalkForward:
    """The plan of a walk-forward on its data."""

    config: Config
    store: Store
    folder: Path
    folds: tuple[PlannedFold, ...]
    seeds: tuple[int, ...]
    replaced: tuple[str, ...]
    """Keys of the configuration that the folds take the place of."""

    @property
    def runs(self) -> tuple[FoldRun, ...]:
        return tuple(run for fold in self.folds for run in fold.runs)

    @property
    def workers(self) -> int:
        return self.config.walkforward.workers

    @property
    def waves(self) -> tuple[tuple[PlannedFold, ...], ...]:
        """Folds that may be trained side by side: with a warm start one at a time, else all."""
        return tuple((fold,) for fold in self.folds) if self.config.walkforward.warm_start else (self.folds,)

    @property
    def left(self) -> tuple[FoldRun, ...]:
        """Runs that are to be trained: those not finished, or all of them with `run.fresh`."""
        return tuple(run for run in self.runs if self.config.run.fresh or not run.finished)

    @property
    def seconds_left(self) -> float:
        """Of the trainings that are to be done, estimated."""
        return estimated_seconds([run.job for run in self.left], self.workers)


def prepare(arguments: Sequence[str], console: Console) -> WalkForward:
    """Read the data and cut the folds; a few optimizer steps are timed to estimate the trainings that are to be done.

    Raises ConfigError for arguments that cannot be used, DataError where no fold fits, and what reading data raises.
    """
    config = load_config(arguments)
    resolve(config)
    threads = threads_of_each(config, config.walkforward.workers)
    prepare_process(threads)
    with StopSignals() as signals, Stages(console, signals) as stages:
        store = cached_store(config, stages)
        splits = _splits(config, store)
        folder = walk_folder(config)
        seeds = config.walkforward.seeds or (config.seed,)
        plan = [
            (number, split, [_run_config(config, store.days, split, number, seed, folder, threads) for seed in seeds])
            for number, split in enumerate(splits, 1)
        ]
        configs = [each for _, _, of_fold in plan for each in of_fold]
        done = not config.run.fresh and all(finished_run(Path(each.run.dir or "")) for each in configs)
        # Online: nothing is materialised here, where nothing is trained.
        probe = overridden(configs[0], ["improvements.online_normalization=true", "train.warm_start=null"])
        pace = None if done else measure_pace(assemble(probe, stages), stages)
    folds = tuple(
        PlannedFold(number, split, tuple(_planned(number, split, each, pace) for each in of_fold))
        for number, split, of_fold in plan
    )
    return WalkForward(config, store, folder, folds, seeds, _replaced(config))


def describe_plan(walk: WalkForward) -> dict[str, Any]:
    """The plan as JSON: folds with dates and counts, seeds, trainings, and how long they will take, about."""
    config, first = walk.config.walkforward, walk.folds[0].split
    return {
        "folder": str(walk.folder),
        "folds": [asdict(periods_of(fold, walk.store.days)) for fold in walk.folds],
        "purge": first.purge,
        "embargo": first.embargo,
        "expanding": config.expanding,
        "warm_start": config.warm_start,
        "seeds": list(walk.seeds),
        "trainings": len(walk.runs),
        "finished": len(walk.runs) - len(walk.left),
        "at_once": walk.workers,
        "replaced": list(walk.replaced),
        "estimated_seconds": round(walk.seconds_left),
    }


def periods_of(fold: PlannedFold, days: Days) -> FoldPeriods:
    """The fold's days as dates."""

    def period(part: Int64[NDArray[np.int64], " days"]) -> Period:
        return Period(str(days[part[0]]), str(days[part[-1]]), len(part))

    return FoldPeriods(fold.number, period(fold.split.train), period(fold.split.valid), period(fold.split.test))


def _splits(config: Config, store: Store) -> list[Split]:
    walk, usable = config.walkforward, usable_days(store.days, config.data)
    days = store.days[usable.start : usable.stop]
    return walk_forward(
        store.days,
        first_train_days=length_in_days(walk.first_train_days, days),
        valid_days=length_in_days(walk.valid_days, days),
        test_days=length_in_days(walk.test_days, days),
        purge=max(least_purge(config.data.horizons), config.split.purge or 0),
        embargo=config.split.embargo,
        expanding=walk.expanding,
        usable=usable,
    )


def walk_folder(config: Config) -> Path:
    """`run.dir`; by default beside the run folders, one for each configuration. More seeds go on in the same one."""
    if config.run.dir is not None:
        return Path(config.run.dir)
    values = config.model_dump(mode="json", exclude={**PLACES, "walkforward": {"seeds", "workers"}})
    digest = hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:8]
    return Path(config.run.root) / f"walkforward-{config.run.name}-{digest}"


def _run_config(
    config: Config, days: Days, split: Split, number: int, seed: int, folder: Path, threads: int | None
) -> Config:
    changed = overridden(config, (*Fold.of(days, split).overrides, f"seed={seed}"))
    run = {"dir": str(_run_folder(folder, number, seed)), "fresh": False, "stop_after": None, "num_threads": threads}
    changed = changed.model_copy(update={"run": changed.run.model_copy(update=run)})
    if not config.walkforward.warm_start or number == 1:
        return changed
    before = {"warm_start": str(_run_folder(folder, number - 1, seed))}
    return changed.model_copy(update={"train": changed.train.model_copy(update=before)})


def _run_folder(folder: Path, number: int, seed: int) -> Path:
    return folder / f"fold-{number:02d}" / f"seed-{seed}"


def _planned(number: int, split: Split, config: Config, pace: Pace | None) -> FoldRun:
    folder = Path(config.run.dir or "")
    seconds = 1.0 if pace is None else _seconds(config, split, pace)
    return FoldRun(config.seed, config, Job(f"fold-{number:02d}/seed-{config.seed}", "fold", folder, seconds))


def _seconds(config: Config, split: Split, pace: Pace) -> float:
    """Of training and scoring; the baselines' share is learned from the first that is finished."""
    per_epoch = math.ceil(len(split.train) / config.batch_size / config.accumulate_grad_batches)
    steps = min(per_epoch * config.train.max_epochs, config.train.max_steps or per_epoch * config.train.max_epochs)
    scored = len(split.valid) + len(split.test)
    return START_UP + pace.training(steps, len(split.valid)) + pace.scoring(scored)


def _replaced(config: Config) -> tuple[str, ...]:
    return tuple(f"split.{name}" for name in REPLACED if getattr(config.split, name) is not None)
