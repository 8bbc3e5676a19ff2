"""The trainings of a ranking benchmark, each in a process of its own; a rival by `train_rival`.

    python -m benchmarks.ranking_training FOLDER

A rival's folder holds the configuration of the data it shares with the recipe, and how it is trained itself; scores of
the evaluated days are left in it, and last `trained.json`. One that is killed starts anew; a finished one stays.
"""

import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from rich.console import Console

from atft_gat_fan.config.load import read_config, to_yaml
from atft_gat_fan.config.schema import TrialsConfig
from atft_gat_fan.errors import ConfigError, StorageError, TrialError
from atft_gat_fan.evaluation.evaluate import MODEL
from atft_gat_fan.inference.score_table import score_table, write_table
from atft_gat_fan.runs.assembly import Assembly, assemble
from atft_gat_fan.runs.child import run_as_child
from atft_gat_fan.runs.fold import run_fold
from atft_gat_fan.runs.pace import duration
from atft_gat_fan.runs.process import prepare_process
from atft_gat_fan.runs.run_files import CONFIG, MOST_BYTES, PREDICTIONS, read_metrics, write_json, write_text
from atft_gat_fan.runs.scores import score_baselines
from atft_gat_fan.runs.stages import Stages
from atft_gat_fan.signals import StopSignals
from atft_gat_fan.training.run_folder import RunFolder
from atft_gat_fan.untrusted import parse_json, read_plain
from atft_gat_fan.validation.local_runner import LocalRunner
from atft_gat_fan.validation.trials import Progress, TrialRunner
from benchmarks.gru import GruRecipe, score_days, train_gru
from benchmarks.measuring import ROOT
from benchmarks.ranking_plan import TRAINED, Member, Plan, finished_member

RIVAL = "rival.json"
"""Of a rival's folder: which one it is, and the GRU's recipe."""
CHILD = (
    f"import sys; sys.path.insert(0, {str(ROOT)!r}); from runpy import run_module; run_module({{!r}}, None, '__main__')"
)
"""As a script: a checkout's benchmarks are no part of the installed package, and -P keeps the working folder out."""

Scores = Float[NDArray[np.float32], "days stocks horizons"]
Trained = tuple[Scores, dict[str, Any]]
"""Scores of the test days, and what is said of the training."""


def train_all(plan: Plan, console: Console, runner: TrialRunner[Path] | None = None) -> None:
    """Train what is not finished, `workers` at once; another start goes on.

    Raises InterruptedRunError after a stop signal, TrialError where a training failed, StorageError (another process is
    at work there).
    """
    with RunFolder(plan.request.out), StopSignals() as signals:
        for member in plan.members:
            if not member.finished:
                _settle(plan, member)
        runner = runner or LocalRunner(
            command,
            finished_member,
            workers=plan.request.workers,
            max_retries=TrialsConfig().max_retries,
            poll=lambda: signals.raise_if_received("between trainings", saved="each has saved where it is"),
            progress=lambda progress: _say(progress, console),
        )
        failures = runner.run([member.job for member in plan.members]).failures
    if failures:
        told = "; ".join(f"{name}: {failure}" for name, failure in failures.items())
        code = next(iter(failures.values())).exit_code
        raise TrialError(f"{plan.request.out}: {len(failures)} of {len(plan.members)} trainings failed: {told}", code)


def command(folder: Path) -> list[str]:
    """The command that trains what `folder` holds."""
    return [sys.executable, "-P", "-c", CHILD.format("benchmarks.ranking_training"), str(folder)]


def train_here(folder: Path) -> None:
    """Train what `folder` holds. Raises as training does."""
    if (folder / RIVAL).exists():
        train_rival(folder)
    else:
        run_fold(folder)


def train_rival(folder: Path) -> None:
    """Train a rival on the training days and leave its scores of the test days."""
    config, asked = read_config(folder / CONFIG), _asked(folder)
    prepare_process(config.run.num_threads)
    with StopSignals() as signals, Stages(Console(stderr=True), signals) as stages:
        assembly = assemble(config, stages)
        began = time.perf_counter()
        scores, facts = TRAININGS[asked["rival"]](assembly, GruRecipe(**asked["gru"]), stages)
        seconds = time.perf_counter() - began
    days = assembly.store.days[assembly.split.test]
    write_table(score_table(days, assembly.store.codes, assembly.store.horizons, scores), folder / PREDICTIONS)
    write_json(folder / TRAINED, {"seconds": seconds, **facts})


def training_facts(member: Member) -> dict[str, Any]:
    """Of a finished training: `seconds`, and `parameters` of a network. Raises StorageError."""
    folder = member.job.folder
    if member.model == MODEL:
        train = read_metrics(folder)["train"]
        return {key: train[key] for key in ("seconds", "parameters", "epochs", "samples_per_second")}
    try:
        facts: dict[str, Any] = parse_json(read_plain(folder / TRAINED, MOST_BYTES))
        return {**facts, "seconds": float(facts["seconds"])}
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise StorageError(
            f"{folder / TRAINED}: expected a finished training, found {error}; delete {folder}"
        ) from error


def _gru(assembly: Assembly, recipe: GruRecipe, stages: Stages) -> Trained:
    began = time.perf_counter()
    model = train_gru(assembly, recipe, stages)
    fitted = time.perf_counter() - began
    scores = score_days(model, assembly, assembly.split.test, stages)
    count = sum(parameter.numel() for parameter in model.parameters())
    return scores, {"seconds": fitted, "parameters": count, "epochs": recipe.epochs}


def _lightgbm(assembly: Assembly, _: GruRecipe, stages: Stages) -> Trained:
    found = score_baselines(assembly, stages)
    if found.unavailable:
        raise ConfigError(found.unavailable["lightgbm"]["unavailable"])
    return found.scores["lightgbm"][-len(assembly.split.test) :], {}


TRAININGS: dict[str, Callable[[Assembly, GruRecipe, Stages], Trained]] = {"gru": _gru, "lightgbm": _lightgbm}
"""LightGBM's seconds count the scoring too: fitting and scoring are one call."""


def _settle(plan: Plan, member: Member) -> None:
    """Let the process find what it is to train."""
    folder = member.job.folder
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"{folder}: expected a folder that can be made, found {error.strerror}") from error
    write_text(folder / CONFIG, to_yaml(member.config))
    if member.model != MODEL:
        write_json(folder / RIVAL, {"rival": member.model, "gru": asdict(plan.request.gru)})


def _asked(folder: Path) -> dict[str, Any]:
    try:
        asked: dict[str, Any] = parse_json(read_plain(folder / RIVAL, MOST_BYTES))
        if asked["rival"] not in TRAININGS:
            raise ValueError(f"the rival {asked['rival']!r}")
    except (OSError, ValueError, TypeError, KeyError) as error:
        message = f"{folder / RIVAL}: expected one of {', '.join(TRAININGS)}, found {error}; start the benchmark again"
        raise StorageError(message) from error
    return asked


def _say(progress: Progress, console: Console) -> None:
    left = f"about {duration(progress.seconds_left)} to go"
    console.print(
        f"{progress.done} of {progress.total} trainings, {left}: {progress.name}", style="dim", highlight=False
    )


if __name__ == "__main__":
    run_as_child(train_here)
