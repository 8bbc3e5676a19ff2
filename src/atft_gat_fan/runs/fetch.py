"""`atft data fetch`: panels from services on the network, in folders that later calls continue."""

import re
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rich.console import Console

from atft_gat_fan.config.settings import Environment
from atft_gat_fan.data.fetched_months import FetchedMonths
from atft_gat_fan.data.fetched_panel import FetchedPanel
from atft_gat_fan.errors import ConfigError
from atft_gat_fan.runs.stages import Stages
from atft_gat_fan.signals import StopSignals

if TYPE_CHECKING:
    from atft_gat_fan.data.sources.jquants import Patience
    from atft_gat_fan.data.sources.yfinance import Patience as YahooPatience

Plan = Literal["free", "light", "standard", "premium"]
KEPT = "what is fetched is kept"


@dataclass(frozen=True)
class JQuantsRequest:
    """Days and stocks asked for. None: from where the panel begins, to the newest day there is; the stocks and funds
    of the panel, where it has been begun, else all stocks and no funds."""

    out: Path
    first: date | None
    last: date | None
    codes: tuple[str, ...] | None
    funds: bool | None
    plan: Plan


@dataclass(frozen=True)
class YahooRequest:
    """Tickers and days asked for; None: from where the panel begins, to yesterday."""

    out: Path
    tickers: tuple[str, ...]
    first: date | None
    last: date | None


def jquants_codes(given: Iterable[str]) -> tuple[str, ...] | None:
    """Codes of five characters from codes of four or five, comma-separated or not; None of none."""
    names = [name.strip().upper() for text in given for name in text.split(",") if name.strip()]
    if wrong := [name for name in names if not re.fullmatch(r"[0-9][0-9A-Z]{3,4}", name)]:
        raise ConfigError(f"expected codes such as 7203 or 72030, found {', '.join(wrong)} (--codes)")
    return tuple(sorted({name if len(name) == 5 else f"{name}0" for name in names})) or None


def fetch_jquants(request: JQuantsRequest, console: Console, patience: "Patience | None" = None) -> dict[str, Any]:
    """Fetch what is missing of the panel in `request.out`, up to `request.last`; what was fetched before is kept.

    Raises ConfigError without a key or the client, and for days outside the plan; StorageError for what network and
    disk refuse; InterruptedRunError after a stop signal. All that was fetched until then is kept.
    """
    try:
        from atft_gat_fan.data.sources.jquants import PER_MINUTE, JQuantsClient, Patience
        from atft_gat_fan.runs.fetch_jquants import JQuantsFetch
    except ModuleNotFoundError as error:
        raise _extra_missing(error, "jquantsapi", "jquants") from error
    with StopSignals() as signals, Stages(console, signals) as stages:
        patience = patience or Patience(PER_MINUTE[request.plan])
        client = JQuantsClient(Environment.read().jquants_api_key, patience, Waiting(signals, console))
        with FetchedPanel(request.out, "jquants") as panel:
            return JQuantsFetch(client, _months(panel, request), request.last, stages, console).run()


def fetch_yfinance(request: YahooRequest, console: Console, patience: "YahooPatience | None" = None) -> dict[str, Any]:
    """Fetch the tickers that the panel in `request.out` does not have up to `request.last`.

    Tickers without prices are told of and left out. Raises ConfigError without yfinance; StorageError for tickers that
    could not be reached, once all others are there; InterruptedRunError after a stop signal.
    """
    try:
        from atft_gat_fan.data.sources.yfinance import Patience
        from atft_gat_fan.runs.fetch_yfinance import YahooFetch
    except ModuleNotFoundError as error:
        raise _extra_missing(error, "yfinance", "yfinance") from error
    # Today's bar is not whole until the session has ended everywhere.
    last = request.last or datetime.now(UTC).date() - timedelta(days=1)
    with StopSignals() as signals, Stages(console, signals) as stages, FetchedPanel(request.out, "yfinance") as panel:
        fetch = YahooFetch(panel, request.first, last, stages, console)
        return fetch.run(request.tickers, patience or Patience(), Waiting(signals, console))


def yahoo_tickers(given: Iterable[str], file: Path | None) -> tuple[str, ...]:
    """Tickers of the options (comma-separated or not) and of the file (one a line, `#` begins a remark), each once."""
    lines: list[str] = []
    if file is not None:
        try:
            lines = file.read_text(encoding="utf-8-sig").splitlines()
        except (OSError, ValueError) as error:
            raise ConfigError(f"{file}: expected a text file with a ticker a line (--tickers-file): {error}") from error
    texts = [*(text for option in given for text in option.split(",")), *(line.partition("#")[0] for line in lines)]
    names = list(dict.fromkeys(text.strip().upper() for text in texts if text.strip()))
    # Also the names of files: nothing that leaves the folder or hides in it.
    if wrong := [name for name in names if not re.fullmatch(r"[A-Z0-9^][A-Z0-9.^=_-]{0,31}", name)]:
        raise ConfigError(f"expected tickers such as AAPL, BRK-B or 7203.T, found {', '.join(wrong[:5])}")
    if not names:
        raise ConfigError("expected tickers, found none; give --tickers AAPL,MSFT or --tickers-file FILE")
    return tuple(names)


class Waiting:
    """Lets seconds pass, said why where it is long; raises InterruptedRunError as soon as a stop is asked for."""

    def __init__(self, signals: StopSignals, console: Console) -> None:
        self._signals, self._console = signals, console

    def __call__(self, seconds: float, why: str) -> None:
        if why and seconds >= 1:
            self._console.print(f"{why}; waiting {seconds:.0f} s", style="dim", highlight=False, markup=False)
        until = time.monotonic() + seconds
        while True:
            self._signals.raise_if_received("while fetching", saved=KEPT)
            if (left := until - time.monotonic()) <= 0:
                return
            time.sleep(min(left, 0.2))


def _months(panel: FetchedPanel, request: JQuantsRequest) -> FetchedMonths:
    """What has been fetched of the panel that is asked for; a new panel is begun."""
    state = panel.read_state()
    if state is not None and state["through"] is None:
        state = None  # begun, but nothing was fetched
    if request.first is not None and request.last is not None and request.last < request.first:
        raise ConfigError(f"expected --from before --to, found {request.first} and {request.last}")
    if state is None:
        if request.first is None:
            raise ConfigError(f"{request.out} holds nothing yet: expected the first day to fetch, --from YYYY-MM-DD")
        return FetchedMonths.begin(panel, request.first, request.codes, bool(request.funds))
    months = FetchedMonths(panel, state)
    if request.first is not None and request.first != months.first:
        raise ConfigError(
            f"{request.out} begins on {months.first}, --from says {request.first}; leave --from out to go on, or "
            "fetch into another folder"
        )
    codes = None if months.codes is None else tuple(months.codes)
    if request.codes not in (None, codes) or request.funds not in (None, months.funds):
        raise ConfigError(
            f"{request.out} holds {', '.join(codes or ['all stocks'])}{' and funds' if months.funds else ''}; leave "
            "--codes and --funds as they were, or fetch into another folder"
        )
    return months


def _extra_missing(error: ModuleNotFoundError, module: str, extra: str) -> ModuleNotFoundError | ConfigError:
    if error.name != module:
        return error
    return ConfigError(f"{module} is not installed: pip install 'atft-gat-fan[{extra}]'")
