"""What a run's folder holds beside checkpoints: names, and safe reading and writing of metrics, scores and events."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from atft_gat_fan.data.durable_files import replace_durably, strict_json
from atft_gat_fan.errors import StorageError
from atft_gat_fan.untrusted import parse_json, read_plain

BUNDLE = "model"
CONFIG = "config.yaml"
DATA = "data.json"
EVENTS = "events.jsonl"
METRICS = "metrics.json"
NORMALIZER = "normalizer.json"
PREDICTIONS = "predictions.parquet"
BASELINES = "baselines.parquet"
BLEND = "blend.parquet"
BLEND_WORK = "blend"
"""Folder of the boosters that are finished before the model is."""
REPORT = "report.html"
MOST_BYTES = 1 << 30
"""Of the events of a run: a million steps, each logged, have a third."""


def read_metrics(run: Path) -> dict[str, Any]:
    """metrics.json of a run. Raises StorageError where there is none yet, or something else."""
    try:
        metrics: dict[str, Any] = parse_json(read_plain(run / METRICS, MOST_BYTES))
        if not isinstance(metrics, dict):
            raise ValueError("something that is no JSON object")
    except (OSError, ValueError) as error:
        raise StorageError(f"{run / METRICS}: expected the metrics of a run, found {error}; train it first") from error
    return metrics


def write_metrics(run: Path, sections: Mapping[str, Any]) -> None:
    """Replace sections of metrics.json, keeping the others. Raises StorageError."""
    metrics = read_metrics(run) if (run / METRICS).exists() else {}
    write_json(run / METRICS, {**metrics, **sections})


def read_events(run: Path) -> list[dict[str, Any]]:
    """Records of events.jsonl, oldest first: none where it could not be written or read, none of a line cut short."""
    try:
        lines = read_plain(run / EVENTS, MOST_BYTES).splitlines()
    except OSError:
        return []  # a log is no reason to fail: the report says that it is missing
    events = []
    for line in lines:
        try:
            event = parse_json(line)
        except ValueError:
            continue
        if isinstance(event, dict) and {"event", "step"} <= event.keys():
            events.append(event)
    return events


def write_json(file: Path, value: Any) -> None:
    """Write JSON (NaN as null) whole or not at all. Raises StorageError."""
    write_text(file, strict_json(value, indent=2) + "\n")


def write_text(file: Path, text: str) -> None:
    """Write whole or not at all. Raises StorageError."""
    try:
        replace_durably(file, text.encode())
    except OSError as error:
        raise StorageError(f"{file}: cannot write: {error.strerror}; free space") from error
