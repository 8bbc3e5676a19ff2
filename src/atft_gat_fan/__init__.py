"""ATFT-GAT-FAN: multi-horizon ranking of stock returns, trained, proved, run and watched.

from atft_gat_fan import ATFTRanker
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from atft_gat_fan.runs.ranker import ATFTRanker

__all__ = ["ATFTRanker"]


def __getattr__(name: str) -> Any:
    """The facade is imported when it is asked for: the package itself, and with it `atft --help`, stays instant."""
    if name in __all__:
        from atft_gat_fan.runs.ranker import ATFTRanker

        return ATFTRanker
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
