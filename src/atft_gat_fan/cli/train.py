"""`atft demo`, `atft train` and the smoke test."""

import sys
import time
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from atft_gat_fan.cli.command import Overrides, command
from atft_gat_fan.errors import ConfigError

if TYPE_CHECKING:
    from atft_gat_fan.cli.output import Output
    from atft_gat_fan.config.schema import Config


def register(app: typer.Typer) -> None:
    for function in (demo, train):
        command(app)(function)
    command(app, hidden=True)(smoke)


def demo(
    output: "Output",
    out: Annotated[Path, typer.Option("--out", metavar="RUN", help="The run's folder.")] = Path("runs/demo"),
) -> None:
    """Build, train, evaluate and report on the embedded real data."""
    from atft_gat_fan.runs.demo import demo as run_demo

    run = run_demo(out, output.console)
    _show([run], output)


def train(
    output: "Output",
    overrides: Overrides = None,
    multirun: Annotated[
        bool, typer.Option("-m", "--multirun", help="Sweep: key=1,2 runs once for each value (trials.workers at once).")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be run, and stop.")] = False,
    supervise: Annotated[bool, typer.Option("--supervise", help="Start it again when its process dies.")] = False,
) -> None:
    """Train a model; the same command again resumes what was interrupted, or shows what was finished.

    For instance: atft train config=atft/train/production data=parquet data.source=panel.parquet train.max_epochs=4
    """
    if supervise and (multirun or dry_run):
        other = "-m" if multirun else "--dry-run"
        raise typer.BadParameter(f"expected one training to look after, found {other}", param_hint="--supervise")
    began = time.monotonic()
    names, configs = _configs(overrides or [], multirun)
    from atft_gat_fan.config.settings import Environment

    ranks = Environment.read().ranks
    if ranks.world_size > 1 and (multirun or supervise):
        found = "-m: start torchrun for each run" if multirun else "--supervise: use torchrun --max-restarts"
        raise ConfigError(f"expected one training for the processes of torchrun, found {found}")
    if supervise:
        raise typer.Exit(_supervised(configs[0], overrides or [], output))
    if dry_run:
        _describe(names, configs, output)
        return
    if len(configs) > 1:
        from atft_gat_fan.runs.sweep import sweep

        _show_sweep(names, sweep(dict(zip(names, configs, strict=True)), output.console, began), output)
        return
    from atft_gat_fan.runs.train import train as run_train

    run = run_train(configs[0], output.console, began)
    if ranks.rank == 0:  # the others leave before there are results
        _show([run], output)


def _supervised(config: "Config", overrides: Sequence[str], output: "Output") -> int:
    """The same command in a process of its own, which writes where this one would; its exit code."""
    from atft_gat_fan.runs.supervisor import supervise

    flags = [f"--{name}" for name, given in (("json", output.as_json), ("debug", output.debug)) if given]
    # -P: a file of the working folder must not stand in for a module.
    tool = [sys.executable, "-P", "-m", "atft_gat_fan.cli", "train", *flags]
    # The supervisor starts over once; the training that it starts again must not.
    command = [*tool, *overrides, "run.fresh=false"]
    return supervise(config, command, partial(output.console.print, highlight=False, markup=False, soft_wrap=True))


def smoke(output: "Output") -> None:
    """Model, data, one training step, save, load, predict: in seconds."""
    from atft_gat_fan.runs.smoke import smoke as run_smoke

    run_smoke(output.console)
    output.result({"smoke_test": "passed"}, text="smoke test passed")


def _configs(overrides: Sequence[str], multirun: bool) -> "tuple[list[str], list[Config]]":
    """Every configuration of the command with what tells it apart, all of them checked before the first run starts."""
    from atft_gat_fan.cli.sweep_tables import names_of
    from atft_gat_fan.config.improvements import resolve
    from atft_gat_fan.config.load import load_config, run_folder
    from atft_gat_fan.config.overrides import expand_sweep

    arguments = expand_sweep(overrides) if multirun else [list(overrides)]
    configs = [load_config(each) for each in arguments]
    for config in configs:
        resolve(config)
    folder, count = Counter(map(run_folder, configs)).most_common(1)[0]
    if count > 1:
        raise ConfigError(f"expected a folder for each run, found {count} runs in {folder}; set run.root, not run.dir")
    return names_of(arguments), configs


def _describe(names: Sequence[str], configs: "Sequence[Config]", output: "Output") -> None:
    from atft_gat_fan.cli.dry_run import run_description
    from atft_gat_fan.runs.describe import describe

    runs = [{**describe(config), "config": config.model_dump(mode="json")} for config in configs]
    text = "\n".join(map(run_description, runs))
    if len(configs) > 1:
        text = f"{text}\n{_plan(names, configs)}"
    output.result(_one_or_all(runs), text=text)


def _plan(names: Sequence[str], configs: "Sequence[Config]") -> str:
    from atft_gat_fan.cli.sweep_tables import plan_text
    from atft_gat_fan.config.load import run_folder
    from atft_gat_fan.runs.run_status import unfinished

    folders = [run_folder(config) for config in configs]
    finished = [not config.run.fresh and not unfinished(run_folder(config)) for config in configs]
    return plan_text(names, folders, finished, configs[0].trials.workers)


def _show_sweep(names: Sequence[str], runs: Sequence[Path], output: "Output") -> None:
    """One line a run for people, on stderr; the folders on stdout, in the order of the command."""
    from atft_gat_fan.cli.sweep_tables import summary_table
    from atft_gat_fan.runs.run_files import read_metrics

    results: list[dict[str, Any]] = [{"run": run, "metrics": read_metrics(run)} for run in runs]
    output.console.print(summary_table(names, [result["metrics"] for result in results]))
    output.result(_one_or_all(results), text="\n".join(map(str, runs)))


def _show(runs: Sequence[Path], output: "Output") -> None:
    """The metrics for people on stderr; the folders on stdout, so that a shell can take them."""
    from atft_gat_fan.cli.metrics import metrics_tables
    from atft_gat_fan.runs.run_files import read_metrics

    results: list[dict[str, Any]] = [{"run": run, "metrics": read_metrics(run)} for run in runs]
    for result in results:
        output.console.print(metrics_tables(result["metrics"]))
    output.result(_one_or_all(results), text="\n".join(map(str, runs)))


def _one_or_all(runs: list[dict[str, Any]]) -> dict[str, Any]:
    return runs[0] if len(runs) == 1 else {"runs": runs}
