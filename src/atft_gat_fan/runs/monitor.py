"""Monitor: a model and newer days in; monitor.json, monitor.html and a longer history out."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from jaxtyping import Int64
from numpy.typing import NDArray
from rich.console import Console

from atft_gat_fan.config.load import overridden, read_config
from atft_gat_fan.config.overrides import parse
from atft_gat_fan.config.schema import Config, MonitorConfig
from atft_gat_fan.data.store import Store, first_predictable
from atft_gat_fan.errors import ConfigError, DataError, Problem
from atft_gat_fan.inference.bundle import apply_numerics, load_bundle
from atft_gat_fan.inference.predictor import predict_days
from atft_gat_fan.monitoring.dashboard import build_dashboard
from atft_gat_fan.monitoring.gates import check_gate, parse_gate
from atft_gat_fan.monitoring.history import append_history, memory_readings, read_history
from atft_gat_fan.monitoring.judge import Occasion, judge
from atft_gat_fan.monitoring.memory import judge_memory
from atft_gat_fan.monitoring.observations import Observations
from atft_gat_fan.monitoring.reference import read_reference
from atft_gat_fan.monitoring.result import MemoryReading, MonitorResult
from atft_gat_fan.runs.members import Member
from atft_gat_fan.runs.model_data import open_model_data
from atft_gat_fan.runs.observe import Subject, observe
from atft_gat_fan.runs.private_memory import peak_private_bytes, private_bytes
from atft_gat_fan.runs.process import prepare_process
from atft_gat_fan.runs.run_files import BUNDLE, CONFIG, write_json, write_text
from atft_gat_fan.runs.stages import Stages
from atft_gat_fan.signals import StopSignals

FOLDER, RESULT, PAGE = "monitor", "monitor.json", "monitor.html"
SECTION = "monitor"


@dataclass(frozen=True)
class Request:
    """What `atft monitor` was asked for. `overrides` are keys of `monitor`; `command` is printed on the page."""

    run: Path
    source: str
    out: Path | None = None
    """By default `monitor` in the run's folder."""
    overrides: Sequence[str] = ()
    fail_on: Sequence[str] = ()
    command: str = "atft monitor"

    @property
    def folder(self) -> Path:
        return self.run / FOLDER if self.out is None else self.out


def monitor(request: Request, console: Console) -> MonitorResult:
    """Score the newest days of the source, compare them with the reference, and write what was found.

    Raises StorageError without a trained model or its reference, ConfigError for keys and conditions that cannot be,
    DataError where the panel lacks a feature or has no day to predict. Gates that failed are in the result.
    """
    gates = [parse_gate(text) for text in request.fail_on]
    config = monitor_config(request.run, request.overrides)
    bundle, reference = load_bundle(request.run / BUNDLE), read_reference(request.run / BUNDLE)
    earlier = memory_readings(read_history(request.folder), bundle.fingerprint, config.memory_runs)
    at = datetime.now(UTC).isoformat(timespec="seconds")
    prepare_process(bundle.numerics["threads"])  # those of the evaluation: its bits come out again
    apply_numerics(bundle, console.print)
    with StopSignals() as signals, Stages(console, signals) as stages, peak_private_bytes() as peak:
        now, least, warnings = _observed(Member(request.run, bundle), reference, request.source, config, stages)
        stages("compare with the reference", 0.0)
        reading = MemoryReading(at, least, peak.num_bytes)
        name = request.run.resolve().name
        occasion = Occasion(name, bundle.fingerprint, request.source, at, request.command, warnings)
        result = judge(occasion, reference, now, judge_memory(earlier, reading, config), config)
        result = replace(result, gates=tuple(check_gate(gate, result) for gate in gates))
        # The history first: what follows can be made again from the panel, the numbers of this run cannot.
        history = append_history(request.folder, result)
        write_json(request.folder / RESULT, result.to_json())
        write_text(request.folder / PAGE, build_dashboard(result, history))
    return result


def monitor_config(run: Path, overrides: Sequence[str]) -> MonitorConfig:
    """The run's section `monitor` under the command's own keys. Raises ConfigError for keys of other sections."""
    for text in overrides:
        if (key := parse(text).key_or_group).split(".")[0] != SECTION:
            raise ConfigError(f"{key}: expected keys of {SECTION}, for instance {SECTION}.days=60; a model is as it is")
    config = read_config(run / CONFIG) if (run / CONFIG).is_file() else Config()
    return overridden(config, overrides).monitor


def _observed(
    member: Member, reference: Observations, source: str, config: MonitorConfig, stages: Stages
) -> tuple[Observations, int, tuple[str, ...]]:
    """The newest days, the least private memory after a step, and what should be known of the panel."""
    bundle = member.bundle
    opened = open_model_data(member, source, stages)
    store, batches = opened.store, opened.batches
    days = _newest_days(store, bundle.spec.window, config, source)
    if batches.graph is not None:
        batches.graph.prepare(days)
    after_steps: list[int] = []

    def stepped(share: float) -> None:
        after_steps.append(private_bytes())
        stages("score", share)

    prediction = predict_days(bundle.model, batches, days, blend=bundle.blend, progress=stepped)
    bins = {family: histograms.bins for family, histograms in reference.families.items()}
    now = observe(
        Subject(member.recipe(source, None).data, batches, bundle.normalizer), days, prediction.scores, stages, bins
    )
    return now, min(after_steps), tuple(store.metadata["warnings"])


def _newest_days(store: Store, window: int, config: MonitorConfig, source: str) -> Int64[NDArray[np.int64], " days"]:
    """Enough for a long window on each of the newest `monitor.days`, and for RankIC, which lags by the horizon."""
    wanted = max(2 * config.days - 1, config.rank_ic_days + max(store.horizons))
    days = np.arange(first_predictable(window), len(store.days))[-wanted:]
    if not len(days):
        raise DataError(
            Problem(
                f"expected days with {window - 1} days before them, found none",
                where=f"{len(store.days)} days, {store.days[0]} to {store.days[-1]}",
                mend="give a panel that begins earlier",
            ),
            source=source,
        )
    return days
