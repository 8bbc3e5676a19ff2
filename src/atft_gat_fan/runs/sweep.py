"""A sweep: ordinary runs, each in a process of its own; those that are finished are not run again."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console

from atft_gat_fan.config.load import run_folder, to_yaml
from atft_gat_fan.config.schema import Config
from atft_gat_fan.data.conversion import cached_store
from atft_gat_fan.errors import ConfigError, TrialError
from atft_gat_fan.runs.pace import duration
from atft_gat_fan.runs.run_files import CONFIG, write_text
from atft_gat_fan.runs.run_status import finished_run
from atft_gat_fan.runs.stages import Stages
from atft_gat_fan.runs.train import require_same_configuration, seconds_left
from atft_gat_fan.runs.trial_runner import threads_of_each, trial_runner
from atft_gat_fan.signals import StopSignals
from atft_gat_fan.training.run_folder import RunFolder
from atft_gat_fan.validation.trials import Job, Progress

RUN_MODULE = "atft_gat_fan.runs.fold"


def sweep(runs: Mapping[str, Config], console: Console, began: float | None = None) -> list[Path]:
    """Train what is not finished; the runs' folders, in the order of `runs`, which are named by what tells them apart.

    `run.stop_after` counts from `began` (`time.monotonic`), by default from now. Raises InterruptedRunError after a
    stop signal (the same command goes on), TrialError where trainings failed, once the others are finished, ConfigError
    where a folder holds another run or the runs disagree on where they run, StorageError.
    """
    configs = list(runs.values())
    require_one_place(configs)
    first, workers = configs[0], configs[0].trials.workers
    with StopSignals(seconds_left(first, began)) as signals:
        jobs = [_job(name, config) for name, config in runs.items()]
        left_to_do = [config for job, config in zip(jobs, configs, strict=True) if finished_run(job.folder) is None]
        done = len(jobs) - len(left_to_do)
        _tell(console, f"{len(jobs)} trainings, {done} finished; up to {workers} at once, each with a log of its own")

        with Stages(console, signals) as stages:
            # Beforehand, because two trainings that begin side by side could not both build the same store.
            for data in {each.data.model_dump_json(): each for each in left_to_do}.values():
                cached_store(data, stages)

        def say(progress: Progress) -> None:
            to_go = duration(progress.seconds_left)
            _tell(console, f"{progress.done} of {progress.total} trainings, about {to_go} to go: {progress.name}")

        with trial_runner(
            RUN_MODULE,
            finished_run,
            first.trials,
            workers=workers,
            poll=lambda: signals.raise_if_received("between trainings", saved="each has saved where it is"),
            progress=say,
        ) as runner:
            failures = runner.run(jobs).failures
    if failures:
        told = "; ".join(f"{name}: {failure}" for name, failure in failures.items())
        code = next(iter(failures.values())).exit_code
        raise TrialError(f"{len(failures)} of {len(jobs)} trainings failed: {told}", code)
    return [job.folder for job in jobs]


def require_one_place(configs: Sequence[Config]) -> None:
    """Raises ConfigError where runs of one command ask for different places, or different ends of it."""
    if any((each.trials, each.run.stop_after) != (configs[0].trials, configs[0].run.stop_after) for each in configs):
        raise ConfigError("expected the same trials.* and run.stop_after in every run of a sweep, found different ones")


def _job(name: str, config: Config) -> Job:
    """Let the run's process find its configuration; a finished run keeps its own."""
    folder = run_folder(config)
    with RunFolder(folder) as held:
        if config.run.fresh:
            held.clear()
        require_same_configuration(folder, config)
        if finished_run(folder) is None:
            run = {
                "dir": str(folder),
                "fresh": False,
                "stop_after": None,
                "num_threads": threads_of_each(config, config.trials.workers),
            }
            own = config.model_copy(update={"run": config.run.model_copy(update=run)})
            write_text(folder / CONFIG, to_yaml(own))
    return Job(name, "training", folder)


def _tell(console: Console, text: str) -> None:
    console.print(text, style="dim", highlight=False, markup=False, soft_wrap=True)
