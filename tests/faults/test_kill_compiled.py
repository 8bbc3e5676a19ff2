"""A compiled training that is killed stays compiled, and what compiling changes is in the last digits only."""

import pytest

from tests.faults.trainings import Ended, Run, Trainings

pytestmark = [pytest.mark.slow, pytest.mark.exhaustive]

SETTINGS = {"max_epochs": 5, "early_stopping": False, "log_every": 1, "checkpoint_every": 20}
"""50 steps."""
COMPILED = {**SETTINGS, "compile": True}


@pytest.fixture(scope="module")
def plain(trainings: Trainings) -> Run:
    return trainings.undisturbed({**SETTINGS, "compile": False})[0]


@pytest.fixture(scope="module")
def compiled(trainings: Trainings) -> Run:
    return trainings.undisturbed(COMPILED)[0]


@pytest.fixture(scope="module")
def killed(trainings: Trainings) -> tuple[Run, Ended]:
    run = trainings.at("compiled and killed")
    ended = trainings.start(run, COMPILED, place="batch", n=45, act="SIGKILL")
    assert trainings.start(run, COMPILED).code == 0
    return run, ended


@pytest.mark.fault("kill −9 of a compiled training", "it goes on compiled, and ends with the same bits")
def test_a_killed_compiled_run_ends_with_the_same_bits(compiled: Run, killed: tuple[Run, Ended], struck) -> None:
    run, ended = killed
    struck(ended.code == -9 and run.struck)
    assert run.outcome() == compiled.outcome()
    assert [start["compiled"] for start in run.events("start")] == [True, True]
    assert run.starts[-1] == ended.newest == 30


def test_compiling_is_recorded_apart_from_the_steps(plain: Run, compiled: Run) -> None:
    (compiling,) = compiled.events("compile")
    assert compiling["seconds"] > 0
    assert (compiling["step"], compiled.events("train")[0]["step"]) == (0, 1)
    assert not plain.events("compile")


def test_compiled_losses_are_the_plain_ones_for_50_steps(plain: Run, compiled: Run) -> None:
    losses, compiled_losses = ([event["loss"] for event in run.events("train")] for run in (plain, compiled))
    assert len(losses) == 50
    assert compiled_losses == pytest.approx(losses, rel=1e-4)
    assert compiled_losses != losses, "else nothing was compiled"
