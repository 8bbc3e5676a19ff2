"""Kill a training anywhere, start it again, and compare with one that was left alone.

Points at the disk are not listed here: they are what an undisturbed training was seen to do there.
"""

import shutil
from collections.abc import Collection, Iterable
from typing import Any

import pytest

from tests.faults.trainings import SETTINGS, WITHOUT_EMA, Run, Trainings

CHECKPOINT_EVERY = SETTINGS["checkpoint_every"]
LAST_STEP = 20
SAME_BITS = "the same command goes on from the newest checkpoint; weights, EMA, optimizer, metrics equal to the bit"
BATCHES = {
    "first of all": 1,
    "in an epoch": 7,
    "last of an epoch": 10,
    "first of a validation": 11,
    "in a validation": 12,
    "last of a validation": 14,
    "first of the next epoch": 15,
    "last of the last epoch": 24,
    "last of all": 28,
}
WITHIN_STEPS = [
    ("device", 7),
    ("forward", 1),
    ("forward", 12),
    ("backward", 5),
    ("backward", 24),
    ("update", 1),
    ("update", 5),
    ("update", 20),
    ("updated", 4),
    ("updated", 10),
    ("updated", 20),
]


def quick_among(points: Iterable[Any], quick: Collection[Any]) -> list[Any]:
    """All of them; those that are not `quick` are slow only because they are many."""
    return [point if point in quick else pytest.param(point, marks=pytest.mark.slow) for point in points]


def killed_and_resumed(trainings: Trainings, name: str, settings: dict = SETTINGS, **strike) -> Run:
    """The run after both, compared with the undisturbed one; `struck` on it is the evidence."""
    run = trainings.at(name)
    killed = trainings.start(run, settings, **strike, act="SIGKILL")
    assert killed.code == -9
    assert len(run.struck) == 1
    done = max((event["step"] for event in run.events("train")), default=0)
    assert trainings.start(run, settings).code == 0
    went_on_from = run.starts[-1]
    assert went_on_from == killed.newest
    assert done - (went_on_from or 0) <= CHECKPOINT_EVERY
    assert run.steps[-1] == list(range((went_on_from or 0) + 1, LAST_STEP + 1))
    straight, _ = trainings.undisturbed(settings)
    assert run.outcome() == straight.outcome()
    return run


@pytest.mark.fault("kill −9 at the first, a middle or the last batch of an epoch, a validation, all", SAME_BITS)
@pytest.mark.parametrize("batch", quick_among(BATCHES, ("first of all", "in a validation", "first of the next epoch")))
def test_killed_at_a_batch(trainings: Trainings, struck, batch: str) -> None:
    run = killed_and_resumed(trainings, f"batch {batch}", place="batch", n=BATCHES[batch])
    struck([line for line in run.struck if line["place"] == "batch"])


@pytest.mark.fault("kill −9 within a step: forward, backward, before and after the optimizer's update", SAME_BITS)
@pytest.mark.parametrize(
    "point", quick_among(WITHIN_STEPS, [("backward", 5), ("update", 20), ("updated", 10)]), ids=str
)
def test_killed_within_a_step(trainings: Trainings, struck, point: tuple[str, int]) -> None:
    place, n = point
    run = killed_and_resumed(trainings, f"{place} {n}", place=place, n=n)
    struck([line for line in run.struck if line["place"] == place])


@pytest.mark.fault("kill −9 without an EMA", SAME_BITS)
@pytest.mark.parametrize(("place", "n"), [("batch", 12), pytest.param("update", 17, marks=pytest.mark.slow)])
def test_killed_without_an_average(trainings: Trainings, struck, place: str, n: int) -> None:
    run = killed_and_resumed(trainings, f"plain {place} {n}", WITHOUT_EMA, place=place, n=n)
    struck(run.struck)
    assert not any("ema" in name for name in run.outcome())


def kill_at_the_disk(trainings: Trainings, struck, points: dict[int, str]) -> None:
    """At each of `points`, and each was reached."""
    for number, point in points.items():
        run = killed_and_resumed(trainings, f"disk {number}", place="disk", n=number)
        assert [line["where"] for line in run.struck] == [point]
        struck(run.struck)
        shutil.rmtree(run.path)


def disk_points(trainings: Trainings) -> dict[int, str]:
    """All that an undisturbed training does with its files, by the number of each."""
    return dict(enumerate(trainings.undisturbed()[1].points, 1))


def kinds(points: dict[int, str]) -> dict[int, str]:
    """The last point of each kind of touching a checkpoint, and of touching the log."""
    last: dict[tuple[str, str], int] = {}
    for number, label in points.items():
        operation, path = label.split()
        if path.startswith(("checkpoints/", "events")):
            last[operation, path.split("/")[0]] = number
    return {number: points[number] for number in sorted(last.values())}


PARTS = 12
"""Of the sweep below; the first is tested always."""
WRITES = "kill −9 at every open, write, flush, rename and deletion of a run's files"


@pytest.mark.fault(WRITES, SAME_BITS)
def test_killed_at_each_kind_of_touching_a_file(trainings: Trainings, struck) -> None:
    kill_at_the_disk(trainings, struck, kinds(disk_points(trainings)))


@pytest.mark.slow
@pytest.mark.fault(WRITES, SAME_BITS)
@pytest.mark.parametrize("part", [0, *(pytest.param(part, marks=pytest.mark.exhaustive) for part in range(1, PARTS))])
def test_killed_at_every_touch_of_a_file(trainings: Trainings, struck, part: int) -> None:
    points = disk_points(trainings)
    rest = [number for number in points if number not in kinds(points)]
    kill_at_the_disk(trainings, struck, {number: points[number] for number in rest[part::PARTS]})


@pytest.mark.fault("kill −9 twice in one epoch", SAME_BITS)
def test_killed_twice_in_one_epoch(trainings: Trainings, struck) -> None:
    """The second time before anything new was saved, and once after."""
    run, (straight, _) = trainings.at("twice"), trainings.undisturbed()
    for n in (16, 2, 4):
        struck(trainings.start(run, place="batch", n=n, act="SIGKILL").code == -9)
    assert trainings.start(run).code == 0
    assert len(run.struck) == 3
    assert run.starts[1:] == [10, 10, 12]
    assert run.outcome() == straight.outcome()


@pytest.fixture(scope="module")
def half_done(trainings: Trainings) -> tuple[Run, dict[int, str]]:
    """A killed run, and what resuming it does with the files until its first step is done."""
    run, copy = trainings.at("half done"), trainings.at("half done, resumed")
    assert trainings.start(run, place="batch", n=17, act="SIGKILL").code == -9
    shutil.copytree(run.path, copy.path)
    points = trainings.start(copy).points
    loading = points[: next(number for number, label in enumerate(points) if label.startswith("mkdir"))]
    assert any(label.startswith("read checkpoints/step_") for label in loading)
    return run, dict(enumerate(loading, 1))


LOADING = "kill −9 while a resumed run reads its checkpoint and log"


def kill_while_loading(
    trainings: Trainings, struck, half_done: tuple[Run, dict[int, str]], *, all_points: bool
) -> None:
    source, points = half_done
    straight, _ = trainings.undisturbed()
    for number, point in (points if all_points else kinds(points)).items():
        run = trainings.at(f"loading {number}")
        shutil.copytree(source.path, run.path)
        assert trainings.start(run, place="disk", n=number, act="SIGKILL").code == -9
        assert run.struck[-1]["where"] == point
        struck(run.struck[1:])
        assert trainings.start(run).code == 0
        assert run.outcome() == straight.outcome()
        shutil.rmtree(run.path)


@pytest.mark.fault(LOADING, SAME_BITS)
def test_killed_at_each_kind_of_touch_while_loading(trainings: Trainings, struck, half_done) -> None:
    kill_while_loading(trainings, struck, half_done, all_points=False)


@pytest.mark.slow
@pytest.mark.fault(LOADING, SAME_BITS)
def test_killed_at_every_touch_while_loading(trainings: Trainings, struck, half_done) -> None:
    kill_while_loading(trainings, struck, half_done, all_points=True)


def test_the_points_are_many_and_all_that_a_save_does(trainings: Trainings) -> None:
    """At least 50 different moments of steps, validations and a single save; of the save none is left out."""
    points = disk_points(trainings)
    saves = [label for label in points.values() if "checkpoints" in label]
    last, *_ = sorted((path for path in trainings.undisturbed()[0].path.glob("checkpoints/*")), reverse=True)
    temporary = f"checkpoints/.{last.name}.tmp"
    for file in last.iterdir():
        for operation in ("write", "torn", "fsync", "read"):
            assert f"{operation} {temporary}/{file.name}" in saves
    own = {label for label in saves if temporary in label}
    assert len({*BATCHES.values()}) + len({*WITHIN_STEPS}) + len(own) >= 50
    order = [f"fsync {temporary}", f"read {temporary}/manifest.json", f"rename {temporary}"]
    positions = [saves.index(label) for label in order]
    assert positions == sorted(positions)
    assert "fsync checkpoints" in saves[positions[-1] :], "the rename itself is flushed"
    assert any(label.startswith("rmdir") for label in saves[positions[-1] :]), "rotation comes after"
    assert {"fsync events.jsonl", "torn events.jsonl", "rename .run_state.json.PID.tmp"} <= {*points.values()}
