"""`atft data fetch`: panels from services on the network."""

from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from atft_gat_fan.cli.command import command

if TYPE_CHECKING:
    from atft_gat_fan.cli.output import Output

app = typer.Typer(
    help="Fetch daily prices into a folder that every other command reads; the same command again goes on from there.",
    no_args_is_help=True,
)
DAY_FORMAT = ["%Y-%m-%d"]
Out = Annotated[Path, typer.Option("--out", metavar="PANEL", help="Folder of the panel.", show_default=False)]
First = Annotated[
    datetime | None,
    typer.Option("--from", metavar="DATE", formats=DAY_FORMAT, help="First day; a panel that is begun has one."),
]


@command(app)
def jquants(
    output: "Output",
    out: Out,
    first: First = None,
    last: Annotated[
        datetime | None,
        typer.Option("--to", metavar="DATE", formats=DAY_FORMAT, help="Last day; by default the newest there is."),
    ] = None,
    codes: Annotated[
        list[str] | None, typer.Option("--codes", metavar="CODE,…", help="These stocks alone, as 7203 or 72030.")
    ] = None,
    funds: Annotated[
        bool | None, typer.Option("--funds/--no-funds", help="ETFs and REITs too; by default stocks alone.")
    ] = None,
    plan: Annotated[
        Literal["free", "light", "standard", "premium"],
        typer.Option(help="Your J-Quants plan, which sets the pace: 5, 60, 120 or 500 requests a minute."),
    ] = "light",
) -> None:
    """Tokyo Stock Exchange, by the J-Quants API: prices adjusted for splits, sector as of the day, delisted stocks too.

    The key is read from JQUANTS_API_KEY or the client's own jquants-api.toml, and written nowhere.
    """
    from atft_gat_fan.cli.output import facts_table
    from atft_gat_fan.runs.fetch import JQuantsRequest, fetch_jquants, jquants_codes

    request = JQuantsRequest(out, _day(first), _day(last), jquants_codes(codes or []), funds, plan)
    facts = fetch_jquants(request, output.console)
    output.result(facts, text=facts_table(facts))


@command(app)
def yfinance(
    output: "Output",
    out: Out,
    tickers: Annotated[
        list[str] | None, typer.Option("--tickers", metavar="TICKER,…", help="As AAPL, BRK-B or 7203.T.")
    ] = None,
    file: Annotated[
        Path | None, typer.Option("--tickers-file", metavar="FILE", help="A ticker a line; # begins a remark.")
    ] = None,
    first: First = None,
    last: Annotated[
        datetime | None, typer.Option("--to", metavar="DATE", formats=DAY_FORMAT, help="Last day; default: yesterday.")
    ] = None,
) -> None:
    """Yahoo Finance, by yfinance, for trying things out: split-adjusted prices, and closes adjusted for dividends."""
    from atft_gat_fan.cli.output import facts_table
    from atft_gat_fan.runs.fetch import YahooRequest, fetch_yfinance, yahoo_tickers

    request = YahooRequest(out, yahoo_tickers(tickers or [], file), _day(first), _day(last))
    facts = fetch_yfinance(request, output.console)
    output.result(facts, text=facts_table(facts))


def _day(moment: datetime | None) -> date | None:
    return None if moment is None else moment.date()
