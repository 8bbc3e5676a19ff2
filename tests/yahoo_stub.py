"""Yahoo's chart service behind real sockets: histories by ticker, and how it fails."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from zoneinfo import ZoneInfo

NEW_YORK = ZoneInfo("America/New_York")


class YahooStub(ThreadingHTTPServer):
    """`tickers` have prices on the weekdays from `first` on; `dividend` is paid on that day; `faults` by ticker."""

    daemon_threads = True

    def __init__(self, tickers: dict[str, date], dividend: date) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.tickers, self.dividend = tickers, dividend
        self.faults: dict[str, list[int | str]] = {}
        self.asked: list[str] = []
        self.url = f"http://127.0.0.1:{self.server_port}"

    def chart(self, ticker: str, first: date, last: date) -> dict[str, Any]:
        days = [first + timedelta(days=i) for i in range((last - first).days)]
        days = [day for day in days if day.weekday() < 5 and day >= self.tickers[ticker]]
        closes = [100.0 + (day.toordinal() * 7) % 11 for day in days]
        # Adjusted backward: closes before the dividend are lower by its share.
        adjusted = [close * (0.98 if day < self.dividend else 1.0) for day, close in zip(days, closes, strict=True)]
        times = [int(datetime(d.year, d.month, d.day, 9, 30, tzinfo=NEW_YORK).timestamp()) for d in days]
        paid = [time for time, day in zip(times, days, strict=True) if day == self.dividend]
        meta = {
            "currency": "USD", "symbol": ticker, "instrumentType": "EQUITY", "exchangeTimezoneName": "America/New_York",
            "timezone": "EST", "gmtoffset": -18000, "priceHint": 2, "dataGranularity": "1d", "range": "",
            "validRanges": ["1d", "max"], "firstTradeDate": times[0] if times else 0, "regularMarketTime": 0,
        }  # fmt: skip
        quote = {
            "open": [close * 0.99 for close in closes],
            "high": [close * 1.01 for close in closes],
            "low": [close * 0.98 for close in closes],
            "close": closes,
            "volume": [1000 + i for i in range(len(days))],
        }
        result: dict[str, Any] = {"meta": meta, "indicators": {"quote": [quote], "adjclose": [{"adjclose": adjusted}]}}
        if days:
            result["timestamp"] = times
        else:
            result["indicators"]["quote"] = [{}]
        if paid:
            result["events"] = {"dividends": {str(paid[0]): {"amount": 2.0, "date": paid[0]}}}
        return {"chart": {"result": [result], "error": None}}


class _Handler(BaseHTTPRequestHandler):
    server: YahooStub

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        asked = {name: values[0] for name, values in parse_qs(url.query).items()}
        ticker = unquote(url.path.rsplit("/", 1)[-1])
        self.server.asked.append(ticker)
        faults = self.server.faults.get(ticker, [])
        fault = faults.pop(0) if faults else 200
        if isinstance(fault, str):
            self.answer(200, fault)
        elif fault != 200:
            self.answer(fault, "Too Many Requests" if fault == 429 else "<html>error</html>")
        elif ticker not in self.server.tickers:
            error = {"code": "Not Found", "description": "No data found, symbol may be delisted"}
            self.answer(404, json.dumps({"chart": {"result": None, "error": error}}))
        else:
            first = datetime.fromtimestamp(int(asked.get("period1", "0")), UTC).astimezone(NEW_YORK).date()
            last = datetime.fromtimestamp(int(asked.get("period2", "864000")), UTC).astimezone(NEW_YORK).date()
            self.answer(200, json.dumps(self.server.chart(ticker, first, last)))

    def answer(self, status: int, text: str) -> None:
        content = text.encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *arguments: object) -> None:
        return None


@contextmanager
def serving(tickers: dict[str, date], dividend: date) -> Iterator[YahooStub]:
    with YahooStub(tickers, dividend) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
