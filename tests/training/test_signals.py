import os
import signal
import threading

import pytest

from atft_gat_fan.errors import InterruptedRunError
from atft_gat_fan.training.signals import StopSignals


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
