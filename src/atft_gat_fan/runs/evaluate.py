"""Evaluate a finished run again: scores, metrics and report anew from its model."""

from pathlib import Path
from typing import Any, Literal

from rich.console import Console

from atft_gat_fan.config.load import read_config
from atft_gat_fan.inference.bundle import apply_numerics, load_bundle
from atft_gat_fan.runs.assembly import assemble
from atft_gat_fan.runs.process import prepare_process
from atft_gat_fan.runs.reference import reference_of_run
from atft_gat_fan.runs.report import write_report
from atft_gat_fan.runs.run_files import BUNDLE, CONFIG, read_metrics
from atft_gat_fan.runs.scores import score_and_measure
from atft_gat_fan.runs.stages import Stages
from atft_gat_fan.signals import StopSignals


def evaluate_run(run: Path, split: Literal["valid", "test"], console: Console) -> dict[str, Any]:
    """Score a run's validation and test days again; the metrics of `split` are returned.

    Raises StorageError where `run` holds no trained model.
    """
    bundle = load_bundle(run / BUNDLE)
    config = read_config(run / CONFIG)
    prepare_process(config.run.num_threads)
    apply_numerics(bundle, console.print)
    with StopSignals() as signals, Stages(console, signals) as stages:
        assembly = assemble(config, stages, bundle.normalizer)
        evaluations = score_and_measure(run, assembly, bundle.model, stages, blend=bundle.blend)
        reference_of_run(run, assembly, stages)
        write_report(run, assembly, evaluations["test"], stages)
    metrics: dict[str, Any] = read_metrics(run)[split]
    return metrics
