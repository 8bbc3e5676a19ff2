import os
import signal
import threading

import pytest

from atft_gat_fan.errors import InterruptedRunError
from atft_gat_fan.signals import StopRequested, StopSignals


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGUSR1, 75)])
def test_a_signal_is_remembered_until_the_state_is_saved(number, code):
    with StopSignals() as signals:
        signals.raise_if_received("before")
        os.kill(os.getpid(), number)
        assert signals.received == number
        with pytest.raises(InterruptedRunError, match=f"{number.name} after step 3") as caught:
            signals.raise_if_received("after step 3")
    assert caught.value.exit_code == code


def test_the_earlier_handlers_come_back():
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)]
    with StopSignals():
        assert signal.getsignal(signal.SIGTERM) not in before
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)] == before


def test_outside_the_main_thread_signals_keep_their_meaning():
    seen = []

    def work():
        with StopSignals() as signals:
            seen.append((signals.received, signal.getsignal(signal.SIGTERM)))

    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [(None, before)]


def test_polling_stops_work_once_a_signal_came():
    with StopSignals() as signals:
        signals.poll()
        os.kill(os.getpid(), signal.SIGTERM)
        for _ in range(2):
            with pytest.raises(StopRequested):
                signals.poll()


def test_the_deadline_asks_for_the_job_to_be_requeued():
    with StopSignals(stop_after=3600) as early:
        early.poll()
        early.raise_if_received("after step 3")
    with StopSignals(stop_after=0) as late:
        assert late.received == signal.SIGUSR1
        with pytest.raises(StopRequested):
            late.poll()
        with pytest.raises(
            InterruptedRunError, match=r"deadline \(run.stop_after\) after step 3.*same command"
        ) as caught:
            late.raise_if_received("after step 3")
    assert caught.value.exit_code == 75


def test_the_first_signal_after_the_deadline_still_waits_for_the_state():
    with StopSignals(stop_after=0) as signals:
        os.kill(os.getpid(), signal.SIGTERM)
        assert signals.received == signal.SIGTERM


def test_a_request_that_another_process_got_is_taken_over_and_its_own_signal_is_no_second_one():
    with StopSignals() as signals:
        signals.hear(signal.SIGTERM)
        with pytest.raises(StopRequested):
            signals.poll()
        os.kill(os.getpid(), signal.SIGTERM)  # a second one would end this process
        with pytest.raises(InterruptedRunError, match="by SIGTERM after step 3") as caught:
            signals.raise_if_received("after step 3")
    assert caught.value.exit_code == 143
