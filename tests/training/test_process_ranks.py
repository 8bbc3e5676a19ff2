"""Who meets whom, who goes first, and what is said of those who are gone."""

import threading
import time

import pytest
import torch
from torch.distributed import HashStore

from atft_gat_fan.config.schema import DistributedConfig
from atft_gat_fan.config.settings import Environment
from atft_gat_fan.errors import ConfigError, DataError, RankError
from atft_gat_fan.training.process_ranks import ProcessRanks, open_ranks

CPU = torch.device("cpu")
TWO = {"WORLD_SIZE": "2", "RANK": "0", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}


def opened(strategy="auto", device=CPU, **variables):
    config = DistributedConfig(strategy=strategy, timeout=1)
    return open_ranks(config, Environment.read(variables).ranks, device)


def test_without_torchrun_a_training_is_alone():
    with opened() as ranks:
        assert ranks.alone
        assert ranks.first
    with opened(WORLD_SIZE="1", RANK="0") as ranks:
        assert ranks.alone


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_a_training_that_must_not_be_alone_says_how_to_start_it(strategy):
    with pytest.raises(
        ConfigError, match=rf"strategy={strategy}\), found one; start it with `torchrun --nproc-per-node N"
    ):
        opened(strategy=strategy)


@pytest.mark.parametrize("missing", ["RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"])
def test_variables_that_are_missing_are_named(missing):
    with pytest.raises(ConfigError, match=rf"found no {missing}; start it with torchrun, or unset WORLD_SIZE"):
        opened(**{name: value for name, value in TWO.items() if name != missing})


def test_a_rank_beyond_the_last_is_refused():
    with pytest.raises(ConfigError, match="found RANK=2"):
        opened(**{**TWO, "RANK": "2"})


def test_a_process_without_a_gpu_of_its_own_is_refused():
    number = str(torch.cuda.device_count())
    with pytest.raises(ConfigError, match=f"LOCAL_RANK={number}; start as many"):
        opened(device=torch.device("cuda"), **{**TWO, "LOCAL_RANK": number})


def test_others_that_do_not_come_are_waited_for_no_longer_than_said():
    began = time.monotonic()
    with pytest.raises(RankError, match=r"expected 2 processes to meet .* within 1 s") as caught:
        opened(**{**TWO, "RANK": "1"})  # rank 0 would open the port
    assert caught.value.exit_code == 75
    assert time.monotonic() - began < 30


@pytest.fixture
def two(monkeypatch):
    """Two ranks that share a store, and have no group to agree in: turns need none."""
    monkeypatch.setattr("torch.distributed.destroy_process_group", lambda: None)
    store = HashStore()
    return [ProcessRanks(rank, 2, store, timeout=1) for rank in range(2)]


def at_the_same_time(*works):
    results = [None] * len(works)

    def run(number):
        try:
            results[number] = works[number]()
        except BaseException as error:  # noqa: BLE001 - handed to the test
            results[number] = error

    threads = [threading.Thread(target=run, args=[number]) for number in range(len(works))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def test_the_first_rank_does_it_and_the_others_find_what_it_left(two):
    made = []

    def make():
        time.sleep(0.2)
        made.append(len(made))
        return list(made)

    def turns(ranks):
        return lambda: [ranks.first_then_others(make, lambda: None) for _ in range(2)]

    first, second = at_the_same_time(turns(two[0]), turns(two[1]))
    assert first[0] == [0]
    assert len(made) == 4
    assert second[0] != [0], "only then"


def test_a_first_rank_that_shows_life_may_take_longer_than_the_time_out(two):
    def slow():
        for _ in range(30):
            time.sleep(0.05)
            two[0].beat()

    def silent():
        time.sleep(1.5)

    for work, expected in ((slow, type(None)), (silent, RankError)):
        outcomes = at_the_same_time(
            lambda work=work: two[0].first_then_others(work, lambda: None),
            lambda: two[1].first_then_others(lambda: None, lambda: None),
        )
        assert [type(outcome) for outcome in outcomes] == [type(None), expected]
    assert "nothing was heard of rank 0 for 1 s" in str(outcomes[1])


def test_why_the_first_rank_ended_is_why_the_others_end(two):
    def fails():
        raise DataError("expected prices, found none")

    def first():
        with two[0]:
            two[0].first_then_others(fails, lambda: None)

    def second():
        with two[1]:
            two[1].first_then_others(lambda: None, lambda: None)

    own, other = at_the_same_time(first, second)
    assert isinstance(own, DataError)
    assert isinstance(other, RankError)
    assert other.exit_code == own.exit_code == 65
    assert str(other) == "ended with rank 0 of 2, which says: expected prices, found none"


def test_a_rank_that_ends_while_the_first_one_works_ends_that_too(two):
    def works():
        until = time.monotonic() + 30
        while time.monotonic() < until:
            time.sleep(0.01)
            two[0].beat()

    def interrupted():
        raise KeyboardInterrupt

    def second():
        with two[1]:
            two[1].first_then_others(lambda: None, interrupted)

    began = time.monotonic()
    first, _ = at_the_same_time(lambda: two[0].first_then_others(works, lambda: None), second)
    assert isinstance(first, RankError)
    assert time.monotonic() - began < 10
