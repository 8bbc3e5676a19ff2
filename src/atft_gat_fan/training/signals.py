"""Stop requests from outside: remembered, acted on between two steps; a second one does not wait."""

import os
import signal
import threading
from types import FrameType, TracebackType
from typing import Any

from atft_gat_fan.errors import InterruptedRunError

EXIT_CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGUSR1: 75}
"""128 + number for interrupt and terminate; SIGUSR1 is a scheduler that wants the job requeued."""


class StopSignals:
    """While active, SIGINT, SIGTERM and SIGUSR1 set `received`; a second one ends the process at once.

    Ending at once is safe: files appear whole or not at all. Outside the main thread Python allows no
    handlers, and signals keep their usual meaning.
    """

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self._previous: dict[signal.Signals, Any] = {}

    def raise_if_received(self, when: str) -> None:
        """Raise InterruptedRunError if a stop was requested; to be called once the state is saved."""
        if self.received is not None:
            raise InterruptedRunError(
                f"stopped by {self.received.name} {when}; the state is saved: start the same command again to resume",
                EXIT_CODES[self.received],
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
        if self.received is not None:
            os._exit(EXIT_CODES[signal.Signals(number)])
        self.received = signal.Signals(number)
