"""Tell a training to stop, crowd it, starve it of disk, take its loader threads; then compare as after a kill."""

import pytest

from tests.faults.trainings import SETTINGS, Trainings

TWO_BATCHES = {**SETTINGS, "accumulate": 2}
"""5 steps an epoch, of two batches each."""
STOPS = [("SIGTERM", 143), ("SIGINT", 130), ("SIGUSR1", 75)]
SLOW = pytest.mark.slow
"""Only because they are many."""
SAVED = "saved; exit 143, 130, 75; goes on to the same bits, no step done twice"


def stopped_and_resumed(
    trainings: Trainings, struck, settings: dict, signal: str, code: int, *, last_step: int, **strike
) -> None:
    """The signal comes in step `last_step`, or in the validation or save after it: none comes after that one."""
    run, (straight, _) = trainings.at(f"{signal} {strike} {len(settings)}"), trainings.undisturbed(settings)
    stopped = trainings.start(run, settings, **strike, act=signal)
    struck(run.struck)
    assert stopped.code == code
    assert signal in run.error["message"]
    assert "start the same command again" in run.error["message"]
    assert (run.error["state"]["status"], run.error["state"]["resumable"]) == ("interrupted", True)
    assert trainings.start(run, settings).code == 0
    assert run.starts[-1] == stopped.newest
    assert max(run.steps[0], default=0) in (last_step - 1, last_step)
    steps = [step for done in run.steps for step in done]
    assert steps == list(range(1, straight.steps[0][-1] + 1))
    assert [event["epoch"] for event in run.events("valid")] == [1, 2]
    assert run.outcome() == straight.outcome()


@pytest.mark.fault("SIGTERM, SIGINT, SIGUSR1 as a step begins", SAVED)
@pytest.mark.parametrize(("signal", "code"), STOPS)
def test_stopped_as_a_step_begins(trainings: Trainings, struck, signal: str, code: int) -> None:
    stopped_and_resumed(trainings, struck, SETTINGS, signal, code, place="batch", n=6, last_step=6)


@pytest.mark.fault("SIGTERM, SIGINT, SIGUSR1 between the micro-batches of a step", SAVED)
@pytest.mark.parametrize(("signal", "code"), [STOPS[0], *(pytest.param(*stop, marks=SLOW) for stop in STOPS[1:])])
def test_stopped_between_micro_batches(trainings: Trainings, struck, signal: str, code: int) -> None:
    stopped_and_resumed(trainings, struck, TWO_BATCHES, signal, code, place="device", n=6, last_step=3)


@pytest.mark.fault("SIGTERM, SIGINT, SIGUSR1 in the forward or backward pass, before or after the update", SAVED)
@pytest.mark.parametrize(
    ("signal", "code", "place"),
    [
        pytest.param("SIGTERM", 143, "forward", marks=SLOW),
        ("SIGINT", 130, "backward"),
        pytest.param("SIGUSR1", 75, "update", marks=SLOW),
        ("SIGTERM", 143, "updated"),
    ],
)
def test_stopped_within_a_step(trainings: Trainings, struck, signal: str, code: int, place: str) -> None:
    stopped_and_resumed(trainings, struck, SETTINGS, signal, code, place=place, n=6, last_step=6)


@pytest.mark.fault("SIGTERM, SIGINT, SIGUSR1 during validation", SAVED)
@pytest.mark.parametrize(
    ("signal", "code", "n"),
    [pytest.param(*STOPS[0], 11, marks=SLOW), (*STOPS[1], 12), pytest.param(*STOPS[2], 14, marks=SLOW)],
)
def test_stopped_in_a_validation(trainings: Trainings, struck, signal: str, code: int, n: int) -> None:
    stopped_and_resumed(trainings, struck, SETTINGS, signal, code, place="batch", n=n, last_step=10)


@pytest.mark.fault("SIGTERM during a save", "saved; exit 143; goes on to the same bits, no step done twice")
def test_stopped_in_a_save(trainings: Trainings, struck) -> None:
    points = trainings.undisturbed()[1].points
    rename = 1 + points.index("rename checkpoints/.step_00000004_epoch_0000.tmp")
    stopped_and_resumed(trainings, struck, SETTINGS, "SIGTERM", 143, place="disk", n=rename, last_step=4)


@pytest.mark.fault("SIGTERM twice in a row", "exit 143 at once; goes on from the newest checkpoint, to the same bits")
@pytest.mark.parametrize("n", [pytest.param(7, marks=SLOW), 12])
def test_a_second_signal_ends_at_once(trainings: Trainings, struck, n: int) -> None:
    run, (straight, _) = trainings.at(f"twice stopped {n}"), trainings.undisturbed()
    stopped = trainings.start(run, place="batch", n=n, act="SIGTERM SIGTERM")
    struck(run.struck)
    assert stopped.code == 143
    assert not (run.path / "error.json").exists(), "nothing was finished, nothing was told"
    assert trainings.start(run).code == 0
    assert run.starts[-1] == stopped.newest
    assert run.outcome() == straight.outcome()


@pytest.mark.fault("a second process on the same run folder", "exit 74, refused by name; the first goes on unharmed")
def test_two_processes_cannot_share_a_run_folder(trainings: Trainings, struck) -> None:
    run, (straight, _) = trainings.at("shared"), trainings.undisturbed()
    first = trainings.start_waiting(run, place="batch", n=7)
    before = run.log
    refused = trainings.start(run)
    struck(refused.code == 74)
    assert "StorageError" in run.error["message"]
    assert f"in use by process {first}" in run.error["message"]
    assert run.log == before, "the refused one wrote no event"
    assert trainings.kill(first) == -9
    assert trainings.start(run).code == 0
    assert run.starts[-1] == refused.newest
    assert run.outcome() == straight.outcome()


@pytest.mark.fault("no file may grow (RLIMIT_FSIZE) when a checkpoint is written", "exit 74; the one before it loads")
def test_a_full_disk_is_named_and_leaves_the_old_checkpoint(trainings: Trainings, struck) -> None:
    run, (straight, _) = trainings.at("small disk"), trainings.undisturbed()
    failed = trainings.start(run, place="batch", n=7, act="small disk")
    struck(run.struck)
    assert failed.code == 74
    assert run.error["message"].startswith("StorageError")
    assert "step_00000008" in run.error["message"]
    assert "free space" in run.error["message"]
    assert failed.newest == 4
    assert not list((run.path / "checkpoints").glob(".*")), "nothing half-written stays"
    assert (run.error["state"]["status"], run.error["state"]["resumable"]) == ("failed", True)
    assert trainings.start(run).code == 0
    assert run.starts[-1] == 4
    assert run.outcome() == straight.outcome()


@pytest.mark.fault("a loader thread dies, once or with every batch", "a warning; the main thread does its work")
@pytest.mark.parametrize("act", ["raise", "raise always"])
def test_training_goes_on_without_its_loader_threads(trainings: Trainings, struck, act: str) -> None:
    run, (straight, _) = trainings.at(f"loader {act}"), trainings.undisturbed()
    told = len(trainings.errors())
    assert trainings.start(run, {**SETTINGS, "num_workers": 2}, place="loader", n=3, act=act).code == 0
    struck(run.struck)
    assert (len(run.struck) == 1) == (act == "raise")
    assert "a loader thread failed" in trainings.errors()[told:]
    assert run.outcome() == straight.outcome()
