"""What is done against running out of memory, in which order, and what it means for the numbers."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from atft_gat_fan.models.chunks import Chunks

LEAST_STOCKS = 32
"""Stocks encoded at a time at the least: below, what every piece costs is more than it saves."""

LEAST_QUERIES = 64
"""Query stocks of the graph attention at a time at the least."""


@dataclass(frozen=True)
class Relief:
    """What has been done so far. `Relief()`: nothing.

    `freed` unused memory was given back and the same done again. `without_onednn`: computed with torch's own kernels, for
    oneDNN, once it found no memory, fails for ever. `days` are computed at a time; `stocks` of them
    before the graph attention, computed again in the backward pass; `by_day`, that is done to every day of a piece too;
    `queries` query stocks at a time in the graph attention. `ema_on_host`: the average of the weights waits in the
    memory of the host. `one_by_one`: the optimizer updates one parameter at a time. `bf16_from` is the step since
    which the forward pass is rounded to bf16.
    """

    freed: bool = False
    without_onednn: bool = False
    days: int | None = None
    stocks: int | None = None
    by_day: bool = False
    queries: int | None = None
    ema_on_host: bool = False
    one_by_one: bool = False
    bf16_from: int | None = None

    @property
    def chunks(self) -> Chunks:
        """The part of it that the network has to know."""
        return Chunks(self.stocks, self.by_day, self.queries)

    @property
    def stamp(self) -> str:
        """`exact`: the bits of training without it; `fp-equivalent`: equal to rounding; else `approximate@<step>`."""
        if self.bf16_from is not None:
            return f"approximate@{self.bf16_from}"
        return "exact" if replace(self, freed=False) == Relief() else "fp-equivalent"

    def __str__(self) -> str:
        words = {
            "freed": "unused memory given back",
            "without_onednn": "no oneDNN",
            "days": f"{self.days} days at a time",
            "stocks": f"{self.stocks} stocks at a time before the graph attention, computed again in the backward pass",
            "by_day": "activations of each day computed again in the backward pass",
            "queries": f"{self.queries} query stocks at a time in the graph attention",
            "ema_on_host": "average of the weights in the memory of the host",
            "one_by_one": "optimizer one parameter at a time",
            "bf16_from": f"bf16 from step {self.bf16_from} on",
        }
        return ", ".join(words[field.name] for field in fields(self) if getattr(self, field.name) != field.default)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Relief":
        """The relief that `to_json` told of. Raises TypeError for an unknown key."""
        return cls(**values)


@dataclass(frozen=True)
class Work:
    """What ran out of memory, and what could be done about it here.

    The largest batch had `days` and `stocks`; the graph attention (0: none) computes `queries` stocks at a time.
    """

    days: int
    stocks: int
    queries: int = 0
    by_day: bool = False
    """Whether the network computes day by day already."""
    ema_on_device: bool = False
    """Whether there is an average of the weights in the memory of an accelerator."""
    bf16: bool = False
    """Whether bf16 is allowed, and not what training does anyway."""
    in_onednn: bool = False
    """Whether it was oneDNN that found no memory."""


def more_relief(relief: Relief, work: Work, step: int, *, in_update: bool = False) -> Relief | None:
    """The next rung of the ladder; None on the last one. Rungs that would do nothing here are left out.

    What saves memory in the update of the weights comes first where that ran out of memory.
    """
    return next(_rungs(relief, work, step, in_update), None)


def _rungs(relief: Relief, work: Work, step: int, in_update: bool) -> Iterator[Relief]:
    if work.in_onednn and not relief.without_onednn:
        yield replace(relief, freed=True, without_onednn=True)
    if in_update and not relief.one_by_one:
        yield replace(relief, freed=True, one_by_one=True)
    if in_update and work.ema_on_device and not relief.ema_on_host:
        yield replace(relief, ema_on_host=True)
    if not relief.freed:
        yield replace(relief, freed=True)
    if (days := _at_once(relief.days, work.days)) > 1:
        yield replace(relief, days=_half(days, 1))
    if (stocks := _at_once(relief.stocks, work.stocks)) > LEAST_STOCKS:
        yield replace(relief, stocks=_half(stocks, LEAST_STOCKS))
    if not (relief.by_day or work.by_day):
        yield replace(relief, by_day=True)
    if (queries := _at_once(relief.queries, work.queries)) > LEAST_QUERIES:
        yield replace(relief, queries=_half(queries, LEAST_QUERIES))
    if work.ema_on_device and not relief.ema_on_host:
        yield replace(relief, ema_on_host=True)
    if work.bf16 and relief.bf16_from is None:
        yield replace(relief, bf16_from=step)


def _at_once(limit: int | None, whole: int) -> int:
    return whole if limit is None else min(limit, whole)


def _half(value: int, least: int) -> int:
    return max(least, (value + 1) // 2)
