"""What a run's folder holds beside checkpoints: names, and safe reading and writing of metrics, scores and events."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from atft_gat_fan.data.durable_files import replace_durably, strict_json
from atft_gat_fan.errors import StorageError

BUNDLE = "model"
CONFIG = "config.yaml"
DATA = "data.json"
EVENTS = "events.jsonl"
METRICS = "metrics.json"
NORMALIZER = "normalizer.json"
PREDICTIONS = "predictions.parquet"
BASELINES = "baselines.parquet"
REPORT = "report.html"


def read_metrics(run: Path) -> dict[str, Any]:
    """metrics.json of a run. Raises StorageError where there is none yet."""
    try:
        metrics: dict[str, Any] = json.loads((run / METRICS).read_text())
    except (OSError, ValueError) as error:
        raise StorageError(f"{run / METRICS}: expected the metrics of a run, found {error}; train it first") from error
    return metrics


def write_metrics(run: Path, sections: Mapping[str, Any]) -> None:
    """Replace sections of metrics.json, keeping the others. Raises StorageError."""
    metrics = read_metrics(run) if (run / METRICS).exists() else {}
    write_json(run / METRICS, {**metrics, **sections})


def read_events(run: Path) -> list[dict[str, Any]]:
    """Records of events.jsonl, oldest first. A line cut short by a crash is left out."""
    events = []
    for line in (run / EVENTS).read_text().splitlines():
        try:
            events.append(json.loads(line))
        except ValueError:
            continue
    return events


def read_table(file: Path) -> pl.DataFrame:
    """A table of scores. Raises StorageError where it is missing or damaged."""
    try:
        return pl.read_parquet(file)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise StorageError(f"{file}: expected the scores of a run, found {error}; run `atft evaluate`") from error


def write_json(file: Path, value: Any) -> None:
    """Write JSON (NaN as null) whole or not at all. Raises StorageError."""
    write_text(file, strict_json(value, indent=2) + "\n")


def write_text(file: Path, text: str) -> None:
    """Write whole or not at all. Raises StorageError."""
    try:
        replace_durably(file, text.encode())
    except OSError as error:
        raise StorageError(f"{file}: cannot write: {error.strerror}; free space") from error
