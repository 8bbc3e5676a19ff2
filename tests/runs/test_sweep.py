"""A sweep as a whole: ordinary runs in their usual folders, several at once, finished ones not again."""

import io
import sys
from collections.abc import Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from rich.console import Console

from atft_gat_fan.cli.sweep_tables import names_of, plan_text, summary_table
from atft_gat_fan.config.load import load_config, read_config, run_folder
from atft_gat_fan.config.overrides import expand_sweep
from atft_gat_fan.config.schema import Config
from atft_gat_fan.errors import ConfigError, TrialError
from atft_gat_fan.runs import sweep as sweeps
from atft_gat_fan.runs.run_files import read_metrics
from atft_gat_fan.runs.run_status import unfinished
from atft_gat_fan.runs.sweep import sweep
from atft_gat_fan.validation.local_runner import LocalRunner
from tests.runs.tiny import MARKET, TINY, quiet, tiny_run

KEYS = [*MARKET, *(f"{key}={str(value).replace(' ', '').replace(chr(39), '')}" for key, value in TINY.items())]


def runs_of(root: Path, *arguments: str) -> dict[str, Config]:
    places = [f"run.root={root}", f"data.cache={root / 'cache'}", "train.max_steps=3"]
    expanded = expand_sweep([*KEYS, *places, *arguments])
    return dict(zip(names_of(expanded), map(load_config, expanded), strict=True))


def test_runs_are_named_by_what_tells_them_apart() -> None:
    assert names_of(expand_sweep(["model=small", "seed=1,2", "batch_size=4,8"])) == [
        "seed=1 batch_size=4",
        "seed=1 batch_size=8",
        "seed=2 batch_size=4",
        "seed=2 batch_size=8",
    ]
    assert names_of([["seed=1"]]) == ["run"]


def test_the_plan_says_what_is_finished() -> None:
    text = plan_text(["seed=1", "seed=2"], [Path("a"), Path("b")], [True, False], 2)
    assert text.splitlines() == [
        "2 trainings, 1 finished; up to 2 at once",
        "finished  seed=1  a",
        "to run    seed=2  b",
    ]


def test_the_table_has_the_best_on_the_validation_days_first() -> None:
    def metrics(valid: Sequence[float | None], test: float) -> dict:
        by_horizon = dict(zip(("1d", "5d"), valid, strict=True))
        trained = {"epochs": 3, "seconds": 12.0}
        return {"valid": {"rank_ic": by_horizon}, "test": {"rank_ic": {"1d": test, "5d": None}}, "train": trained}

    console = Console(file=io.StringIO(), width=120)
    of_runs = [metrics((0.01, 0.02), 0.09), metrics((0.04, None), 0.01), metrics((None, None), 0.5)]
    console.print(summary_table(["lucky", "good", "none"], of_runs))
    lines = console.file.getvalue().splitlines()
    assert [line.split()[0] for line in lines[2:]] == ["good", "lucky", "none"]
    assert "+0.0400" in lines[2]


def test_runs_that_disagree_on_where_they_run_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"the same trials\.\* and run\.stop_after"):
        sweep(runs_of(tmp_path, "trials.workers=1,2", "seed=1"), quiet())


FINISHES = """
import json, pathlib, sys
folder = pathlib.Path(sys.argv[1])
if "seed: 3" in (folder / "config.yaml").read_text():
    sys.exit("the disk is full")
with (folder / "starts").open("a") as file:
    print("once", file=file)
(folder / "run_state.json").write_text(json.dumps({"status": "finished"}))
"""


def test_each_run_finds_its_configuration_and_one_that_fails_stops_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def quick(module, read, trials, *, workers, poll, progress):
        yield LocalRunner(
            lambda run: [sys.executable, "-c", FINISHES, str(run)],
            read,
            workers=workers,
            max_retries=trials.max_retries,
        )

    monkeypatch.setattr(sweeps, "trial_runner", quick)
    runs = runs_of(tmp_path, "seed=1,3,2", "trials.workers=2", "run.stop_after=3h")
    with pytest.raises(TrialError, match="1 of 3 trainings failed: seed=3: exit code 1: the disk is full"):
        sweep(runs, quiet())
    folders = [run_folder(config) for config in runs.values()]
    assert [bool(unfinished(folder)) for folder in folders] == [False, True, False]
    own = read_config(folders[0] / "config.yaml")
    assert (own.seed, own.run.dir, own.run.stop_after) == (1, str(folders[0]), None)
    good = {name: config for name, config in runs.items() if name != "seed=3"}
    assert sweep(good, quiet()) == [folders[0], folders[2]]
    assert (folders[0] / "starts").read_text().split() == ["once"]
    fresh = {"again": runs_of(tmp_path, "seed=1", "run.fresh=true")["run"]}
    assert sweep(fresh, quiet()) == folders[:1]
    assert (folders[0] / "starts").read_text().split() == ["once", "once"]


@pytest.mark.slow
@pytest.mark.exhaustive
def test_a_sweep_makes_ordinary_runs_several_at_once_and_no_finished_one_again(tmp_path: Path) -> None:
    runs = runs_of(tmp_path, "seed=1,2", "trials.workers=2")
    told = io.StringIO()
    folders = sweep(runs, Console(file=told, width=200))
    assert folders == [run_folder(config) for config in runs.values()]
    assert not any(map(unfinished, folders))
    assert "2 trainings, 0 finished; up to 2 at once" in told.getvalue()
    assert "2 of 2 trainings, about 0:00:00 to go" in told.getvalue()
    before = [(folder / "metrics.json").stat().st_mtime_ns for folder in folders]
    assert sweep(runs, quiet()) == folders
    assert [(folder / "metrics.json").stat().st_mtime_ns for folder in folders] == before


@pytest.mark.slow
@pytest.mark.exhaustive
def test_a_sweeps_run_is_that_of_a_single_command_and_one_that_fails_stops_no_other(tmp_path: Path) -> None:
    good, hopeless = (
        runs_of(tmp_path, *keys)["run"] for keys in (["seed=2"], ["seed=3", "split.train_end=2031-01-01"])
    )
    with pytest.raises(TrialError, match=r"1 of 2 trainings failed: hopeless: exit code 65: .*expected test days"):
        sweep({"good": good, "hopeless": hopeless}, quiet())
    (folder,) = sweep({"good": good}, quiet())
    alone = tiny_run(tmp_path / "alone", tmp_path / "cache", "seed=2", "train.max_steps=3")
    assert read_metrics(alone)["test"] == read_metrics(folder)["test"]
