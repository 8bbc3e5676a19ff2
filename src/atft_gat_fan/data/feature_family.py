"""What a family of features is: names, the columns they are made of, and how."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from atft_gat_fan.data.bars import Bars
from atft_gat_fan.data.rolling import Flat

Compute = Callable[[Bars], Iterable[Flat]]


@dataclass(frozen=True)
class Family:
    """Features computed together: their names, the columns needed, and the function that yields them in that order.

    `to_market` yields the same features of prices measured in the market's (`PricePaths`); None where that has no
    meaning: they do not compare prices of different days, or measure against the market already. AMIHUD_20 is the
    exception: its returns hold the market's moves, but it keeps the published measure (Amihud 2002).
    """

    names: tuple[str, ...]
    needs: frozenset[str]
    compute: Compute
    to_market: Compute | None = None


def named(prefix: str, windows: Sequence[int], separator: str = "_") -> tuple[str, ...]:
    return tuple(f"{prefix}{separator}{window}" for window in windows)
