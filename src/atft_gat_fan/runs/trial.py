"""One trial of a validation, in a process of its own: `python -m atft_gat_fan.runs.trial FOLDER`.

The folder holds the trial and its configuration; the training resumes from what an earlier process left in it, and the
outcome is written last.
"""

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console

from atft_gat_fan.config.load import read_config, to_yaml
from atft_gat_fan.config.schema import Config
from atft_gat_fan.errors import ConfigError, NonFiniteError, StorageError
from atft_gat_fan.inference.predictor import predict_days
from atft_gat_fan.losses.label_transform import transform_labels
from atft_gat_fan.metrics.rank_ic import daily_rank_ic
from atft_gat_fan.models.network import ATFT_GAT_FAN
from atft_gat_fan.runs.assembly import Assembly, assemble, build_model
from atft_gat_fan.runs.child import free_folder, run_as_child
from atft_gat_fan.runs.constant_predictor import constant_losses, training_losses
from atft_gat_fan.runs.private_memory import Peak, peak_private_bytes
from atft_gat_fan.runs.process import device_of, prepare_process
from atft_gat_fan.runs.run_files import MOST_BYTES, write_json, write_text
from atft_gat_fan.runs.spikes import SpikedData
from atft_gat_fan.runs.stages import Stages
from atft_gat_fan.runs.train_settings import train_settings
from atft_gat_fan.runs.turns import time_by_turns
from atft_gat_fan.signals import StopSignals
from atft_gat_fan.training.loop import FitResult, fit
from atft_gat_fan.training.run_folder import RunFolder
from atft_gat_fan.training.settings import TrainSettings
from atft_gat_fan.training.training_data import TrainingData
from atft_gat_fan.untrusted import parse_json, read_plain
from atft_gat_fan.validation.divergence import diagnose
from atft_gat_fan.validation.outcome import TrialOutcome
from atft_gat_fan.validation.plan import Trial

TRIAL_MODULE = "atft_gat_fan.runs.trial"
REQUEST, CONFIG, RUN = "request.json", "config.yaml", "run"
OF_EVERY_TRIAL = (
    "train.tensorboard=false",
    "train.log_every=1",  # the definition of divergence counts steps
    "run.fresh=false",
    "run.stop_after=null",
)
"""Keys of every trial's configuration, whatever its command was given."""
STRESS_TEST_DAYS = 100
"""Of a stressed training: enough to see whether it still tells stocks apart."""


def require_network(config: Config) -> None:
    """Raises ConfigError where LightGBM is blended in: a trial trains and scores the network alone."""
    if config.model.blend.enabled:
        raise ConfigError(
            "validations and searches compare networks, and would leave LightGBM out of them; set "
            "model.blend.enabled=false"
        )


def write_request(folder: Path, trial: Trial, config: Config) -> None:
    """What `run_trial` reads. Raises StorageError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"{folder}: expected a folder that can be made, found {error.strerror}") from error
    write_text(folder / CONFIG, to_yaml(config))
    write_json(folder / REQUEST, trial.to_json())


def run_trial(folder: Path) -> None:
    """Train, or time, what the folder asks for, and leave its outcome there. Raises as training does."""
    trial, config = _request(folder), read_config(folder / CONFIG)
    prepare_process(config.run.num_threads)
    console = Console(stderr=True)
    with StopSignals() as signals, free_folder(folder / RUN, signals) as run:
        if trial.timing is not None:
            with Stages(console, signals) as stages:
                baseline, variant = time_by_turns(config, trial.timing, stages)
            outcome = TrialOutcome(baseline_seconds=baseline, variant_seconds=variant)
        else:
            outcome = _train(trial, config, run, console, signals)
        outcome.write(folder)
        # Weights of hundreds of trials are gigabytes, and nobody asks for them again.
        for heavy in (run.checkpoints, run.path / "debug"):
            shutil.rmtree(heavy, ignore_errors=True)


def _request(folder: Path) -> Trial:
    try:
        return Trial.from_json(parse_json(read_plain(folder / REQUEST, MOST_BYTES)))
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise StorageError(
            f"{folder / REQUEST}: expected a trial, found {error}; start the validation again"
        ) from error


def _train(trial: Trial, config: Config, run: RunFolder, console: Console, signals: StopSignals) -> TrialOutcome:
    device = device_of(config)
    with _peak_memory() as peak:
        with Stages(console, signals) as stages:
            assembly = assemble(config, stages)
        model, settings = build_model(assembly), train_settings(assembly)
        data = _data(trial, assembly)
        result: FitResult | None = None
        try:
            result = fit(model, data, settings, run, console, signals)
        except NonFiniteError as error:
            console.print(str(error), style="red")
    days = _test_days(trial, assembly)
    if trial.kind == "stress":
        days = days[:STRESS_TEST_DAYS]
    with Stages(console, signals) as stages:
        scores = _scores(assembly, model, days, device, stages) if result is not None else None
    return _outcome(assembly, settings, run, result, scores, days, peak.num_bytes or None, device)


def _data(trial: Trial, assembly: Assembly) -> TrainingData:
    stress = trial.stress
    if stress is None or not stress.spike_share:
        return assembly
    return SpikedData(assembly, stress.spike_share, stress.spike_size, trial.seed)


def _outcome(
    assembly: Assembly,
    settings: TrainSettings,
    run: RunFolder,
    result: FitResult | None,
    scores: NDArray[np.float32] | None,
    days: NDArray[np.int64],
    peak: int | None,
    device: torch.device,
) -> TrialOutcome:
    store = assembly.store
    period = slice(int(days[0]), int(days[-1]) + 1)
    labels, present = store.column("labels", period), store.column("present", period)
    losses = training_losses(run.events, settings)
    divergence = diagnose(
        losses,
        constant_losses(assembly, settings, len(losses)),
        scores,
        transform_labels(torch.from_numpy(labels), settings.label_transform).numpy(),
        present,
        gave_up=result is None,
    )
    ranked = np.zeros(labels.shape, np.float32) if scores is None else scores
    daily = {
        horizon: tuple(daily_rank_ic(ranked[..., h], labels[..., h], present).tolist())
        for h, horizon in enumerate(store.horizons)
    }
    return TrialOutcome(
        days=tuple(str(day) for day in store.days[period]),
        daily_rank_ic=daily,
        stocks=float(present.sum(axis=1).mean()),
        seconds=None if result is None else result.seconds,
        steps=len(losses) if result is None else result.steps,
        epochs=None if result is None else result.epochs,
        parameters=None if result is None else sum(each.numel() for each in result.model.parameters()),
        samples_per_second=None if result is None else result.samples_per_second,
        peak_private_bytes=peak,
        peak_cuda_bytes=torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None,
        divergence=divergence,
    )


def _test_days(trial: Trial, assembly: Assembly) -> NDArray[np.int64]:
    """Positions of the fold's test days, which follow one another."""
    dates = assembly.store.days
    first = int(np.searchsorted(dates, np.datetime64(trial.test_start)))
    return np.arange(first, int(np.searchsorted(dates, np.datetime64(trial.test_end), side="right")), dtype=np.int64)


def _scores(
    assembly: Assembly, model: ATFT_GAT_FAN, days: NDArray[np.int64], device: torch.device, stages: Stages
) -> NDArray[np.float32]:
    def report(share: float) -> None:
        stages("score", share)

    return predict_days(model, assembly.batches, days, device=device, progress=report).scores


@contextmanager
def _peak_memory() -> Iterator[Peak]:
    """Private memory of this process while inside; nothing is seen where the system does not tell (not Linux)."""
    if sys.platform != "linux":
        yield Peak()
        return
    with peak_private_bytes() as peak:
        yield peak


if __name__ == "__main__":
    run_as_child(run_trial)
