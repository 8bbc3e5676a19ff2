"""Give a training numbers that are not finite: once, for a while, for ever; and kill it meanwhile."""

import json
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.faults.trainings import SETTINGS, Run, Trainings

SKIPPED = 3
HEALING = {**SETTINGS, "max_skipped_steps": SKIPPED, "poison": {"from_step": 4, "until_return": 1}}
"""Steps 5 to 7 are bad, then training goes back to step 4 and all is well."""
FOR_EVER = {**HEALING, "poison": {"from_step": 4, "until_return": 99}}


def skipped(run: Run) -> list[str]:
    return [event["message"] for event in run.events("warning") if " skipped: loss nan" in event["message"]]


def all_finite(run: Run) -> bool:
    files = [*run.path.glob("checkpoints/step_*/*.safetensors"), *run.path.glob("final*.safetensors")]
    assert files
    return all(bool(torch.isfinite(tensor).all()) for file in files for tensor in load_file(file).values())


@pytest.mark.fault(
    "a loss that is not finite, once", "the step is skipped, training goes on; all that is saved is finite"
)
def test_one_bad_step_is_skipped(trainings: Trainings, struck) -> None:
    run = trainings.at("bad once")
    assert trainings.start(run, {**SETTINGS, "poison": {"batch": 7}}).code == 0
    (message,) = struck(skipped(run)) or skipped(run)
    assert message.startswith("step 7 skipped")
    assert run.steps == [list(range(1, 21))]
    assert all_finite(run)


@pytest.mark.fault(
    "losses that are not finite for a while",
    "back to the last sound checkpoint, on from there at a lower learning rate",
)
def test_training_goes_back(trainings: Trainings, struck) -> None:
    run, ended = trainings.undisturbed(HEALING)
    assert ended.code == 0
    struck(skipped(run))
    (back,) = run.events("return")
    assert (back["step"], back["lost_steps"], back["lr_factor"]) == (4, SKIPPED, 0.5)
    assert run.steps == [[*range(1, 4 + SKIPPED), *range(5, 21)]]
    assert all_finite(run)


@pytest.mark.fault("kill -9 before, at or after going back to a checkpoint", "goes on to the bits of a run left alone")
@pytest.mark.parametrize(
    "strike",
    [
        {"place": "batch", "n": 6},
        {"place": "batch", "n": 8},
        pytest.param({"place": "batch", "n": 12}, marks=pytest.mark.slow),
        pytest.param({"place": "updated", "n": 5}, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_killed_around_going_back(trainings: Trainings, struck, strike: dict[str, Any]) -> None:
    run, (straight, _) = trainings.at(f"killed around {strike}"), trainings.undisturbed(HEALING)
    assert trainings.start(run, HEALING, **strike).code == -9
    struck(run.struck)
    assert trainings.start(run, HEALING).code == 0
    assert run.outcome() == straight.outcome()


@pytest.mark.fault(
    "kill -9 at every touch of the disk while training goes back", "goes on to the bits of a run left alone"
)
@pytest.mark.slow
def test_killed_while_going_back(trainings: Trainings, struck) -> None:
    straight, ended = trainings.undisturbed(HEALING)
    points = [n for n, label in enumerate(ended.points, 1) if "_return_0001" in label and "step_00000004" in label]
    assert len(points) > 10
    for n in points:
        run = trainings.at(f"killed while going back {n}")
        assert trainings.start(run, HEALING, place="disk", n=n).code == -9
        struck(run.struck)
        assert trainings.start(run, HEALING).code == 0
        assert run.outcome() == straight.outcome(), ended.points[n - 1]


@pytest.mark.fault(
    "losses that are not finite for ever", "bounded returns, exit 70, a bundle to debug; every checkpoint is finite"
)
def test_it_gives_up_with_a_bundle(trainings: Trainings, struck) -> None:
    run = trainings.at("bad for ever")
    ended = trainings.start(run, FOR_EVER)
    struck(skipped(run))
    assert ended.code == 70
    assert [event["lr_factor"] for event in run.events("return")] == [0.5, 0.25]
    assert ended.checkpoints[-1] == "step_00000004_epoch_0000_return_0002"
    assert all_finite(run)
    assert str(run.path / "debug") in run.error["message"]
    assert (run.error["state"]["status"], run.error["state"]["resumable"]) == ("failed", False)
    told = json.loads((run.path / "debug" / "debug.json").read_text())
    batch = load_file(run.path / "debug" / "batch_0.safetensors")
    assert told["batches"][0]["not_finite"]["features"] == batch["features"].isnan().sum()
    # Started again, it comes to the same end: nothing that was given up has become the newest.
    again = trainings.start(run, FOR_EVER)
    assert (again.code, again.checkpoints) == (70, ended.checkpoints)
