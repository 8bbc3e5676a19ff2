"""Fetching from Yahoo: yfinance and its HTTP library against real sockets; its cookies alone are left out."""

import io
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yfinance
from rich.console import Console

from atft_gat_fan.config.schema import DataConfig
from atft_gat_fan.data.panel import check_panel
from atft_gat_fan.data.sources.yfinance import Patience
from atft_gat_fan.errors import ConfigError, StorageError
from atft_gat_fan.runs.fetch import YahooRequest, fetch_yfinance, yahoo_tickers
from tests.yahoo_stub import YahooStub, serving

FIRST, DIVIDEND, LAST = date(2024, 1, 2), date(2024, 2, 1), date(2024, 3, 1)
QUICK = Patience(0.0, limited_tries=3, limited_seconds=0.01, failed_tries=3, failed_seconds=0.01)


@pytest.fixture
def yahoo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[YahooStub]:
    with serving({"AAPL": date.min, "BRK-B": date.min, "^N225": date(2024, 2, 5)}, DIVIDEND) as server:
        monkeypatch.setattr("yfinance.scrapers.history._BASE_URL_", server.url)
        monkeypatch.setattr("yfinance.base._BASE_URL_", server.url)
        monkeypatch.setattr("yfinance.base._tz_info_fetch_ctr", 2)
        # Cookies come from hosts whose names stand in the code.
        monkeypatch.setattr(yfinance.data.YfData, "_get_cookie_and_crumb", lambda self, timeout=30: (None, "basic"))
        yfinance.set_tz_cache_location(str(tmp_path / "cache"))
        yield server


@pytest.fixture
def said() -> io.StringIO:
    return io.StringIO()


Fetch = Callable[..., dict[str, Any]]


@pytest.fixture
def fetch(yahoo: YahooStub, tmp_path: Path, said: io.StringIO) -> Fetch:
    def run(*tickers: str, first: date | None = FIRST, last: date | None = LAST) -> dict[str, Any]:
        return fetch_yfinance(YahooRequest(tmp_path / "panel", tickers, first, last), Console(file=said), QUICK)

    return run


def panel(tmp_path: Path) -> pl.DataFrame:
    return pl.read_parquet(sorted((tmp_path / "panel").glob("*.parquet"))).sort("Date", "Code")


def test_a_panel_of_tickers_passes_the_check(fetch: Fetch, tmp_path: Path, said: io.StringIO) -> None:
    facts = fetch("AAPL", "BRK-B", "^N225")
    frame = panel(tmp_path)
    assert facts["rows"] == frame.height
    assert sorted(frame["Code"].unique()) == ["AAPL", "BRK-B", "^N225"]
    apple = frame.filter(Code="AAPL")
    assert (apple["Date"].min(), apple["Date"].max()) == (FIRST, LAST)  # the day in New York, the last one included
    assert frame.filter(Code="^N225")["Date"].min() == date(2024, 2, 5)
    ratio = (apple["AdjClose"] / apple["Close"]).round(6)
    assert ratio.to_list() == [0.98 if day < DIVIDEND else 1.0 for day in apple["Date"]]
    assert apple.filter(Date=DIVIDEND)["Dividends"].item() == 2.0
    assert "survivorship bias" in said.getvalue()
    report = check_panel(DataConfig(source=str(tmp_path / "panel")), lambda share: None)
    assert not report.problems
    assert report.facts["features"] == "derived"
    assert report.facts["prices"] == ["open", "high", "low", "close", "adj_close", "volume"]


def test_what_is_there_is_kept_and_what_is_older_is_fetched_whole(
    fetch: Fetch, yahoo: YahooStub, tmp_path: Path
) -> None:
    fetch("AAPL", "BRK-B", last=date(2024, 1, 31))
    assert (panel(tmp_path)["AdjClose"] / panel(tmp_path)["Close"]).round(6).unique().to_list() == [0.98]
    yahoo.asked.clear()
    fetch("AAPL", "BRK-B", last=date(2024, 1, 31))
    assert yahoo.asked == []
    yahoo.dividend = date(2024, 2, 15)
    fetch("AAPL", first=None)
    assert "BRK-B" not in yahoo.asked
    apple = panel(tmp_path).filter(Code="AAPL")
    assert (apple["AdjClose"] / apple["Close"]).round(6).to_list() == [
        0.98 if day < yahoo.dividend else 1.0 for day in apple["Date"]
    ]


def test_a_ticker_without_prices_is_told_of_and_the_others_are_there(fetch: Fetch, tmp_path: Path) -> None:
    facts = fetch("AAPL", "GONE", "BRK-B")
    assert facts["without prices"] == ["GONE: $GONE: possibly delisted; no timezone found"]
    assert sorted(panel(tmp_path)["Code"].unique()) == ["AAPL", "BRK-B"]
    assert fetch("^N225", last=date(2024, 2, 2))["without prices"][0].startswith("^N225: ")


@pytest.mark.parametrize("fault", [429, 500, '{"chart": {"res', '{"chart": {"result": [{}], "error": null}}'])
def test_what_passes_is_waited_for(fetch: Fetch, yahoo: YahooStub, tmp_path: Path, fault: int | str) -> None:
    fetch("AAPL")
    whole = panel(tmp_path)
    (tmp_path / "panel/AAPL.parquet").unlink()
    yahoo.faults["AAPL"] = [fault, fault]
    fetch("AAPL")
    assert yahoo.faults["AAPL"] == []
    assert panel(tmp_path).equals(whole)


@pytest.mark.parametrize("fault", [429, 500])
def test_a_ticker_out_of_reach_ends_in_an_error_once_the_others_are_there(
    fetch: Fetch, yahoo: YahooStub, tmp_path: Path, fault: int
) -> None:
    yahoo.faults["AAPL"] = [fault] * 20
    with pytest.raises(StorageError, match=r"1 of 2 tickers \(AAPL: ") as caught:
        fetch("AAPL", "BRK-B")
    assert caught.value.exit_code == 74
    assert panel(tmp_path)["Code"].unique().to_list() == ["BRK-B"]
    yahoo.faults.clear()
    yahoo.asked.clear()
    fetch("AAPL", "BRK-B")
    assert set(yahoo.asked) == {"AAPL"}
    assert panel(tmp_path)["Code"].n_unique() == 2


def test_a_service_that_is_not_there_is_given_up_soon(
    fetch: Fetch, yahoo: YahooStub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("yfinance.scrapers.history._BASE_URL_", "http://127.0.0.1:9")
    monkeypatch.setattr("yfinance.base._BASE_URL_", "http://127.0.0.1:9")
    with pytest.raises(StorageError, match="5 of 30 tickers"):
        fetch(*(f"T{i}" for i in range(30)))


def test_a_panel_begins_with_a_day(fetch: Fetch, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--from"):
        fetch("AAPL", first=None)
    with pytest.raises(ConfigError, match="--from before --to"):
        fetch("AAPL", first=date(2024, 3, 4))


def test_tickers_come_from_options_and_a_file(tmp_path: Path) -> None:
    file = tmp_path / "tickers.txt"
    file.write_text("# mine\naapl\n7203.T  # Toyota\n\nBRK-B\n")
    assert yahoo_tickers(["MSFT,aapl"], file) == ("MSFT", "AAPL", "7203.T", "BRK-B")
    for wrong in ("../x", ".hidden", "_x", "a b", "x/y"):
        with pytest.raises(ConfigError, match="expected tickers such as"):
            yahoo_tickers([wrong], None)
    with pytest.raises(ConfigError, match="found none"):
        yahoo_tickers([], None)
    with pytest.raises(ConfigError, match="--tickers-file"):
        yahoo_tickers([], tmp_path / "none.txt")
