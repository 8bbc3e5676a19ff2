"""How often something happens: every so many steps, or every so many minutes."""

import time


class Cadence:
    """`every` is a number of steps, or minutes as `10m`; minutes count from construction and from each `done`."""

    def __init__(self, every: int | str) -> None:
        self._steps = every if isinstance(every, int) else None
        self._seconds = 60.0 * int(every.removesuffix("m")) if isinstance(every, str) else 0.0
        self.done()

    def due(self, step: int) -> bool:
        """Is it time after `step` steps?"""
        if self._steps is not None:
            return step % self._steps == 0
        return time.monotonic() - self._last >= self._seconds

    def done(self) -> None:
        self._last = time.monotonic()
