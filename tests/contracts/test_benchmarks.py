"""The benchmarks run from a checkout, and what they say follows from what they measured."""

import ast
import mmap
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from atft_gat_fan.runs.private_memory import peak_private_bytes, private_bytes
from benchmarks import robustness
from benchmarks.made_panel import panel_days, write_panel
from benchmarks.measuring import (
    Figure,
    at_least,
    at_most,
    header,
    in_turn,
    interleaved,
    median_ratio,
    significant,
    table,
    table_rows,
)
from benchmarks.memory import Size
from benchmarks.private_memory import watch
from benchmarks.turns import machine_seconds, take_turns

ROOT = Path(__file__).parents[2]
MODULES = sorted(path.stem for path in (ROOT / "benchmarks").glob("*.py") if path.stem != "__main__")
MEGABYTES = 64


@pytest.mark.parametrize("module", MODULES)
def test_every_benchmark_imports_and_measures_nothing_by_that(module: str) -> None:
    assert import_module(f"benchmarks.{module}").__doc__


@pytest.mark.parametrize("path", sorted((ROOT / "benchmarks" / "peers").glob("*.py")), ids=lambda path: path.stem)
def test_a_peer_needs_nothing_of_our_environment(path: Path) -> None:
    """They run where neither the package nor its dependencies are."""
    nodes = list(ast.walk(ast.parse(path.read_text())))
    imported = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module is not None}
    assert {name for name in imported if name.startswith("benchmarks")} == {"benchmarks.turns"}
    assert not any(name.startswith("atft_gat_fan") for name in imported)


def test_the_peers_are_pinned_exactly_and_torch_is_ours() -> None:
    def lines(file: str) -> list[str]:
        return [line for line in (ROOT / file).read_text().splitlines() if line and line[0] not in "#-"]

    peers = lines("benchmarks/peers/requirements.txt")
    assert all(line.count("==") == 1 for line in peers)
    (torch,) = (line for line in peers if line.startswith("torch=="))
    assert torch in lines("requirements.txt")


def test_make_bench_runs_every_benchmark_that_publishes_a_table_but_those_of_hours() -> None:
    runner = import_module("benchmarks.__main__")
    publishing = {module for module in MODULES if "publish(" in (ROOT / "benchmarks" / f"{module}.py").read_text()}
    assert publishing - {"measuring"} == {*runner.TOPICS, *runner.WITH_PANEL, *runner.APART}


@pytest.mark.parametrize(
    ("value", "shown"),
    [(12345.6, "12,346"), (0.01234, "0.0123"), (1.5, "1.50"), (999.96, "1,000"), (0.0, "0"), (-3.2, "-3.20")],
)
def test_three_significant_digits(value: float, shown: str) -> None:
    assert significant(value) == shown


def test_a_figure_says_whether_it_reached_its_target() -> None:
    assert Figure.of("speed", 9.9, "c", at_least(10)).reached == "no"
    assert Figure.of("speed", 10.0, "c", at_least(10)).reached == "yes"
    assert Figure.of("memory", 0.86, "c", at_most(0.85)).reached == "no"
    assert Figure.of("memory", 0.85, "c", at_most(0.85)).reached == "yes"
    assert Figure.skipped("panel", "no --panel given", "c", at_most(1.0)).reached == ""


def test_rows_of_a_printed_table_are_those_that_were_put_in() -> None:
    figures = [Figure.of("speed", 12.0, "a", at_least(10)), Figure("demo", "5 s", "b")]
    printed = "some words\n" + table(figures) + "\n"
    assert table_rows(printed) == table(figures).splitlines()[2:]
    assert [len(line.split("|")) for line in [header()[0], *table_rows(printed)]] == [7, 7, 7]


def test_the_ratio_is_the_median_of_neighbours_not_the_ratio_of_medians() -> None:
    assert median_ratio([2.0, 20.0, 6.0], [1.0, 10.0, 2.0]) == 2.0


def test_repetitions_alternate_and_the_warm_up_is_not_counted() -> None:
    calls: list[str] = []
    seconds = interleaved({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, 2, warm_up=1)
    assert "".join(calls) == "abbaab"
    assert {name: len(taken) for name, taken in seconds.items()} == {"a": 2, "b": 2}
    assert in_turn("abc", 1) == ["c", "b", "a"]


def test_private_memory_is_what_was_written_not_what_was_mapped(tmp_path: Path) -> None:
    np.zeros(MEGABYTES << 18, np.float32).tofile(tmp_path / "values")
    before = private_bytes()
    with peak_private_bytes() as mapped:
        assert np.memmap(tmp_path / "values", np.float32).sum() == 0
    assert mapped.num_bytes - before < MEGABYTES << 19
    with peak_private_bytes() as peak:
        # Of the kernel, not of malloc, which may have freed memory at hand.
        written = np.frombuffer(mmap.mmap(-1, MEGABYTES << 20, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS), np.float32)
        written[:] = 1
        peak.see(private_bytes())
    assert peak.num_bytes - before >= written.nbytes * 0.9


def test_a_watched_command_tells_its_peak_and_output_or_its_last_words() -> None:
    hungry = f"import time; kept = b'x' * ({MEGABYTES} << 20); time.sleep(0.5); print('done')"
    watched = watch([sys.executable, "-c", hungry])
    assert watched.output == "done\n"
    assert watched.peak >= MEGABYTES << 20
    with pytest.raises(RuntimeError, match="no such luck"):
        watch([sys.executable, "-c", "raise SystemExit('no such luck')"])


def test_workers_answer_by_turns_and_a_broken_one_is_named(tmp_path: Path) -> None:
    worker = "from benchmarks.turns import serve\nprint('noise')\nserve(lambda: {{'value': {}}})"
    commands = {name: [sys.executable, "-c", worker.format(value)] for name, value in (("one", 1), ("two", 2))}
    answers = take_turns(commands, 3, say=lambda message: None)
    assert answers == {"one": [{"value": 1}] * 3, "two": [{"value": 2}] * 3}
    with pytest.raises(RuntimeError, match="out of order"):
        take_turns({"bad": [sys.executable, "-c", "raise SystemExit('out of order')"]}, 1, say=lambda message: None)


def test_other_processes_that_disturb_are_said() -> None:
    busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    worker = "import time; from benchmarks.turns import serve; serve(lambda: time.sleep(0.5) or {})"
    said: list[str] = []
    before = machine_seconds()
    try:
        take_turns({"idle": [sys.executable, "-c", worker]}, 1, say=said.append)
    finally:
        busy.kill()
        busy.wait()
    assert machine_seconds() > before
    assert "other processes used" in said[-1]


def test_a_made_panel_is_a_panel_with_listings_and_the_same_each_time(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_panel(tmp_path / name, stocks=50, days=300, features=3)
    one, two = (pl.read_parquet(tmp_path / name) for name in ("a", "b"))
    assert one.equals(two)
    assert one.columns == ["Date", "Code", "Close", "f000", "f001", "f002"]
    assert not one.select("Date", "Code").is_duplicated().any()
    assert one["Close"].min() > 0
    assert sorted(one["Date"].unique()) == panel_days(300).tolist()
    days = one.group_by("Code").len()["len"]
    assert days.max() == 300
    assert days.min() < 300


def test_a_panel_too_large_for_the_disk_gets_fewer_features() -> None:
    wanted = Size(4000, 2500, 300)
    assert wanted.fitting(10**12) == wanted
    fitted = wanted.fitting(24 * 10**9)
    assert fitted == Size(4000, 2500, 150)


def test_a_steps_time_is_that_between_two_with_nothing_in_between() -> None:
    times = [("train", 0.0), ("train", 0.5), ("checkpoint", 3.0), ("train", 3.1), ("train", 3.5)]
    log = [{"event": event, "time": f"2026-01-01T00:00:0{second:.3f}+00:00"} for event, second in times]
    assert robustness.step_seconds(log) == pytest.approx([0.5, 0.4])


def test_the_line_of_a_log_that_is_being_written_is_left_for_later(tmp_path: Path) -> None:
    assert robustness.read_events(tmp_path) == []
    (tmp_path / "events.jsonl").write_text('{"event": "train"}\n{"event": "chec')
    assert robustness.read_events(tmp_path) == [{"event": "train"}]


def test_recovery_that_takes_longer_is_seen_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """A step's time stands for what the switch does to it: here twice the time."""
    seconds = {("market",): 0.01, ("market", "recovery"): 0.02}
    monkeypatch.setattr(robustness, "stepper", lambda overrides: lambda: time.sleep(seconds[tuple(overrides)]))
    figure = robustness.readiness(["market"], ["recovery"], rounds=5)
    assert figure.reached == "no"
    assert 1.5 < float(figure.measured.split()[0]) < 2.5


@pytest.mark.parametrize("module", ["training_speed", "worlds", "__main__"])
def test_a_benchmark_starts_from_the_root_of_a_checkout(module: str) -> None:
    command = [sys.executable, "-m", f"benchmarks.{module}".removesuffix(".__main__"), "--help"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert "--quick" in done.stdout
