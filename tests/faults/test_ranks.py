"""Hurt one process of a training on several: all end together or recover together, and go on from the same checkpoint
on any number of processes.
"""

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from tests.faults.rank_trainings import RankRun, RankTrainings
from tests.faults.trainings import SETTINGS

pytestmark = pytest.mark.slow
exhaustive = pytest.mark.exhaustive

AT_ONCE = 10.0
"""Seconds from the first end to the last: far below the time-out, which is for ranks that are silent."""
DRIFT = 2e-5
"""Of the largest weight of a tensor, after 20 steps: what another order of adding up gradients leads to, AdamW having
raised the smallest of them to its step size."""
SHARDED = {**SETTINGS, "sharded": True}
TOGETHER = "all processes end, at once, with exit codes that say why; the same command goes on on any number of them"


@pytest.fixture(scope="module")
def ranks() -> Iterator[RankTrainings]:
    with RankTrainings() as worker:
        yield worker


def assert_close(run: RankRun, other: RankRun) -> None:
    """Of two trainings on different numbers of ranks: weights and metrics to rounding."""
    weights, others = run.weights(), other.weights()
    for name, tensor in weights.items():
        scale = np.abs(tensor).max() or 1.0
        assert np.abs(others[name] - tensor).max() <= DRIFT * scale, name
    pairs = zip(run.events("valid"), other.events("valid"), strict=True)
    assert all(abs(one["rank_ic"] - two["rank_ic"]) < 1e-3 for one, two in pairs)


def assert_one_training(run: RankRun, ranks: int) -> None:
    """What one training is: equal weights and records on every rank, every step logged once, by one process."""
    first = run.weights()
    for rank in range(1, ranks):
        assert all(np.array_equal(first[name], tensor) for name, tensor in run.weights(rank).items())
        assert run.history(rank) == run.history()
    assert run.steps[-1][-1] == 20


@pytest.mark.parametrize("size", [2, pytest.param(3, marks=exhaustive)])
def test_several_ranks_train_what_one_does(ranks: RankTrainings, size: int) -> None:
    run = ranks.undisturbed(size)
    assert_one_training(run, size)
    assert run.steps == [list(range(1, 21))]
    assert_close(run, ranks.undisturbed(1))


@pytest.mark.fault("kill −9 of one process of several, in the middle of a step", TOGETHER)
@pytest.mark.parametrize(
    ("size", "killed", "resumed"),
    [(2, 1, 1), *(pytest.param(*case, marks=exhaustive) for case in ((3, 0, 3), (3, 2, 2), (1, 0, 3)))],
)
def test_a_killed_rank(ranks: RankTrainings, struck, size: int, killed: int, resumed: int) -> None:
    run = ranks.at(f"{killed} of {size} killed")
    strike = {"place": "backward", "n": 6, "act": "SIGKILL"}
    ended = ranks.start(run, size, **{f"rank_{killed}": strike})
    struck(run.struck)
    assert ended.endings == [-9 if rank == killed else 75 for rank in range(size)]
    assert ended.seconds < AT_ONCE
    for rank in set(range(size)) - {killed}:
        assert "start the same command again to resume" in run.message(rank)
    assert run.newest == 4
    assert ranks.start(run, resumed).endings == [0] * resumed
    assert_one_training(run, resumed)
    assert run.starts == [None, 4]
    assert_close(run, ranks.undisturbed(1))
    if size == resumed:
        straight = ranks.undisturbed(size).weights()
        assert all(np.array_equal(straight[name], tensor) for name, tensor in run.weights().items())


@exhaustive
@pytest.mark.fault("SIGTERM, SIGINT or SIGUSR1 to one process of several", TOGETHER)
@pytest.mark.parametrize(
    ("name", "code", "place", "n"),
    [("SIGTERM", 143, "backward", 5), ("SIGINT", 130, "batch", 6), ("SIGUSR1", 75, "batch", 12)],
)
def test_a_rank_that_is_told_to_stop(ranks: RankTrainings, struck, name: str, code: int, place: str, n: int) -> None:
    """Within a step, between two, and in the validation: all save the same step."""
    run = ranks.at(f"{name} at {place}")
    ended = ranks.start(run, 2, rank_1={"place": place, "n": n, "act": name})
    struck(run.struck)
    assert ended.endings == [code, code]
    assert ended.seconds < AT_ONCE
    assert all(f"stopped by {name} after step {run.newest}" in run.message(rank) for rank in range(2))
    assert ranks.start(run, 2).endings == [0, 0]
    straight = ranks.undisturbed(2)
    assert all(np.array_equal(straight.weights()[key], tensor) for key, tensor in run.weights().items())
    assert sum(map(len, run.steps)) == 20, "no step is done twice"


@exhaustive
@pytest.mark.fault("memory runs out on one process of several", TOGETHER)
def test_a_rank_without_memory(ranks: RankTrainings, struck) -> None:
    run = ranks.at("no memory")
    ended = ranks.start(run, 3, rank_2={"ran_out": 5})
    struck(run.struck)
    assert ended.endings == [69] * 3
    assert ended.seconds < AT_ONCE
    assert "batch_size" in run.message(0)
    assert ranks.start(run, 2).endings == [0, 0]
    assert_close(run, ranks.undisturbed(1))


@exhaustive
@pytest.mark.fault(
    "memory runs out on one process of several, with recovery", "all take the same relief; the step is done again"
)
def test_a_rank_without_memory_recovers_with_the_others(ranks: RankTrainings, struck) -> None:
    run = ranks.at("short of memory")
    ended = ranks.start(run, 2, {**SETTINGS, "executor": "robust"}, rank_1={"ran_out": 5})
    struck(run.struck)
    assert ended.endings == [0, 0]
    assert_one_training(run, 2)
    assert [event["freed"] for event in run.events("relief")] == [True]
    assert_close(run, ranks.undisturbed(1))


@exhaustive
@pytest.mark.fault("loss or gradients not finite on one process of several", "the step is skipped by all, and counted")
def test_a_rank_with_numbers_that_are_not_finite(ranks: RankTrainings, struck) -> None:
    run = ranks.at("not finite")
    ended = ranks.start(run, 2, rank_1={"poison": {"batch": 6}})
    assert ended.endings == [0, 0]
    struck([event for event in run.events("warning") if "step 6 skipped" in event["message"]])
    assert_one_training(run, 2)


def never_finite(ranks: RankTrainings, name: str, settings: dict[str, Any], struck: Any) -> RankRun:
    """Training goes back once, and then all of them end."""
    run = ranks.at(name)
    settings = {**settings, "max_skipped_steps": 2, "max_rollbacks": 1}
    ended = ranks.start(run, 2, settings, rank_1={"poison": {"from_step": 4, "until_return": 9}})
    struck(run.events("warning"))
    assert ended.endings == [70, 70]
    assert len(run.events("return")) == 1
    return run


@exhaustive
@pytest.mark.fault("numbers stay not finite on one process of several", "exit 70 of all; the bundle has the whole step")
def test_a_rank_whose_numbers_stay_not_finite(ranks: RankTrainings, struck) -> None:
    run = never_finite(ranks, "never finite", SETTINGS, struck)
    assert (run.path / "debug" / "debug.json").exists()


@exhaustive
@pytest.mark.fault("one process of several falls silent (SIGSTOP)", "the others end after distributed.timeout")
def test_a_rank_that_falls_silent(ranks: RankTrainings, struck) -> None:
    """It is woken by nobody: the worker kills it in the end."""
    run = ranks.at("silent")
    ended = ranks.start(run, 2, timeout=5, patience=30, rank_1={"place": "batch", "n": 6, "act": "SIGSTOP"})
    struck(run.struck)
    assert ended.endings == [75, "hung"]
    assert "distributed.timeout" in run.message(0)


@exhaustive
@pytest.mark.fault("the disk of the first of several processes is full", TOGETHER)
def test_a_first_rank_that_cannot_save(ranks: RankTrainings, struck) -> None:
    run = ranks.at("full disk")
    ended = ranks.start(run, 2, rank_0={"place": "batch", "n": 6, "act": "small disk"})
    struck(run.struck)
    assert ended.endings == [74, 74]
    assert ended.seconds < AT_ONCE
    assert "rank 0 of 2" in run.message(1)
    assert "cannot write the checkpoint" in run.message(1)


def checkpoint(run: RankRun) -> tuple[dict[str, Any], set[str]]:
    """What the newest checkpoint holds: shapes by file and name, and what else is told of the training."""
    newest = max(run.path.glob("checkpoints/step_*"))
    files = {file.name: load_file(file) for file in newest.glob("*.safetensors")}
    shapes = {
        name: {key: (tensor.shape, tensor.dtype) for key, tensor in tensors.items()} for name, tensors in files.items()
    }
    return shapes, set(json.loads((newest / "progress.json").read_text()))


@pytest.mark.parametrize("size", [2, pytest.param(3, marks=exhaustive)])
def test_ranks_that_divide_the_weights_train_what_one_does(ranks: RankTrainings, size: int) -> None:
    run, alone = ranks.at(f"divided over {size}"), ranks.undisturbed(1)
    assert ranks.start(run, size, SHARDED).endings == [0] * size
    assert_one_training(run, size)
    assert run.steps == [list(range(1, 21))]
    assert_close(run, alone)
    assert checkpoint(run) == checkpoint(alone), "nothing tells how it was trained"
    (event,) = run.events("start")
    assert event["sharded"]
    assert event["parameters"] == alone.events("start")[0]["parameters"]


def test_a_training_goes_on_whichever_way_its_weights_lie(ranks: RankTrainings) -> None:
    """One process, two with whole weights, two and three with divided ones, and one again."""
    run, stop = ranks.at("from one to another"), {"place": "batch", "act": "SIGTERM"}
    ways = [(1, SETTINGS), (2, SETTINGS), (2, SHARDED), (3, SHARDED)]
    for size, settings in ways:
        ended = ranks.start(run, size, settings, rank_0={**stop, "n": 5})
        assert ended.endings == [143] * size
    assert ranks.start(run, 1).endings == [0]
    assert len(run.starts) == len(set(run.starts)) == len(ways) + 1, "each has done some steps"
    assert sum(map(len, run.steps)) == 20, "no step is done twice"
    assert_close(run, ranks.undisturbed(1))


@pytest.mark.fault("kill −9 of one process of several that divide the weights, in the middle of a step", TOGETHER)
@pytest.mark.parametrize(("size", "killed"), [(2, 1), pytest.param(3, 0, marks=exhaustive)])
def test_a_killed_rank_that_held_a_part_of_the_weights(ranks: RankTrainings, struck, size: int, killed: int) -> None:
    run = ranks.at(f"{killed} of {size} killed, divided")
    strike = {"place": "backward", "n": 6, "act": "SIGKILL"}
    ended = ranks.start(run, size, SHARDED, **{f"rank_{killed}": strike})
    struck(run.struck)
    assert ended.endings == [-9 if rank == killed else 75 for rank in range(size)]
    assert ended.seconds < AT_ONCE
    assert run.newest == 4
    assert ranks.start(run, size, SHARDED).endings == [0] * size
    assert_one_training(run, size)
    assert_close(run, ranks.undisturbed(1))


@exhaustive
@pytest.mark.fault("memory runs out on one process of several that divide the weights", TOGETHER)
def test_a_rank_without_memory_for_its_share(ranks: RankTrainings, struck) -> None:
    run = ranks.at("no memory, divided")
    ended = ranks.start(run, 2, SHARDED, rank_1={"ran_out": 5})
    struck(run.struck)
    assert ended.endings == [69] * 2
    assert ended.seconds < AT_ONCE
    assert ranks.start(run, 2, {**SHARDED, "executor": "robust"}, rank_1={"ran_out": 5}).endings == [0, 0]
    assert [event["freed"] for event in run.events("relief")] == [True]
    assert_close(run, ranks.undisturbed(1))


@exhaustive
@pytest.mark.fault(
    "numbers stay not finite on one process of several that divide the weights",
    "exit 70 of all; the bundle has the whole step",
)
def test_a_rank_whose_part_stays_not_finite(ranks: RankTrainings, struck) -> None:
    run = never_finite(ranks, "never finite, divided", SHARDED, struck)
    weights = load_file(run.path / "debug" / "weights.safetensors")
    assert {name: tensor.shape for name, tensor in weights.items()} == {
        name: tensor.shape for name, tensor in ranks.undisturbed(1).weights().items()
    }


@exhaustive
@pytest.mark.fault(
    "one process of several that divide the weights falls silent (SIGSTOP)", "the others end after distributed.timeout"
)
def test_a_silent_rank_that_held_a_part_of_the_weights(ranks: RankTrainings, struck) -> None:
    run = ranks.at("silent, divided")
    strike = {"place": "batch", "n": 6, "act": "SIGSTOP"}
    ended = ranks.start(run, 2, SHARDED, timeout=5, patience=30, rank_1=strike)
    struck(run.struck)
    assert ended.endings == [75, "hung"]
