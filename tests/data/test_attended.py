"""Work on threads that is watched: results as they come, and an end at the first error or stop."""

import threading
import time
from functools import partial

import pytest

from atft_gat_fan.data.attended import attended


def test_every_result_comes_once_with_its_position() -> None:
    tasks = [partial(pow, number, 2) for number in range(50)]
    found = dict(attended(tasks, 4, lambda: None, threading.Event()))
    assert found == {number: number**2 for number in range(50)}


def test_it_is_watched_while_nothing_comes() -> None:
    ticks: list[float] = []
    list(attended([partial(time.sleep, 0.7)], 1, lambda: ticks.append(0), threading.Event()))
    assert 2 <= len(ticks) <= 4


def test_an_error_is_raised_here_and_ends_the_rest() -> None:
    begun: list[int] = []
    cancel = threading.Event()

    def task(number: int) -> None:
        begun.append(number)
        if number == 3:
            raise ValueError("three")

    with pytest.raises(ValueError, match="three"):
        list(attended([partial(task, number) for number in range(1000)], 2, lambda: None, cancel))
    assert cancel.is_set()
    at_the_end = len(begun)
    time.sleep(0.3)
    assert len(begun) <= at_the_end + 2 < 1000  # each thread may have been about to begin one


def test_a_stop_does_not_wait_for_a_server_that_does_not_answer() -> None:
    never = threading.Event()

    def stop() -> None:
        raise KeyboardInterrupt

    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        list(attended([never.wait], 1, stop, threading.Event()))
    assert time.monotonic() - began < 5
    never.set()


def test_results_that_nobody_takes_do_not_pile_up() -> None:
    made: list[int] = []
    results = attended([partial(made.append, number) for number in range(100)], 3, lambda: None, threading.Event())
    next(results)
    time.sleep(0.3)
    assert len(made) <= 1 + 3 + 3
    results.close()
