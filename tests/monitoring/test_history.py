"""The history holds each day once, as it was found last; it is never lost, torn or trusted blindly."""

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest

from atft_gat_fan.errors import StorageError
from atft_gat_fan.monitoring import history as module
from atft_gat_fan.monitoring.history import HISTORY, SCHEMA, append_history, daily, memory_readings, read_history
from atft_gat_fan.monitoring.result import MonitorResult
from tests.monitoring.examples import LAST, MODEL, alarmed, first_day, healthy


def on(day: int, num_days: int = 30) -> MonitorResult:
    """A monitoring `day` trading days before the last."""
    return healthy(3, num_days, np.busday_offset(LAST, -day))


def test_it_begins_empty_and_returns_what_it_wrote(tmp_path: Path):
    assert read_history(tmp_path).schema == SCHEMA
    assert read_history(tmp_path).is_empty()
    result = alarmed(4)
    written = append_history(tmp_path / "new" / "folder", result)
    assert read_history(tmp_path / "new" / "folder").equals(written)
    days, values = daily(written, MODEL, "coverage")
    (coverage,) = (number for number in result.stability if number.name == "coverage")
    assert [str(day) for day in days] == list(result.days)
    assert tuple(values) == coverage.daily
    assert daily(written, MODEL, "rank_ic", "10d")[1] == list(result.rank_ic["10d"].daily)
    assert daily(written, "another model", "coverage") == ([], [])
    runs = written.filter(pl.col("day").is_null())
    assert dict(runs.select("metric", "value").rows())["alarms"] == len(result.alarms)


def test_the_largest_of_a_family_stands_for_it(tmp_path: Path):
    result = alarmed(4)
    history = append_history(tmp_path, result)
    shifts = result.families["raw_features"].shifts
    for metric in ("excess", "psi"):
        _, values = daily(history, MODEL, metric, "raw_features", last=3)
        assert values == [max(getattr(shift, metric)[i] for shift in shifts) for i in (-3, -2, -1)]


def test_the_same_result_again_changes_nothing(tmp_path: Path):
    append_history(tmp_path, on(1))
    once = append_history(tmp_path, on(0))
    assert append_history(tmp_path, on(0)).equals(once)


def test_days_add_up_and_the_newest_finding_of_a_day_wins(tmp_path: Path):
    early, late = on(1), on(0)
    append_history(tmp_path, early)
    history = append_history(tmp_path, late)
    days, values = daily(history, MODEL, "stocks")
    assert [str(day) for day in days] == sorted({*early.days, *late.days})
    assert values == [float(early.stocks[0]), *map(float, late.stocks)]
    # In whichever order they are run: an old day monitored again later is newer.
    again = append_history(tmp_path, replace(early, at="2027-01-01T00:00:00+00:00"))
    assert daily(again, MODEL, "stocks")[1] == [*map(float, early.stocks), float(late.stocks[-1])]


def test_what_was_known_is_not_lost_to_a_run_that_could_not_measure_it(tmp_path: Path):
    known = on(0)
    append_history(tmp_path, known)
    blind = tuple(replace(number, daily=(None,) * len(known.days)) for number in known.stability)
    history = append_history(tmp_path, replace(known, stability=blind, at="2027-01-01T00:00:00+00:00"))
    assert daily(history, MODEL, "coverage")[1] == list(known.stability[5].daily)


def test_models_are_kept_apart(tmp_path: Path):
    append_history(tmp_path, on(0))
    other = replace(on(0), model="other", stocks=(7,) * 30, at="2026-11-02T21:15:04+00:00")
    history = append_history(tmp_path, other)
    assert daily(history, MODEL, "stocks")[1] == list(map(float, on(0).stocks))
    assert daily(history, "other", "stocks")[1] == [7.0] * 30
    assert len(memory_readings(history, "other", 10)) == len(memory_readings(history, MODEL, 10)) == 1


def test_every_run_leaves_one_reading_of_its_memory(tmp_path: Path):
    runs = [on(4 - i) for i in range(5)]
    for run in runs:
        history = append_history(tmp_path, run)
    found = memory_readings(history, MODEL, last=3)
    assert found == tuple(run.memory.now for run in runs[2:])
    assert memory_readings(read_history(tmp_path / "none"), MODEL, 3) == ()


def test_one_day_is_enough_for_a_row(tmp_path: Path):
    history = append_history(tmp_path, first_day(2))
    assert daily(history, MODEL, "rank_ic", "1d") == ([], [])
    assert daily(history, MODEL, "rank_correlation_1d")[1] == [None]


def test_years_of_days_stay_small_and_the_oldest_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "MOST_DAYS", 40)
    monkeypatch.setattr(module, "MOST_RUNS", 2)
    for back in (60, 30, 0):
        history = append_history(tmp_path, on(back))
    days, _ = daily(history, MODEL, "coverage")
    assert len(days) == 40
    assert days[-1] == date.fromisoformat(str(LAST))
    assert history.filter(pl.col("day").is_null())["at"].n_unique() == 2


def test_ten_years_of_daily_use_are_cheap(tmp_path: Path):
    append_history(tmp_path, healthy(2, 2500))
    begun = time.perf_counter()
    append_history(tmp_path, on(0))
    assert (tmp_path / HISTORY).stat().st_size < 2**21
    assert time.perf_counter() - begun < 5  # measured 0.1 s; a bound that a busy machine keeps


def test_two_at_once_lose_nothing(tmp_path: Path):
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda day: append_history(tmp_path, on(day, 1)), range(8)))
    assert len(daily(read_history(tmp_path), MODEL, "coverage")[0]) == 8


def test_a_flipped_bit_is_never_read_as_another_history(tmp_path: Path):
    known = append_history(tmp_path, on(1))
    file = tmp_path / HISTORY
    content = file.read_bytes()
    refused = 0
    for position in range(0, len(content), 1 + len(content) // 300):
        file.write_bytes(content[:position] + bytes([content[position] ^ 0x10]) + content[position + 1 :])
        try:
            assert read_history(tmp_path).equals(known), position
        except StorageError:
            refused += 1
    assert refused > 100  # the rest are statistics that nobody reads


def test_a_damaged_history_is_refused_and_left_alone(tmp_path: Path):
    append_history(tmp_path, on(1))
    file = tmp_path / HISTORY
    damaged = file.read_bytes()[:-100]
    file.write_bytes(damaged)
    with pytest.raises(StorageError, match=r"history\.parquet: expected the history .* move it away"):
        append_history(tmp_path, on(0))
    assert file.read_bytes() == damaged


def test_what_is_no_history_is_refused(tmp_path: Path):
    file = tmp_path / HISTORY
    good = append_history(tmp_path, on(0, 2))
    other = pq.read_table(file)
    cases = {
        "format none": other.replace_schema_metadata({}),
        "format 2 where 1": other.replace_schema_metadata({b"atft.monitor_history": b"2"}),
        "columns": other.drop_columns(["value"]),
        "characters where": good.with_columns(pl.lit("x" * 5000).alias("name")).to_arrow().replace_schema_metadata(
            {b"atft.monitor_history": b"1"}
        ),
    }  # fmt: skip
    for words, table in cases.items():
        pq.write_table(table, file)
        with pytest.raises(StorageError, match=words):
            read_history(tmp_path)
    file.write_bytes(b"")
    with pytest.raises(StorageError, match="expected the history"):
        read_history(tmp_path)
    file.unlink()
    file.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StorageError, match="a link"):
        read_history(tmp_path)


def test_too_many_rows_are_refused_before_they_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    append_history(tmp_path, on(0))
    monkeypatch.setattr(module, "MOST_ROWS", 3)
    with pytest.raises(StorageError, match="rows where 3 are the most"):
        read_history(tmp_path)


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot write"):
        append_history(tmp_path / "file", on(0))
