"""Stop requests, from outside or by a deadline: remembered, acted on where work can stop; a second does not wait."""

import os
import signal
import threading
import time
from types import FrameType, TracebackType
from typing import Any

from atft_gat_fan.errors import InterruptedRunError

EXIT_CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGUSR1: 75}
"""128 + number for interrupt and terminate; SIGUSR1 is a scheduler that wants the job requeued."""


class StopRequested(Exception):  # noqa: N818 - a request, not an error
    """Raised by `poll` out of work that can be left where it is; whoever saves turns it into InterruptedRunError."""


class StopSignals:
    """While active, SIGINT, SIGTERM and SIGUSR1 set `received`; a second one ends the process at once.

    `stop_after` seconds from now on a deadline counts as SIGUSR1. Ending at once is safe: files appear whole or not
    at all. Outside the main thread Python allows no handlers, and signals keep their usual meaning.
    """

    def __init__(self, stop_after: float | None = None) -> None:
        self._deadline = None if stop_after is None else time.monotonic() + stop_after
        self.signalled: signal.Signals | None = None
        """What came from outside."""
        self._heard: signal.Signals | None = None
        self._previous: dict[signal.Signals, Any] = {}

    @property
    def received(self) -> signal.Signals | None:
        """What asked for a stop, the deadline included; None as long as nothing did."""
        if self.signalled is None and self._heard is not None:
            return self._heard
        if self.signalled is None and self._deadline is not None and time.monotonic() >= self._deadline:
            return signal.SIGUSR1
        return self.signalled

    def hear(self, number: int) -> None:
        """Take over a stop request that another process of the same training got. One that comes here after it is the
        same request, and not a second one."""
        self._heard = signal.Signals(number)

    def poll(self) -> None:
        """Raise StopRequested once a stop was requested. As cheap as looking at the clock."""
        if self.received is not None:
            raise StopRequested

    def raise_if_received(self, when: str, saved: str = "the state is saved") -> None:
        """Raise InterruptedRunError if a stop was requested; to be called once what `saved` says is true."""
        received = self.received
        if received is not None:
            by_clock = self.signalled is None and self._heard is None
            cause = "at the deadline (run.stop_after)" if by_clock else f"by {received.name}"
            raise InterruptedRunError(
                f"stopped {cause} {when}; {saved}: start the same command again to resume",
                EXIT_CODES[received],
            )

    def __enter__(self) -> "StopSignals":
        if threading.current_thread() is threading.main_thread():
            self._previous = {number: signal.signal(number, self._handle) for number in EXIT_CODES}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.signalled is not None:
            os._exit(EXIT_CODES[signal.Signals(number)])
        self.signalled = signal.Signals(number)
