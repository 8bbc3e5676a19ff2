"""What one call of `atft data fetch yfinance` does: ticker by ticker, each history as a whole.

Yahoo adjusts backward: a dividend changes all prices before it, so that days fetched today do not fit behind those
fetched last week. What is kept is therefore whole tickers, up to the same day.
"""

from collections.abc import Sequence
from datetime import date
from typing import Any

from rich.console import Console

from atft_gat_fan.data.fetched_panel import FetchedPanel
from atft_gat_fan.data.sources.yfinance import NoPricesError, Patience, UnreachableError, Wait, history
from atft_gat_fan.errors import ConfigError, StorageError
from atft_gat_fan.runs.stages import Stages

GIVE_UP = 5
"""Tickers in a row that cannot be reached: then none can."""
SURVIVORSHIP = (
    "Yahoo has hardly any delisted stocks: a panel of tickers that exist today leaves out those that failed, and what "
    "is measured on it is too good (survivorship bias)"
)


class YahooFetch:
    """Fetches the tickers that `panel` does not have from `first` to `last`."""

    def __init__(self, panel: FetchedPanel, first: date | None, last: date, stages: Stages, console: Console) -> None:
        state = panel.read_state()
        if state is None and first is None:
            raise ConfigError(f"{panel.folder} holds nothing yet: expected the first day to fetch, --from YYYY-MM-DD")
        self._panel, self._stages, self._console = panel, stages, console
        self._first = first or date.fromisoformat(state["first"])  # type: ignore[index] # one of the two is there
        self._last = last
        if self._last < self._first:
            raise ConfigError(f"expected --from before --to, found {self._first} and {self._last}")
        self._tickers: dict[str, dict[str, Any]] = {} if state is None else dict(state["tickers"])

    def run(self, tickers: Sequence[str], patience: Patience, wait: Wait) -> dict[str, Any]:
        """Raises StorageError where some could not be reached, once all others are there."""
        self._console.print(SURVIVORSHIP, style="yellow", highlight=False, soft_wrap=True)
        self._remember()
        span = {"first": str(self._first), "last": str(self._last)}
        wanted = [name for name in tickers if not self._has(name, span)]
        missing: dict[str, str] = {}
        unreachable: dict[str, str] = {}
        in_a_row = 0
        for position, ticker in enumerate(wanted):
            self._stages(f"fetching {len(wanted):,} tickers", position / len(wanted))
            wait(patience.between_seconds if position else 0.0, "")
            try:
                rows = history(ticker, self._first, self._last, patience, wait)
            except NoPricesError as error:
                missing[ticker], in_a_row = str(error), 0
                continue
            except UnreachableError as error:
                unreachable[ticker] = str(error)
                in_a_row += 1
                if in_a_row == GIVE_UP:
                    break
                continue
            in_a_row = 0
            self._panel.write(ticker, rows)
            self._tickers[ticker] = {**span, "rows": rows.height}
            self._remember()
        if unreachable:
            raise StorageError(_unreachable(unreachable, len(wanted)))
        return {
            "panel": str(self._panel.folder),
            **span,
            "tickers": len(self._tickers),
            "rows": sum(entry["rows"] for entry in self._tickers.values()),
            "fetched now": len(wanted) - len(missing),
            "without prices": [f"{ticker}: {why}" for ticker, why in missing.items()],
            "kept though not asked for": sorted(self._tickers.keys() - set(tickers)),
        }

    def _has(self, ticker: str, span: dict[str, str]) -> bool:
        kept = self._tickers.get(ticker, {})
        return self._panel.has(ticker) and kept.get("first") == span["first"] and kept.get("last", "") >= span["last"]

    def _remember(self) -> None:
        self._panel.write_state({"first": str(self._first), "tickers": self._tickers})


def _unreachable(reasons: dict[str, str], num_wanted: int) -> str:
    some = "; ".join(f"{ticker}: {why}" for ticker, why in list(reasons.items())[:10])
    return (
        f"Yahoo could not be reached for {len(reasons)} of {num_wanted} tickers ({some}); start the same command again "
        "later, what is fetched is kept"
    )
