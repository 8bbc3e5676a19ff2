"""Validate: configuration in; plan, trials, verdicts, validation.json and validation.html out."""

import hashlib
import json
import os
import platform
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from atft_gat_fan.config.improvements import resolve
from atft_gat_fan.config.load import PLACES, load_config, overridden, run_folder
from atft_gat_fan.config.run_sections import seconds
from atft_gat_fan.config.schema import Config
from atft_gat_fan.data.folds import Fold
from atft_gat_fan.data.splits import usable_days
from atft_gat_fan.errors import StorageError
from atft_gat_fan.runs.assembly import Assembly, assemble
from atft_gat_fan.runs.pace import START_UP, duration, measure_pace
from atft_gat_fan.runs.process import device_of, prepare_process
from atft_gat_fan.runs.run_files import write_json, write_text
from atft_gat_fan.runs.stages import Stages
from atft_gat_fan.runs.trial import OF_EVERY_TRIAL, TRIAL_MODULE, require_network, write_request
from atft_gat_fan.runs.trial_runner import trial_runner
from atft_gat_fan.signals import StopSignals
from atft_gat_fan.training.run_folder import RunFolder
from atft_gat_fan.validation.arms import Arms, make_arms
from atft_gat_fan.validation.comparison import Outcomes
from atft_gat_fan.validation.gates import parse_gate
from atft_gat_fan.validation.outcome import TrialOutcome
from atft_gat_fan.validation.plan import KINDS, Kind, Trial, laid_over, make_folds, make_trials
from atft_gat_fan.validation.report import build_report
from atft_gat_fan.validation.result import SetUp, ValidationResult
from atft_gat_fan.validation.summary import summarise
from atft_gat_fan.validation.trials import Job, Progress, TrialResults, estimated_seconds

RESULT, PAGE, TRIALS = "validation.json", "validation.html", "trials"
FULL = "+validation=full"
PHASES = {1: "+phase=day1_2", 2: "+phase=day3_4", 3: "+phase=day5_7"}
"""The steps of the memo's Phase 3, each on top of those before."""


@dataclass(frozen=True)
class Request:
    """What `atft validate` was asked for. `arguments` are in Hydra's grammar; `command` is printed in the report."""

    arguments: Sequence[str] = ()
    only: Sequence[str] = ()
    gates: Sequence[str] = ()
    full: bool = False
    phase: int | None = None
    command: str = "atft validate"


@dataclass(frozen=True)
class Prepared:
    """The plan of a validation on its data. `config` is what every arm is laid over."""

    request: Request
    config: Config
    arms: Arms
    folds: tuple[Fold, ...]
    trials: tuple[Trial, ...]
    jobs: tuple[Job, ...]
    """In the order of `trials`."""
    configs: Mapping[str, Config]
    folder: Path
    workers: int | None
    """Trials at once at most; None: as many as the Ray cluster has room for."""
    assembly: Assembly

    @property
    def seconds_left(self) -> float:
        """Of the trials that are not finished, estimated."""
        left = [job for job in self.jobs if TrialOutcome.read(job.folder) is None]
        return estimated_seconds(left, self.workers or 1)


def base_config(request: Request) -> Config:
    """The configuration under validation: files, then `validation.overrides`, then the command's own keys."""
    groups = [*([FULL] if request.full else []), *([PHASES[request.phase]] if request.phase else [])]
    arguments = [*groups, *request.arguments]
    return load_config([*groups, *load_config(arguments).validation.overrides, *request.arguments])


def prepare(request: Request, console: Console, arms: Arms | None = None) -> Prepared:
    """Read the data, cut the folds, and make the plan; a few optimizer steps are timed to estimate the rest.

    `arms`: others than the improvements of the configuration, to compare any two configurations.
    Raises ConfigError for arguments, names and gates that cannot be used, and what reading data raises.
    """
    config = base_config(request)
    for gate in request.gates:
        parse_gate(gate)
    resolve(config)
    arms = arms or make_arms(config, request.only)
    _require_networks(config, arms)
    prepare_process(config.validation.threads)
    with StopSignals() as signals, Stages(console, signals) as stages:
        # Online: nothing is materialised here, where nothing is trained.
        assembly = assemble(overridden(config, (*arms.baseline, "improvements.online_normalization=true")), stages)
        estimates = _estimate(config, assembly, stages)
    folds = make_folds(assembly.store.days, assembly.split, config.validation.folds)
    trials = make_trials(config, arms, folds)
    folder = _folder(config)
    workers = config.validation.workers or _one_for_each_core(config)
    configs = {trial.name: _trial_config(config, trial, folder, assembly.store.fingerprint) for trial in trials}
    jobs = tuple(
        Job(
            trial.name,
            trial.kind,
            Path(configs[trial.name].run.dir or "").parent,
            seconds=estimates[trial.kind],
            alone=trial.kind == "timing",  # beside others it would measure them too
        )
        for trial in trials
    )
    return Prepared(request, config, arms, folds, trials, jobs, configs, folder, workers, assembly)


def _require_networks(config: Config, arms: Arms) -> None:
    """Raises ConfigError where an arm blends."""
    for arm in ((), *(arm.overrides for arm in (*arms.variants, *arms.without))):
        require_network(overridden(config, (*arms.baseline, *arm)))


def describe_plan(prepared: Prepared) -> dict[str, Any]:
    """The plan as JSON: arms, folds, seeds, counts of trials, and how long they will take, about."""
    counts = Counter(trial.kind for trial in prepared.trials)
    finished = Counter(job.kind for job in prepared.jobs if TrialOutcome.read(job.folder) is not None)
    arms = prepared.arms
    return {
        "folder": str(prepared.folder),
        "baseline": list(arms.baseline),
        "arms": {arm.name: list(arm.overrides) for arm in (*arms.variants, *arms.without)},
        "left_out": arms.left_out,
        "laid_over_all": list(laid_over(prepared.config)),
        "seeds": list(prepared.config.validation.seeds),
        "folds": [f"trained to {f.train_end}, tested {f.test_start} to {f.test_end}" for f in prepared.folds],
        "trials": {kind: counts[kind] for kind in KINDS},
        "finished": {kind: finished[kind] for kind in KINDS},
        "at_once": prepared.workers,
        "estimated_seconds": round(prepared.seconds_left),
    }


def validate(prepared: Prepared, console: Console) -> ValidationResult:
    """Run what is not finished, and write validation.json and validation.html into the validation's folder.

    Raises InterruptedRunError after a stop signal (the same command goes on), StorageError.
    """
    limit = prepared.config.run.stop_after
    with RunFolder(prepared.folder), StopSignals(None if limit is None else seconds(limit)) as signals:
        if prepared.config.run.fresh:
            shutil.rmtree(prepared.folder / TRIALS, ignore_errors=True)
        for trial, job in zip(prepared.trials, prepared.jobs, strict=True):
            if TrialOutcome.read(job.folder) is None:
                write_request(job.folder, trial, prepared.configs[trial.name])
        with trial_runner(
            TRIAL_MODULE,
            TrialOutcome.read,
            prepared.config.trials,
            workers=prepared.workers or len(prepared.jobs),  # Ray lets them wait for their turn
            poll=lambda: signals.raise_if_received("between trials", saved="finished trials are kept"),
            progress=lambda progress: _say(progress, console),
        ) as runner:
            results = runner.run(prepared.jobs)
        outcomes = Outcomes(prepared.trials, results.outcomes)
        _require_something(results, prepared)
        gates = [parse_gate(gate) for gate in prepared.request.gates]
        result = summarise(prepared.config, prepared.arms, outcomes, _set_up(prepared, results), gates)
        values = result.to_json()
        write_json(prepared.folder / RESULT, values)
        write_text(prepared.folder / PAGE, build_report(values))
    return result


def _one_for_each_core(config: Config) -> int | None:
    """One trial for each `threads` cores of this machine; Ray counts its own."""
    return None if config.trials.executor == "ray" else max(1, (os.cpu_count() or 1) // config.validation.threads)


def _folder(config: Config) -> Path:
    """`run.dir`; by default beside the run folders, one for each configuration."""
    if config.run.dir is not None:
        return Path(config.run.dir)
    folder = run_folder(config)
    return folder.with_name(f"validation-{folder.name}")


def _trial_config(config: Config, trial: Trial, folder: Path, fingerprint: str) -> Config:
    """With a folder of its own, named by all that decides the outcome: other keys or data make another trial."""
    threads = f"run.num_threads={config.validation.threads}"
    changed = overridden(config, (*OF_EVERY_TRIAL, threads, *trial.overrides))
    decided = [changed.model_dump(mode="json", exclude=PLACES), trial.to_json(), fingerprint]
    digest = hashlib.sha256(json.dumps(decided, sort_keys=True).encode()).hexdigest()[:8]
    run = folder / TRIALS / f"{trial.name}-{digest}" / "run"
    return changed.model_copy(update={"run": changed.run.model_copy(update={"dir": str(run)})})


def _estimate(config: Config, assembly: Assembly, stages: Stages) -> dict[Kind, float]:
    """Seconds of a trial of each kind, from a few steps and scored days."""
    pace = measure_pace(assembly, stages)
    steps, valid_days, test_days = pace.planned_steps, len(assembly.split.valid), len(assembly.split.test)
    stressed = config.validation.stress.max_steps
    timing = config.validation.timing
    return {
        "rank_ic": START_UP + pace.training(steps, valid_days) + pace.scoring(test_days) / config.validation.folds,
        "stress": START_UP + stressed * pace.step * 1.1 + pace.validating(valid_days),
        "timing": START_UP + 4 * (timing.rounds + 1) * timing.steps * pace.step,
    }


def _say(progress: Progress, console: Console) -> None:
    left = f"about {duration(progress.seconds_left)} to go"
    console.print(f"{progress.done} of {progress.total} trials, {left}: {progress.name}", style="dim", highlight=False)


def _require_something(results: TrialResults[TrialOutcome], prepared: Prepared) -> None:
    if results.outcomes or not results.failures:
        return
    name, why = next(iter(results.failures.items()))
    raise StorageError(f"{prepared.folder}: expected trials with an outcome, all failed; {name}: {why}")


def _set_up(prepared: Prepared, results: TrialResults[TrialOutcome]) -> SetUp:
    config, assembly = prepared.config, prepared.assembly
    store, outcomes = assembly.store, results.outcomes
    days = store.days[usable_days(store.days, config.data)]
    ranked = [outcomes[trial.name] for trial in prepared.trials if trial.kind == "rank_ic" and trial.name in outcomes]
    counts = Counter(trial.kind for trial in prepared.trials if trial.name in outcomes)
    stocks = [outcome.stocks for outcome in ranked if outcome.stocks is not None]
    return SetUp(
        command=prepared.request.command,
        data=f"{config.data.source}, {len(store.codes)} stocks, {days[0]} to {days[-1]}",
        stocks=sum(stocks) / len(stocks) if stocks else 0.0,
        horizons=config.data.horizons,
        folds=tuple(f"{fold.test_start} to {fold.test_end}" for fold in prepared.folds),
        epochs=max((outcome.epochs or 0 for outcome in ranked), default=0),
        parameters=next((outcome.parameters for outcome in ranked if outcome.parameters is not None), None),
        trials={kind: counts[kind] for kind in KINDS},
        failed_trials=tuple(f"{name}: {why}" for name, why in results.failures.items()),
        seconds=_measured_seconds(results),
        machine=_machine(config),
        full=prepared.request.full,
        level=config.validation.level,
    )


def _measured_seconds(results: TrialResults[TrialOutcome]) -> float:
    trained = sum(outcome.seconds or 0.0 for outcome in results.outcomes.values())
    timed = sum(sum(outcome.baseline_seconds + outcome.variant_seconds) for outcome in results.outcomes.values())
    return trained + timed


def _machine(config: Config) -> str:
    gpu = f", {torch.cuda.get_device_name()}" if device_of(config).type == "cuda" else ""
    return (
        f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}, Python {platform.python_version()}, "
        f"torch {torch.__version__}{gpu}"
    )
