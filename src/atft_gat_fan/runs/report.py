"""The report of a run, from what its folder holds."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from atft_gat_fan.config.load import read_config
from atft_gat_fan.evaluation.evaluate import Evaluation
from atft_gat_fan.evaluation.report import ReportInputs, build_report
from atft_gat_fan.inference.bundle import Bundle, load_bundle
from atft_gat_fan.runs.assembly import Assembly, Report, assemble
from atft_gat_fan.runs.run_files import BUNDLE, CONFIG, REPORT, read_events, read_metrics, write_text
from atft_gat_fan.runs.scores import evaluations_of, variables_over_time
from atft_gat_fan.runs.stages import Stages
from atft_gat_fan.signals import StopSignals


def report(run: Path, console: Console) -> Path:
    """Write report.html anew from the stored scores; nothing is trained or scored again."""
    bundle = load_bundle(run / BUNDLE)
    with StopSignals() as signals, Stages(console, signals) as stages:
        assembly = assemble(read_config(run / CONFIG), stages, bundle.normalizer)
        return write_report(run, assembly, _test_of(run, assembly, bundle, stages), stages)


def _test_of(run: Path, assembly: Assembly, bundle: Bundle, report: Report) -> Evaluation:
    return evaluations_of(run, assembly, report, blended=bundle.blend is not None)["test"]


def write_report(run: Path, assembly: Assembly, evaluation: Evaluation, report: Report) -> Path:
    """Write report.html about the test days."""
    report("report", 0.0)
    metrics = read_metrics(run)
    page = build_report(
        ReportInputs(
            name=run.name,
            evaluation=evaluation,
            split="test",
            events=read_events(run),
            train=metrics["train"],
            data=_data_facts(assembly),
            dropped_columns=[f"{name} ({why})" for name, why in assembly.normalizer.dropped.items()],
            warnings=assembly.store.metadata["warnings"],
            config=assembly.config.model_dump(mode="json"),
            variable_weights=metrics["test"]["variable_importance"],
            variables_over_time=variables_over_time(run, "test"),
            attention=np.array(metrics["test"]["attention_by_lag"]),
            blend=metrics.get("blend"),
            commands=[f"atft train config={(run / CONFIG).resolve()} run.dir=runs/{run.name}-again"],
        )
    )
    write_text(run / REPORT, page)
    return run / REPORT


def _data_facts(assembly: Assembly) -> dict[str, Any]:
    store, split = assembly.store, assembly.split

    def period(days: NDArray[np.int64]) -> str:
        return f"{store.days[days[0]]} to {store.days[days[-1]]} ({len(days)} days)"

    return {
        "Source": assembly.config.data.source,
        "Stocks": len(store.codes),
        "Days": f"{store.days[0]} to {store.days[-1]} ({len(store.days)})",
        "Training": period(split.train),
        "Validation": period(split.valid),
        "Test": period(split.test),
        "Purged between splits": f"{split.purge} trading days, embargo {split.embargo}",
        "Features": len(assembly.normalizer.feature_names),
        "Label transform (loss only)": assembly.config.labels.transform,
        "Fingerprint": store.fingerprint[:16],
    }
