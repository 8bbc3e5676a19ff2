"""A small Tokyo Stock Exchange behind real sockets: what the J-Quants API V2 answers, and how it fails."""

import json
import math
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

KEY = "s3cret-key-of-a-user"


@dataclass
class Stock:
    """`splits` are day → factor; `sectors` day from which → sector33 code."""

    code: str
    first: date
    last: date = date.max
    price: float = 1000.0
    market: str = "0111"
    splits: dict[date, float] = field(default_factory=dict)
    sectors: dict[date, str] = field(default_factory=lambda: {date.min: "3050"})
    suspended: frozenset[date] = frozenset()

    def listed(self, day: date) -> bool:
        return self.first <= day <= self.last


@dataclass
class Exchange:
    """The market as it is known at the end of `today`; splits of later days are unknown."""

    today: date
    stocks: list[Stock]
    holidays: frozenset[date] = frozenset()

    def sessions(self, first: date, last: date) -> list[date]:
        days = [first + timedelta(days=i) for i in range((last - first).days + 1)]
        return [day for day in days if day.weekday() < 5 and day not in self.holidays]

    def quoted(self, stock: Stock, day: date) -> float:
        """A close that moves some percent a day, and falls by the factor on the day of a split."""
        close = stock.price * (1 + 0.03 * ((day.toordinal() * 7 + int(stock.code[:4], 36)) % 11 - 5) / 5)
        for when, factor in stock.splits.items():
            close *= factor if when <= day else 1.0
        return round(close, 1)

    def bar(self, stock: Stock, day: date) -> dict[str, Any]:
        factor = stock.splits.get(day, 1.0)
        later = math.prod(of_split for when, of_split in stock.splits.items() if day < when <= self.today)
        shares = 1e5 / math.prod(of_split for when, of_split in stock.splits.items() if when <= day)
        close = None if day in stock.suspended else self.quoted(stock, day)
        traded = close is not None
        row: dict[str, Any] = {"Date": str(day), "Code": stock.code, "UL": "0", "LL": "0", "AdjFactor": factor}
        for name, scale in (("O", 0.99), ("H", 1.01), ("L", 0.98), ("C", 1.0)):
            row[name] = round(close * scale, 1) if traded else None
            row[f"Adj{name}"] = round(close * scale * later, 1) if traded else None
        row["Vo"] = shares if traded else None
        row["AdjVo"] = shares / later if traded else None
        row["Va"] = None if close is None else close * shares
        return row

    def master(self, stock: Stock, day: date) -> dict[str, Any]:
        sector = stock.sectors[max(when for when in stock.sectors if when <= day)]
        names = ("CoName", "CoNameEn", "S17", "S17Nm", "S33Nm", "ScaleCat", "MktNm", "Mrgn", "MrgnNm", "ProdCat")
        return {"Date": str(day), "Code": stock.code, "S33": sector, "Mkt": stock.market, **dict.fromkeys(names, "x")}


@dataclass
class Fault:
    """Instead of an answer. `cut` sends half of what it promises, `text` is what is sent for JSON."""

    status: int = 200
    message: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    cut: bool = False
    text: str | None = None


class JQuantsStub(ThreadingHTTPServer):
    """Serves `exchange` at `url`; `faults` are what the next requests get; `requests` what was asked."""

    daemon_threads = True

    def __init__(self, exchange: Exchange) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.exchange = exchange
        self.faults: deque[Fault | None] = deque()
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.page_size = 1000
        self.covers: tuple[date, date] | None = None
        self.url = f"http://127.0.0.1:{self.server_port}/v2"

    def asked(self, path: str) -> list[dict[str, str]]:
        return [parameters for asked, parameters in self.requests if asked == path]

    def rows(self, path: str, asked: dict[str, str]) -> list[dict[str, Any]]:
        exchange = self.exchange
        if path == "/v2/markets/calendar":
            first, last = date.fromisoformat(asked["from"]), date.fromisoformat(asked["to"])
            sessions = set(exchange.sessions(first, last))
            days = (first + timedelta(days=i) for i in range((last - first).days + 1))
            return [{"Date": str(day), "HolDiv": "1" if day in sessions else "03"[day.day % 2]} for day in days]
        if path == "/v2/equities/master":
            day = date.fromisoformat(asked["date"])
            return [exchange.master(stock, day) for stock in exchange.stocks if stock.listed(day)]
        assert path == "/v2/equities/bars/daily"
        first = date.fromisoformat(asked.get("date") or asked["from"])
        last = min(date.fromisoformat(asked.get("date") or asked["to"]), exchange.today)
        return [
            exchange.bar(stock, day)
            for day in exchange.sessions(first, last)
            for stock in exchange.stocks
            if stock.listed(day) and asked.get("code", stock.code) == stock.code
        ]

    def outside(self, asked: dict[str, str]) -> bool:
        days = [date.fromisoformat(asked[name]) for name in ("date", "from", "to") if name in asked]
        return self.covers is not None and any(not self.covers[0] <= day <= self.covers[1] for day in days)


class _Handler(BaseHTTPRequestHandler):
    server: JQuantsStub

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        asked = {name: values[0] for name, values in parse_qs(url.query).items()}
        self.server.requests.append((url.path.removeprefix("/v2"), asked))
        fault = self.server.faults.popleft() if self.server.faults else None
        if fault is not None:
            time.sleep(fault.seconds)
        if fault is not None and fault.text is None and not fault.cut and fault.status != 200:
            self.answer(fault.status, json.dumps({"message": fault.message}), fault.headers)
        elif self.headers["x-api-key"] != KEY:
            self.answer(403, json.dumps({"message": f"Forbidden: {self.headers['x-api-key']}"}))
        elif self.server.outside(asked):
            first, last = self.server.covers  # type: ignore[misc]
            message = f"Your subscription covers the following dates: {first} ~ {last}. See other plans"
            self.answer(400, json.dumps({"message": message}))
        else:
            rows = self.server.rows(url.path, asked)
            size = self.server.page_size
            page = int(asked.get("pagination_key", "0"))
            body: dict[str, Any] = {"data": rows[page : page + size]}
            if page + size < len(rows):
                body["pagination_key"] = str(page + size)
            text = fault.text if fault is not None and fault.text is not None else json.dumps(body)
            self.answer(200, text, cut=fault is not None and fault.cut)

    def answer(self, status: int, text: str, headers: dict[str, str] | None = None, cut: bool = False) -> None:
        content = text.encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: len(content) // 2] if cut else content)

    def log_message(self, format: str, *arguments: object) -> None:
        return None


@contextmanager
def serving(exchange: Exchange) -> Iterator[JQuantsStub]:
    with JQuantsStub(exchange) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
