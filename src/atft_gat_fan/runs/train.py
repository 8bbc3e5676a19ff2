"""Train: configuration in, a run folder out."""

import hashlib
import json
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any, TypeVar

from rich.console import Console

from atft_gat_fan.config.improvements import resolve
from atft_gat_fan.config.load import read_config, run_folder
from atft_gat_fan.config.plan import RunPlan
from atft_gat_fan.config.run_sections import seconds
from atft_gat_fan.config.schema import Config, DataConfig
from atft_gat_fan.config.settings import Environment
from atft_gat_fan.data.splits import Split
from atft_gat_fan.data.store import Store
from atft_gat_fan.errors import ConfigError, StorageError
from atft_gat_fan.inference.bundle import DESCRIPTION, Bundle, numerics_stamp, write_bundle
from atft_gat_fan.runs.assembly import Assembly, assemble, build_model
from atft_gat_fan.runs.blend import require_blend, trained_blend
from atft_gat_fan.runs.origin import settle_data
from atft_gat_fan.runs.process import device_of, prepare_process
from atft_gat_fan.runs.reference import reference_of_run
from atft_gat_fan.runs.report import write_report
from atft_gat_fan.runs.run_files import BUNDLE, CONFIG, NORMALIZER, REPORT, write_metrics
from atft_gat_fan.runs.scores import score_and_measure
from atft_gat_fan.runs.stages import Stages
from atft_gat_fan.runs.train_settings import train_settings
from atft_gat_fan.runs.warm_start import load_initial, origin_of_weights, warm_started
from atft_gat_fan.signals import StopSignals
from atft_gat_fan.training.loop import FitResult, fit
from atft_gat_fan.training.optim import parameter_groups_table
from atft_gat_fan.training.out_of_memory import free_memory
from atft_gat_fan.training.process_ranks import open_ranks
from atft_gat_fan.training.ranks import Ranks
from atft_gat_fan.training.run_folder import RunFolder
from atft_gat_fan.training.settings import NOT_IN_DIGEST, TrainSettings, config_digest, decisive

T = TypeVar("T")

_UNSEEN: dict[str, Any] = {"run": True, "data": {"cache"}}
"""Keys of the folder and the place, which nobody needs to be told of."""


def train(config: Config, console: Console, began: float | None = None) -> Path:
    """Train, evaluate and report in the run's folder, going on from where an earlier process stopped.

    Of several processes that torchrun started, each trains its share of the days; the first alone holds the folder,
    says anything, and goes on to evaluate, while the others return once all have trained.

    A finished run is left as it is. `run.stop_after` counts from `began` (`time.monotonic`), by default from now.
    Raises InterruptedRunError after a stop signal or at that deadline, with what is done saved; ConfigError where the
    folder holds a run of another configuration; RankError where another process is lost; and whatever data, training
    and storage raise.
    """
    variables = Environment.read().ranks
    with (
        StopSignals(seconds_left(config, began)) as signals,
        open_ranks(config.distributed, variables, device_of(config)) as ranks,
    ):
        folder = _train_under(signals, ranks, config, console if ranks.first else Console(quiet=True))
        if signals.signalled is not None:  # a deadline is met by a finished run; who signals wants no next one either
            signals.raise_if_received("after the run was finished")
    return folder


def seconds_left(config: Config, began: float | None) -> float | None:
    """Until `run.stop_after` after `began` (`time.monotonic`; None: now); None where nothing limits it."""
    if config.run.stop_after is None:
        return None
    return seconds(config.run.stop_after) - (0.0 if began is None else time.monotonic() - began)


def _train_under(signals: StopSignals, ranks: Ranks, config: Config, console: Console) -> Path:
    plan = resolve(config)
    with RunFolder(run_folder(config), hold=ranks.first) as folder:
        if ranks.any(ranks.first and _finished(folder, config, console)):
            return folder.path
        with folder.recording() if ranks.first else nullcontext():
            _train_in(folder, config, plan, console, signals, ranks)
        console.print(f"report: {folder.path / REPORT}", highlight=False, soft_wrap=True)
        return folder.path


def _finished(folder: RunFolder, config: Config, console: Console) -> bool:
    """Whether nothing is left to be done in the folder, which is made ready for this run."""
    if config.run.fresh:
        folder.clear()
    _settle_with_earlier(folder, config, console)
    state = folder.read_state()
    if state is None or state.status != "finished":
        return False
    console.print(f"{folder.path} is finished; run.fresh=true starts over", style="dim")
    return True


def _train_in(
    folder: RunFolder, config: Config, plan: RunPlan, console: Console, signals: StopSignals, ranks: Ranks
) -> None:
    prepare_process(config.run.num_threads)
    require_blend(config)
    if ranks.first:
        folder.write_config(config)
        folder.write_json_atomic("plan.json", plan.to_json())
    _require_shared(folder, ranks)
    initial = None if config.train.warm_start is None else load_initial(Path(config.train.warm_start))
    assembly = _assembled(folder, config, initial, console, signals, ranks)
    model = build_model(assembly) if initial is None else warm_started(assembly, initial)
    settings = train_settings(assembly)
    if ranks.first:
        folder.write_json_atomic("param_groups.json", parameter_groups_table(model, settings))
    result = fit(model, assembly, settings, folder, console, signals, ranks)
    ranks.part()
    if ranks.first:
        _finish(folder, config, assembly, settings, result, initial, console, signals)


def _require_shared(folder: RunFolder, ranks: Ranks) -> None:
    """Every rank reads what the first one writes."""
    ranks.meet()
    if not (folder.path / CONFIG).exists():
        raise StorageError(
            f"{folder.path}: expected the folder in which rank 0 has just written {CONFIG}, found none of it; run.dir "
            "and data.cache must be on a file system that all machines of the training share"
        )


def _assembled(
    folder: RunFolder, config: Config, initial: Bundle | None, console: Console, signals: StopSignals, ranks: Ranks
) -> Assembly:
    """The data of the run: what is kept in files is made by the first rank, and read by the others."""

    def poll() -> None:
        signals.raise_if_received("while waiting for rank 0", saved="what is finished is kept")

    def in_turn(work: Callable[[], T]) -> T:
        return ranks.first_then_others(work, poll)

    def settle(store: Store, split: Split) -> Path:
        # The others compare with what the first one has just written down.
        begun = folder.checkpoints.exists() or not ranks.first
        weights = None if initial is None else initial.fingerprint
        settle_data(folder.path, store, split, begun=begun, initial_weights=weights)
        return folder.path / NORMALIZER

    with Stages(console, signals) as stages:

        def report(name: str, share: float) -> None:
            stages(name, share)
            ranks.beat()

        return assemble(config, report, settle=settle, in_turn=in_turn)


def _finish(
    folder: RunFolder,
    config: Config,
    assembly: Assembly,
    settings: TrainSettings,
    result: FitResult,
    initial: Bundle | None,
    console: Console,
    signals: StopSignals,
) -> None:
    """Bundle, evaluation and report of a training."""
    blend = trained_blend(folder.path, assembly, result.model, console, signals)
    write_bundle(
        folder.path / BUNDLE,
        model=result.model,
        raw_weights=result.raw_model_state,
        data=_recipe(assembly),
        graph=config.graph,
        normalizer=assembly.normalizer,
        static_categories=assembly.store.static_categories,
        training=training_fingerprint(assembly, settings, result, initial),
        blend=blend,
    )
    write_metrics(folder.path, {"train": _train_metrics(result)})
    free_memory()  # what the steps took is kept by malloc, and the tables of the evaluation would come on top
    with Stages(console, signals) as stages:
        made_from = _made_from(folder, config)
        evaluations = score_and_measure(folder.path, assembly, result.model, stages, made_from, blend)
        reference_of_run(folder.path, assembly, stages)
        write_report(folder.path, assembly, evaluations["test"], stages)


def _made_from(folder: RunFolder, config: Config) -> str:
    """All that a trained run's scores depend on: the bundle's description, which names weights and data; the rest."""
    evaluation = config.evaluation.model_dump_json()
    return hashlib.sha256((folder.path / BUNDLE / DESCRIPTION).read_bytes() + evaluation.encode()).hexdigest()


def _recipe(assembly: Assembly) -> DataConfig:
    """The data's configuration with `features: auto` decided, so that other columns of a later panel change nothing."""
    data, metadata = assembly.config.data, assembly.store.metadata
    made = metadata["features"]
    if made == "panel":
        return data.model_copy(update={"features": assembly.normalizer.feature_names})
    # Of a built store the configuration need not say how it was made.
    relative, standardise = tuple(metadata.get("relative", ())), metadata["standardise"]
    return data.model_copy(update={"features": made, "relative": relative, "standardise": standardise})


def training_fingerprint(
    assembly: Assembly, settings: TrainSettings, result: FitResult, initial: Bundle | None = None
) -> dict[str, Any]:
    """What the weights were made from: configuration, switches, source, days, initial weights (None: random ones) and
    the step they were taken at.
    """
    days, split = assembly.store.days, assembly.split
    return {
        "config": config_digest(assembly.config),
        "plan": assembly.plan.to_json(),
        "huber_deltas": settings.huber_deltas,
        "source": assembly.store.fingerprint,
        "seed": assembly.config.seed,
        "train_days": [str(days[split.train[0]]), str(days[split.train[-1]])],
        "valid_days": [str(days[split.valid[0]]), str(days[split.valid[-1]])],
        **origin_of_weights(assembly, initial),
        "best_step": result.best_step,
        "rollbacks": result.rollbacks,
        "relief": _relief(result),
    }


def _relief(result: FitResult) -> dict[str, Any] | None:
    """What was done when memory ran out, and whether that is exact, equal to rounding, or an approximation."""
    return None if result.relief is None else {**result.relief.to_json(), "stamp": result.relief.stamp}


def _train_metrics(result: FitResult) -> dict[str, Any]:
    return {
        "seconds": result.seconds,
        "samples_per_second": result.samples_per_second,
        "peak_rss_bytes": result.peak_rss_bytes,
        "parameters": sum(parameter.numel() for parameter in result.model.parameters()),
        "epochs": result.epochs,
        "steps": result.steps,
        "best_step": result.best_step,
        "skipped_steps": result.skipped_steps,
        "stopped": result.reason,
        "rollbacks": result.rollbacks,
        "relief": _relief(result),
        "numerics": numerics_stamp(result.model),
    }


def require_same_configuration(run: Path, config: Config) -> list[str]:
    """A folder belongs to the configuration it was first used with; what decides no weight may change, and is returned.

    Raises ConfigError where anything else differs, StorageError where the earlier one cannot be read.
    """
    written = run / CONFIG
    if not written.exists():
        return []
    there = read_config(written)
    if decisive(there) != decisive(config):
        other = _differences(there, config, NOT_IN_DIGEST)
        raise ConfigError(
            f"{run}: expected a run of this configuration, found another ({'; '.join(other)}): its "
            "checkpoints cannot go on under these keys; set them back, choose another run.dir, or start over with "
            "run.fresh=true"
        )
    return _differences(there, config, _UNSEEN)


def _settle_with_earlier(folder: RunFolder, config: Config, console: Console) -> None:
    harmless = require_same_configuration(folder.path, config)
    if harmless:
        note = f"{'; '.join(harmless)}: changes no weight, so the run goes on"
        console.print(note, style="dim", highlight=False, soft_wrap=True)


def _differences(there: Config, now: Config, left_out: dict[str, Any]) -> list[str]:
    """Keys of different value, each as `key: old there, new now`."""
    old, new = (_flat(config.model_dump(mode="json", exclude=left_out)) for config in (there, now))
    return [f"{key}: {json.dumps(old[key])} there, {json.dumps(new[key])} now" for key in new if old[key] != new[key]]


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat
