"""Where trainings run is the configuration's choice; what is not installed is named."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from atft_gat_fan.config.load import from_mapping, load_config, run_folder
from atft_gat_fan.config.schema import TrialsConfig
from atft_gat_fan.errors import ConfigError
from atft_gat_fan.runs.search_plan import require_optuna
from atft_gat_fan.runs.trial_runner import threads_of_each, trial_runner
from atft_gat_fan.training.settings import config_digest
from atft_gat_fan.validation.local_runner import LocalRunner
from atft_gat_fan.validation.trials import Job


def test_local_is_the_default() -> None:
    with trial_runner("m", lambda folder: folder, TrialsConfig(), workers=2, poll=lambda: None) as runner:
        assert isinstance(runner, LocalRunner)


@pytest.mark.parametrize(("package", "extra"), [("ray", "ray"), ("optuna", "search")])
def test_a_part_that_is_not_installed_is_named(package: str, extra: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    asks = {
        "optuna": require_optuna,
        "ray": trial_runner("m", lambda folder: folder, TrialsConfig(executor="ray"), workers=2, poll=list).__enter__,
    }
    with pytest.raises(ConfigError, match=rf"found no {package} -> pip install 'atft-gat-fan\[{extra}\]'"):
        asks[package]()


def test_a_search_without_optuna_says_what_to_install() -> None:
    """In a process of its own: here Optuna may have been imported before."""
    without = "import sys; sys.modules['optuna'] = None; from atft_gat_fan.cli.main import main; main()"
    said = subprocess.run(
        [sys.executable, "-c", without, "search", "seed=1,2"], capture_output=True, check=False, text=True
    )
    assert said.returncode == ConfigError.exit_code
    assert "pip install 'atft-gat-fan[search]'" in " ".join(said.stderr.split())
    assert "Traceback" not in said.stderr


def test_where_trainings_run_changes_neither_the_run_nor_its_folder() -> None:
    here, there = load_config([]), load_config(["trials.executor=ray", "trials.num_cpus=2", "search.num_trials=7"])
    assert run_folder(here) == run_folder(there)
    assert config_digest(here) == config_digest(there)


@pytest.mark.parametrize(
    ("trials", "threads", "expected"),
    [
        ({}, 3, 3),
        ({}, None, None),
        ({"executor": "ray"}, None, 1),
        ({"executor": "ray", "num_cpus": 4.0}, None, 4),
        ({"executor": "ray", "num_cpus": 0.5}, None, 1),
        ({"executor": "ray", "num_cpus": 4.0}, 2, 2),
    ],
)
def test_threads_are_those_configured_else_what_there_is(trials: dict, threads: int | None, expected: int) -> None:
    assert threads_of_each(from_mapping({"trials": trials, "run": {"num_threads": threads}}), 1) == expected
    if not trials and threads is None:
        assert threads_of_each(load_config([]), 2) == max(1, (os.cpu_count() or 1) // 2)


def test_shares_of_more_than_one_core_are_refused_as_ray_does() -> None:
    with pytest.raises(ConfigError, match=r"a share below 1 or a whole number, as Ray counts, got 1\.5"):
        load_config(["trials.num_cpus=1.5"])


def test_nobody_connects_to_a_cluster_for_trainings_that_are_finished(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    trials = TrialsConfig(executor="ray", address="203.0.113.1:1")
    job = Job("done", "training", tmp_path)
    with trial_runner("m", lambda folder: folder, trials, workers=2, poll=list) as runner:
        assert runner.run([job]).outcomes == {"done": tmp_path}
