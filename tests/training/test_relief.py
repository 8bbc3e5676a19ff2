import json

import pytest

from atft_gat_fan.models.chunks import Chunks
from atft_gat_fan.training.relief import LEAST_QUERIES, LEAST_STOCKS, Relief, Work, more_relief

EVERYTHING = Work(days=4, stocks=3 * LEAST_STOCKS, queries=3 * LEAST_QUERIES, ema_on_device=True, bf16=True)


def ladder(work, relief=None, in_update=False):
    """What each rung changes, from the first to the last."""
    relief, rungs = relief or Relief(), []
    while (following := more_relief(relief, work, step=7, in_update=in_update)) is not None:
        before, after = relief.to_json(), following.to_json()
        rungs.append({name: value for name, value in after.items() if value != before[name]})
        relief = following
    return rungs


def test_the_ladder_goes_from_exact_to_costly_and_rounds_last():
    assert ladder(EVERYTHING) == [
        {"freed": True},
        {"days": 2},
        {"days": 1},
        {"stocks": 48},
        {"stocks": LEAST_STOCKS},
        {"by_day": True},
        {"queries": 96},
        {"queries": LEAST_QUERIES},
        {"ema_on_host": True},
        {"bf16_from": 7},
    ]


def test_rungs_that_would_do_nothing_here_are_left_out():
    assert ladder(Work(days=1, stocks=LEAST_STOCKS, by_day=True)) == [{"freed": True}]
    assert ladder(Work(days=1, stocks=LEAST_STOCKS, queries=LEAST_QUERIES)) == [{"freed": True}, {"by_day": True}]


def test_what_saves_in_the_update_comes_first_where_that_ran_out():
    first, second, third, *_ = ladder(EVERYTHING, in_update=True)
    assert (first, second, third) == ({"freed": True, "one_by_one": True}, {"ema_on_host": True}, {"days": 2})
    assert not any("one_by_one" in rung for rung in ladder(EVERYTHING))


def test_onednn_is_left_at_once_where_it_was_the_one_that_failed():
    """It never recovers: any other rung would fail as well."""
    failed = Work(days=4, stocks=9, in_onednn=True)
    first, second, *_ = ladder(failed)
    assert (first, second) == ({"freed": True, "without_onednn": True}, {"days": 2})
    assert ladder(failed, Relief(freed=True, days=1))[0] == {"without_onednn": True}


def test_halving_begins_at_what_the_batch_that_failed_had():
    assert more_relief(Relief(freed=True, days=8), Work(days=5, stocks=9), step=0).days == 3
    assert more_relief(Relief(freed=True, days=2), Work(days=5, stocks=9), step=0).days == 1


@pytest.mark.parametrize("rungs", range(11))
def test_every_rung_survives_being_stored(rungs):
    relief = Relief()
    for _ in range(rungs):
        relief = more_relief(relief, EVERYTHING, step=7) or relief
    assert Relief.from_json(json.loads(json.dumps(relief.to_json()))) == relief


def test_the_stamp_tells_what_it_means_for_the_numbers():
    assert Relief().stamp == Relief(freed=True).stamp == "exact"
    changes = (
        {"days": 1},
        {"stocks": 32},
        {"by_day": True},
        {"queries": 64},
        {"ema_on_host": True},
        {"one_by_one": True},
    )
    assert {Relief(**change).stamp for change in changes} == {"fp-equivalent"}
    assert Relief(days=1, bf16_from=12).stamp == "approximate@12"


def test_in_words_it_names_what_is_done_and_nothing_else():
    assert str(Relief(freed=True, days=2)) == "unused memory given back, 2 days at a time"
    assert str(Relief(queries=64, bf16_from=3)) == (
        "64 query stocks at a time in the graph attention, bf16 from step 3 on"
    )


def test_the_network_is_told_its_part():
    assert Relief(freed=True, days=2).chunks == Chunks()
    assert Relief(stocks=32, by_day=True, queries=64).chunks == Chunks(32, True, 64)
