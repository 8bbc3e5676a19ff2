"""docs/file_formats.md names every key that a file has, and no other."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest

from tests.monitoring.examples import alarmed, healthy
from tests.validation.examples import example, improvement

PAGE = (Path(__file__).parents[2] / "docs" / "file_formats.md").read_text()
NAMES = ("SPLIT", "HORIZON", "BASELINE", "FEATURE", "NAME", "ARM", "TARGET", "FAMILY", "STATISTIC")


def first_column(heading: str, table: int = 0) -> list[str]:
    """What is set as code in the first column of a table of a section."""
    section = re.split(r"^## ", PAGE, flags=re.MULTILINE)
    (text,) = (part for part in section if part.startswith(f"{heading}\n"))
    tables = re.findall(r"^\|.*\|\n\|[-|]+\n((?:\|.*\n?)+)", text, flags=re.MULTILINE)
    return [name for row in tables[table].splitlines() for name in re.findall(r"`([^`]+)`", row.split("|")[1])]


def pattern(key: str) -> re.Pattern[str]:
    below = key.endswith(".…")
    parts = [r"[^.]+" if part in NAMES else re.escape(part) for part in key.removesuffix(".…").split(".")]
    # Of `….`: whatever is below, also where there is nothing.
    return re.compile(r"\.".join(parts) + (r"(\..*)?" if below else ""))


def paths(value: Any, path: str = "") -> Iterator[str]:
    """Dotted paths of all that is no mapping; a list of mappings is `name[]`."""
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from paths(inner, f"{path}.{key}" if path else key)
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        for entry in value:
            yield from paths(entry, f"{path}[]")
    else:
        yield path


def require_documented(found: Any, keys: list[str], may_be_absent: set[str] = frozenset()) -> None:
    patterns = {key: pattern(key) for key in keys}
    there = set(paths(found))
    # An empty list may be one of mappings: `alarms` for `alarms[].…`.
    unknown = {
        path for path in there if not any(p.fullmatch(path) or p.fullmatch(f"{path}[]") for p in patterns.values())
    }
    assert not unknown, f"docs/file_formats.md has no line for {sorted(unknown)[:5]}"
    idle = {key for key, p in patterns.items() if not any(p.fullmatch(path) for path in there)}
    assert idle <= may_be_absent, f"docs/file_formats.md has keys that are not there: {sorted(idle)}"


@pytest.fixture
def store(finished_run) -> Path:
    # Other tests of the same run leave stores of other recipes there: any of them has the format.
    manifest = next((finished_run.folder.parent / "cache").rglob("manifest.json"))
    return manifest.parent


def read(file: Path) -> Any:
    return json.loads(file.read_text())


def test_every_key_of_a_file_is_documented_and_no_other(finished_run, store) -> None:
    run = finished_run.folder
    require_documented(read(run / "metrics.json"), first_column("metrics.json"))
    require_documented(read(run / "model" / "model.json"), first_column("model/"))
    require_documented(read(run / "model" / "reference.json"), first_column("model/", 1))
    require_documented(read(run / "run_state.json"), first_column("run_state.json"))
    assert read(run / "data.json").keys() == set(first_column("data.json"))
    require_documented(read(store / "manifest.json"), first_column("A store", 1))
    checkpoint = next((run / "checkpoints").glob("step_*"))
    row = re.search(r"^\| `manifest.json` \|(.*)\|$", PAGE, re.MULTILINE)
    assert row is not None
    assert read(checkpoint / "manifest.json").keys() == set(re.findall(r"`(\w+)`", row[1]))


def test_every_key_of_a_validation_is_documented_and_no_other() -> None:
    # Plain lists for tuples, as in the file.
    left_out = {"use_ema": improvement("EMA teacher (4.5)", 0.01, "helps")}
    result = json.loads(json.dumps(example(contributions=left_out).to_json()))
    require_documented(result, first_column("validation.json"))


def test_every_key_of_a_monitoring_is_documented_and_no_other() -> None:
    for result in (alarmed(), healthy()):
        require_documented(
            json.loads(json.dumps(result.to_json())), first_column("monitor.json"), {"gates[].…", "alarms[].…"}
        )


def test_every_file_of_a_run_is_documented(finished_run) -> None:
    documented = {name.rstrip("/") for name in first_column("A run's folder")}
    there = {path.name for path in finished_run.folder.iterdir()}
    assert there <= documented
    elsewhere = {"wandb", "debug", "supervisor.json", "monitor", "explanation", "export", "blend", "blend.parquet"}
    assert documented - there <= elsewhere
    files = set(first_column("checkpoints/"))
    for checkpoint in (finished_run.folder / "checkpoints").glob("step_*"):
        assert {path.name for path in checkpoint.iterdir()} <= files


def test_every_event_is_documented(finished_run) -> None:
    events = {json.loads(line)["event"] for line in (finished_run.folder / "events.jsonl").read_text().splitlines()}
    assert events <= set(first_column("events.jsonl"))


def test_tables_have_the_columns_that_are_documented(finished_run, store) -> None:
    documented = first_column("predictions.parquet")
    schema = pl.read_parquet_schema(finished_run.folder / "predictions.parquet")
    assert {re.sub(r"_\d+d$", "_1d", name) for name in schema} == set(documented)
    baselines = pl.read_parquet_schema(finished_run.folder / "baselines.parquet")
    assert set(baselines) == {"scorer", *schema}
    shard = next(file for file in store.iterdir() if file.suffix == ".arrow")
    assert pa.ipc.open_file(shard).schema.names == first_column("A store", 0)


def test_a_key_too_many_or_too_few_is_noticed() -> None:
    require_documented({"a": {"x": {"b": 1}}, "l": [{"c": 1}]}, ["a.NAME.b", "l[].c"])
    require_documented({"a": 1, "l": []}, ["a", "l[].…"], {"l[].…"})
    with pytest.raises(AssertionError, match="no line for"):
        require_documented({"a": 1, "b": 2}, ["a"])
    with pytest.raises(AssertionError, match="not there"):
        require_documented({"a": 1}, ["a", "b"])
