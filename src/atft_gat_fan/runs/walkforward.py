"""Walk forward: train every fold with every seed, then judge all test days together."""

from pathlib import Path
from typing import Any

from rich.console import Console

from atft_gat_fan.config.load import to_yaml
from atft_gat_fan.errors import ConfigError, StorageError, TrialError
from atft_gat_fan.runs.origin import settle_data
from atft_gat_fan.runs.run_files import BUNDLE, CONFIG, read_metrics, write_text
from atft_gat_fan.runs.run_status import finished_run
from atft_gat_fan.runs.stages import Stages
from atft_gat_fan.runs.train import require_same_configuration, seconds_left
from atft_gat_fan.runs.trial_runner import trial_runner
from atft_gat_fan.runs.walkforward_plan import FoldRun, PlannedFold, WalkForward
from atft_gat_fan.runs.walkforward_progress import WalkProgress
from atft_gat_fan.runs.walkforward_results import PAGE, combine
from atft_gat_fan.runs.warm_start import load_initial
from atft_gat_fan.signals import StopSignals
from atft_gat_fan.training.run_folder import RunFolder
from atft_gat_fan.validation.trials import TrialRunner

FOLD_MODULE = "atft_gat_fan.runs.fold"


def walkforward(
    walk: WalkForward, console: Console, began: float | None = None, runner: TrialRunner[Path] | None = None
) -> dict[str, Any]:
    """Train what is not finished, and leave predictions.parquet, metrics.json and walkforward.html; the metrics.

    `run.stop_after` counts from `began` (`time.monotonic`), by default from now. `runner`, by default processes on this
    machine, is given jobs whose folders hold the configuration of a run, and finishes them. Raises InterruptedRunError
    after a stop signal (the same command goes on), TrialError where a training failed, ConfigError where the folder
    holds runs of another configuration or of other data, StorageError.
    """
    with RunFolder(walk.folder) as folder, StopSignals(seconds_left(walk.config, began)) as signals:
        _require_no_run(folder)
        if walk.config.run.fresh:
            _clear(folder)
        for run in walk.runs:
            require_same_configuration(run.folder, run.config)
        with folder.recording():
            folder.write_config(walk.config)
            if runner is None:
                _train_here(walk, console, signals)
            else:
                _train(walk, runner)
            with Stages(console, signals) as stages:
                combine(walk, stages)
    return read_metrics(walk.folder)


def _require_no_run(folder: RunFolder) -> None:
    """Metrics and predictions of a single training would be overwritten."""
    if (folder.path / BUNDLE).exists() or folder.checkpoints.exists():
        raise ConfigError(
            f"{folder.path}: expected the folder of a walk-forward or an empty one, found a training's; choose another "
            "run.dir"
        )


def _clear(folder: RunFolder) -> None:
    """Delete what the folder's runs wrote, and nothing else."""
    for path in sorted(folder.path.glob("fold-*/seed-*")):
        with RunFolder(path) as run:
            run.clear()
    folder.clear()
    (folder.path / PAGE).unlink(missing_ok=True)


def _train_here(walk: WalkForward, console: Console, signals: StopSignals) -> None:
    with WalkProgress(walk, console) as progress:

        def poll() -> None:
            progress.poll()
            signals.raise_if_received("between trainings", saved="each has saved where it is")

        with trial_runner(
            FOLD_MODULE,
            finished_run,
            walk.config.trials,
            workers=walk.workers,
            poll=poll,
            progress=progress.finished,
        ) as runner:
            _train(walk, runner)


def _train(walk: WalkForward, runner: TrialRunner[Path]) -> None:
    done = 0
    for wave in walk.waves:
        for fold in wave:
            for run in fold.runs:
                _settle(walk, fold, run)
        jobs = [run.job for fold in wave for run in fold.runs]
        later = [run.job for run in walk.runs[done + len(jobs) :]]
        failures = runner.run(jobs, later).failures
        if failures:
            told = "; ".join(f"{name}: {failure}" for name, failure in failures.items())
            code = next(iter(failures.values())).exit_code
            raise TrialError(f"{walk.folder}: {len(failures)} of {len(walk.runs)} trainings failed: {told}", code)
        done += len(jobs)


def _settle(walk: WalkForward, fold: PlannedFold, run: FoldRun) -> None:
    """Let the run's process find its configuration; refuse a finished one that was made from something else."""
    if run.finished:
        initial = run.config.train.warm_start
        weights = None if initial is None else load_initial(Path(initial)).fingerprint
        settle_data(run.folder, walk.store, fold.split, begun=True, initial_weights=weights)
        return
    try:
        run.folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"{run.folder}: expected a folder that can be made, found {error.strerror}") from error
    write_text(run.folder / CONFIG, to_yaml(run.config))
