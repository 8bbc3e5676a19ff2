"""Fetching from J-Quants: the real client against real sockets, and what a market does to a panel over time."""

import io
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from rich.console import Console

from atft_gat_fan.config.schema import DataConfig
from atft_gat_fan.data.panel import check_panel
from atft_gat_fan.data.sources.jquants import JQuantsClient, Patience, PlanRangeError
from atft_gat_fan.errors import ConfigError, InterruptedRunError, StorageError
from atft_gat_fan.runs.fetch import JQuantsRequest, fetch_jquants, jquants_codes
from atft_gat_fan.runs.fetch_jquants import TOKYO
from tests.jquants_stub import KEY, Exchange, Fault, JQuantsStub, Stock, serving

FIRST, SPLIT, LAST = date(2024, 1, 4), date(2024, 2, 14), date(2024, 3, 15)
QUICK = Patience(per_minute=1e9, limited_tries=4, limited_seconds=0.01, failed_tries=3, failed_seconds=0.01)


def exchange(today: date = LAST) -> Exchange:
    return Exchange(
        today,
        [
            Stock("13010", FIRST),
            Stock("13060", FIRST, market="0109"),
            Stock("72030", FIRST, splits={SPLIT: 0.2}, price=5000.0),
            Stock("67580", FIRST, sectors={date.min: "3650", date(2024, 2, 20): "5250"}),
            Stock("90010", FIRST, date(2024, 2, 6)),
            Stock("130A0", date(2024, 2, 21), suspended=frozenset({date(2024, 2, 22)})),
        ],
        holidays=frozenset({date(2024, 1, 8), date(2024, 2, 12)}),
    )


@pytest.fixture
def tokyo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[JQuantsStub]:
    with serving(exchange()) as server:
        monkeypatch.setattr(JQuantsClient, "JQUANTS_API_BASE", server.url)
        monkeypatch.setenv("JQUANTS_API_KEY", KEY)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.chdir(tmp_path)
        yield server


@pytest.fixture
def said() -> io.StringIO:
    return io.StringIO()


Fetch = Callable[..., dict[str, Any]]


@pytest.fixture
def fetch(tmp_path: Path, said: io.StringIO) -> Fetch:
    def run(name: str = "panel", **changes: Any) -> dict[str, Any]:
        request = JQuantsRequest(tmp_path / name, FIRST, LAST, None, None, "premium")
        return fetch_jquants(replace(request, **changes), Console(file=said), QUICK)

    return run


def panel(folder: Path) -> pl.DataFrame:
    return pl.read_parquet(sorted(folder.glob("*.parquet"))).sort("Date", "Code")


def stock(frame: pl.DataFrame, code: str) -> pl.DataFrame:
    return frame.filter(Code=code)


def test_a_panel_has_all_stocks_of_each_day_and_passes_the_check(
    tokyo: JQuantsStub, fetch: Fetch, tmp_path: Path
) -> None:
    tokyo.page_size = 4
    facts = fetch()
    frame = panel(tmp_path / "panel")
    sessions = tokyo.exchange.sessions(FIRST, LAST)
    assert sorted(path.name for path in (tmp_path / "panel").glob("*.parquet")) == [
        "2024-01.parquet", "2024-02.parquet", "2024-03.parquet"
    ]  # fmt: skip
    for row in tokyo.exchange.stocks:
        days = [day for day in sessions if row.listed(day)] if row.code != "13060" else []
        assert stock(frame, row.code)["Date"].to_list() == days, row.code  # delisted ones too, funds not
    assert facts["stocks"] == 5
    assert facts["days"] == facts["days fetched"] == len(sessions)
    report = check_panel(DataConfig(source=str(tmp_path / "panel")), lambda share: None)
    assert not report.problems
    assert report.facts["prices"] == ["open", "high", "low", "close", "adj_close", "volume"]
    assert report.facts["static"] == "sector33"
    assert report.facts["features"] == "derived"
    assert not any("jumps" in warning for warning in report.warnings)


def test_prices_and_volumes_are_adjusted_and_turnover_stays(tokyo: JQuantsStub, fetch: Fetch, tmp_path: Path) -> None:
    fetch()
    rows = stock(panel(tmp_path / "panel"), "72030")
    market, split = tokyo.exchange, tokyo.exchange.stocks[2]
    quoted = np.array([market.quoted(split, day) for day in rows["Date"]])
    factor = np.where(rows["Date"].to_numpy() < np.datetime64(SPLIT), 1.0, 0.2)
    np.testing.assert_array_equal(rows["Close"], quoted / factor)
    np.testing.assert_array_equal(rows["AdjustmentClose"], rows["Close"])
    np.testing.assert_allclose(rows["Volume"], 1e5, rtol=1e-12)
    np.testing.assert_allclose(rows["Close"] * rows["Volume"], rows["TurnoverValue"], rtol=1e-12)
    assert rows.filter(pl.col("AdjustmentFactor") != 1)["Date"].to_list() == [SPLIT]
    vendor = np.array([market.bar(split, day)["AdjC"] for day in rows["Date"]])
    np.testing.assert_allclose(rows["Close"] / rows["Close"][-1], vendor / vendor[-1], rtol=1e-3)


def test_a_sector_is_never_newer_than_its_day(tokyo: JQuantsStub, fetch: Fetch, tmp_path: Path) -> None:
    fetch()
    frame = panel(tmp_path / "panel")
    changed = stock(frame, "67580")
    assert changed.filter(pl.col("Date") < date(2024, 3, 1))["sector33"].unique().to_list() == ["3650"]
    assert changed.filter(pl.col("Date") >= date(2024, 3, 1))["sector33"].unique().to_list() == ["5250"]
    assert stock(frame, "130A0")["sector33"].null_count() == 0  # listed within the month
    asked = {parameters["date"] for parameters in tokyo.asked("/equities/master")}
    assert asked == {"2024-01-04", "2024-02-01", "2024-02-21", "2024-03-01"}


def test_a_suspended_day_is_a_row_without_a_price(tokyo: JQuantsStub, fetch: Fetch, tmp_path: Path) -> None:
    fetch()
    row = stock(panel(tmp_path / "panel"), "130A0").filter(Date=date(2024, 2, 22)).row(0, named=True)
    assert row["Close"] is row["Volume"] is row["TurnoverValue"] is None
    assert row["AdjustmentFactor"] == 1.0


def test_day_by_day_gives_the_bits_of_one_go_and_asks_for_new_days_alone(
    tokyo: JQuantsStub, fetch: Fetch, tmp_path: Path
) -> None:
    fetch("once", last=date(2024, 2, 29))
    fetch("daily", last=SPLIT - timedelta(days=1))
    for day in tokyo.exchange.sessions(SPLIT, date(2024, 2, 29)):
        tokyo.requests.clear()
        tokyo.exchange.today = day
        fetch("daily", first=None, last=day)
        asked = {parameters["date"] for parameters in tokyo.asked("/equities/bars/daily")}
        assert asked == {str(day), str(FIRST)}  # the first day shows whether factors have changed
    assert panel(tmp_path / "daily").equals(panel(tmp_path / "once"))
    tokyo.requests.clear()
    fetch("daily", first=None, last=date(2024, 2, 29))
    assert not tokyo.asked("/equities/bars/daily")


def test_a_split_after_the_last_fetch_leaves_no_jump_and_no_old_file_changed(
    tokyo: JQuantsStub, fetch: Fetch, tmp_path: Path
) -> None:
    tokyo.exchange.today = date(2024, 1, 31)
    fetch(last=date(2024, 1, 31))
    before = (tmp_path / "panel/2024-01.parquet").read_bytes()
    tokyo.exchange.today = LAST
    fetch(first=None)
    assert (tmp_path / "panel/2024-01.parquet").read_bytes() == before
    closes = stock(panel(tmp_path / "panel"), "72030")["AdjustmentClose"]
    assert (closes.pct_change().drop_nulls().abs() < 0.07).all()


def test_nothing_that_comes_later_changes_a_row(tokyo: JQuantsStub, fetch: Fetch, tmp_path: Path) -> None:
    fetch("as it was")
    for row in tokyo.exchange.stocks:
        row.splits = {**row.splits, date(2024, 3, 5): 0.5}
        row.sectors = {**row.sectors, date(2024, 3, 4): "9050"}
        row.last = min(row.last, date(2024, 3, 7))
    fetch("as it came")
    until = pl.col("Date") < date(2024, 3, 4)
    was, came = panel(tmp_path / "as it was"), panel(tmp_path / "as it came")
    assert not was.equals(came)
    assert was.filter(until).equals(came.filter(until))


def test_a_factor_that_is_corrected_later_is_fetched_again(
    tokyo: JQuantsStub, fetch: Fetch, tmp_path: Path, said: io.StringIO
) -> None:
    split = tokyo.exchange.stocks[2]
    real, split.splits = split.splits, {}
    quoted = tokyo.exchange.quoted
    truth = replace(split, splits=real)
    tokyo.exchange.quoted = lambda one, day: quoted(truth if one is split else one, day)  # type: ignore[method-assign]
    fetch(last=date(2024, 3, 8))
    broken = stock(panel(tmp_path / "panel"), "72030")["Close"]
    assert broken.pct_change().min() < -0.7  # type: ignore[operator]
    split.splits = real
    fetch(first=None)
    assert "72030: J-Quants has changed a split factor" in said.getvalue()
    fetch("fresh")
    assert panel(tmp_path / "panel").equals(panel(tmp_path / "fresh"))


def test_adjusted_closes_that_no_factor_explains_are_told_of_once(
    tokyo: JQuantsStub, fetch: Fetch, tmp_path: Path, said: io.StringIO
) -> None:
    bar = tokyo.exchange.bar

    def other(one: Stock, day: date) -> dict[str, Any]:
        row = bar(one, day)
        return {**row, "AdjC": row["AdjC"] / 3} if (one.code, day) == ("13010", FIRST) else row

    tokyo.exchange.bar = other  # type: ignore[method-assign]
    fetch(last=date(2024, 3, 7))
    assert said.getvalue().count("13010: the adjusted closes of J-Quants do not follow") == 1
    fetch(first=None, last=date(2024, 3, 8))
    assert said.getvalue().count("13010") == 1
    assert panel(tmp_path / "panel").height > 0


@pytest.mark.parametrize(
    "faults",
    [
        [Fault(429, "Rate limit exceeded")] * 3,
        [Fault(500, "Unexpected error"), Fault(503)],
        [Fault(cut=True), Fault(cut=True)],
        [Fault(text='{"data": [{"Co'), Fault(text="[]")],
        [Fault(text='{"message": "busy"}')],
        [Fault(seconds=0.3)],
    ],
    ids=["limited", "failing", "cut off", "not JSON", "no rows", "slow"],
)
def test_what_passes_is_waited_for(
    tokyo: JQuantsStub, fetch: Fetch, tmp_path: Path, faults: list[Fault], said: io.StringIO
) -> None:
    tokyo.page_size = 4
    fetch("clean", last=date(2024, 1, 12))
    for after in (0, 3, 4, 6):  # the calendar, pages of quotes, the listing
        tokyo.faults.extend([*[None] * after, *faults])
        fetch(f"after {after}", last=date(2024, 1, 12))
        assert not tokyo.faults
        assert panel(tmp_path / f"after {after}").equals(panel(tmp_path / "clean"))


def test_a_page_that_comes_again_has_an_end(tokyo: JQuantsStub, fetch: Fetch) -> None:
    tokyo.page_size = 4
    again = Fault(text='{"data": [], "pagination_key": "4"}')  # to the question for page 4
    tokyo.faults.extend([None, *[again] * 9])
    with pytest.raises(StorageError, match="expected the next page, found the same again"):
        fetch()
    assert len(tokyo.requests) == 4


def test_the_service_says_how_long_to_wait(tokyo: JQuantsStub, fetch: Fetch, said: io.StringIO) -> None:
    tokyo.faults.append(Fault(429, headers={"Retry-After": "1"}))
    began = time.monotonic()
    fetch(last=FIRST)
    assert time.monotonic() - began >= 1.0
    assert "fewer requests; waiting 1 s" in said.getvalue()


@pytest.mark.parametrize(
    ("fault", "tries", "says"),
    [
        (Fault(429, "Rate limit exceeded"), 4, "refuses requests as too many (429 Rate limit exceeded)"),
        (Fault(429, headers={"Retry-After": "86400"}), 1, "asks to wait 86400 s"),
        (Fault(500, "Unexpected error"), 3, "3 times: 500 Unexpected error"),
        (Fault(404, "no such thing"), 1, "refuses the request: 404 no such thing"),
    ],
)
def test_what_does_not_pass_ends_in_an_error_and_keeps_what_there_is(
    tokyo: JQuantsStub, fetch: Fetch, tmp_path: Path, fault: Fault, tries: int, says: str
) -> None:
    tokyo.faults.extend([*[None] * 8, *[fault] * 9])
    with pytest.raises(StorageError) as caught:
        fetch(last=date(2024, 1, 31))
    assert says in str(caught.value)
    assert len(tokyo.faults) == 9 - tries
    tokyo.faults.clear()
    kept = panel(tmp_path / "panel")["Date"].n_unique()
    tokyo.requests.clear()
    facts = fetch(first=None, last=date(2024, 1, 31))
    assert kept >= 3
    assert facts["days fetched"] == 19 - kept
    fetch("clean", last=date(2024, 1, 31))
    assert panel(tmp_path / "panel").equals(panel(tmp_path / "clean"))


def test_a_service_that_is_not_there_is_a_network_failure(
    tokyo: JQuantsStub, fetch: Fetch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(JQuantsClient, "JQUANTS_API_BASE", "http://127.0.0.1:9/v2")
    with pytest.raises(StorageError, match="could not be reached") as caught:
        fetch()
    assert caught.value.exit_code == 74


@pytest.mark.parametrize(("status", "message"), [(401, "The incoming token is invalid"), (403, "no subscription")])
def test_a_refused_key_is_said_at_once_and_not_shown(
    tokyo: JQuantsStub, fetch: Fetch, status: int, message: str
) -> None:
    tokyo.faults.append(Fault(status, f"{message} {KEY}"))
    with pytest.raises(ConfigError, match=f"{status} {message}") as caught:
        fetch()
    assert KEY not in str(caught.value)
    assert len(tokyo.requests) == 1


def test_days_outside_the_plan(tokyo: JQuantsStub, fetch: Fetch, tmp_path: Path, said: io.StringIO) -> None:
    tokyo.covers = (date(2024, 1, 10), date(2024, 2, 9))
    with pytest.raises(PlanRangeError, match="2024-01-10 to 2024-02-09"):
        fetch()
    with pytest.raises(PlanRangeError):
        fetch(first=date(2024, 1, 10))
    fetch(first=date(2024, 1, 10), last=None)
    assert "the plan has quotes up to 2024-02-09" in said.getvalue()
    frame = panel(tmp_path / "panel")
    assert (frame["Date"].min(), frame["Date"].max()) == (date(2024, 1, 10), date(2024, 2, 9))
    tokyo.covers = (date(2024, 1, 17), date(2024, 2, 16))  # a week later the first day is out of reach
    fetch(first=None, last=None)
    assert panel(tmp_path / "panel")["Date"].max() == date(2024, 2, 16)


def test_a_plan_without_an_end_has_a_beginning(tokyo: JQuantsStub, fetch: Fetch) -> None:
    tokyo.faults.append(Fault(400, "Your subscription covers the following dates: 2024-02-01 ~ . More: other plans"))
    with pytest.raises(PlanRangeError, match="covers the days 2024-02-01 to today") as caught:
        fetch(last=None)
    assert caught.value.exit_code == 78


@pytest.mark.parametrize("key", [None, "", "with space", "naïve", "new\nline"])
def test_without_a_key_nothing_is_begun(
    tokyo: JQuantsStub, fetch: Fetch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str | None
) -> None:
    monkeypatch.delenv("JQUANTS_API_KEY")
    if key is not None:
        monkeypatch.setenv("JQUANTS_API_KEY", key)
    with pytest.raises(ConfigError, match="JQUANTS_API_KEY") as caught:
        fetch()
    assert caught.value.exit_code == 78
    assert not key or key not in str(caught.value)
    assert not (tmp_path / "panel").exists()
    assert not tokyo.requests


def test_the_key_may_stand_in_the_client_s_own_file(
    tokyo: JQuantsStub, fetch: Fetch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("JQUANTS_API_KEY")
    (tmp_path / ".jquants-api").mkdir()
    (tmp_path / ".jquants-api/jquants-api.toml").write_text(f'[jquants-api-client]\napi_key = "{KEY}"\n')
    assert fetch(last=FIRST)["days fetched"] == 1


def test_the_key_is_written_nowhere(tokyo: JQuantsStub, fetch: Fetch, tmp_path: Path, said: io.StringIO) -> None:
    tokyo.faults.extend([Fault(429, f"slower, {KEY}"), Fault(500, KEY), None, None, Fault(text=f'{{"x": "{KEY}"}}')])
    fetch()
    texts = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert len(texts) == 5  # three months, the state, the lock
    assert not any(KEY.encode() in text for text in texts)
    assert KEY not in said.getvalue()


def test_a_stop_keeps_what_is_fetched_and_the_next_call_goes_on(
    tokyo: JQuantsStub, fetch: Fetch, tmp_path: Path
) -> None:
    asked = threading.Event()
    rows = tokyo.rows

    def interrupt(path: str, parameters: dict[str, str]) -> list[dict[str, Any]]:
        if parameters.get("date") == "2024-02-08" and not asked.is_set():
            asked.set()
            os.kill(os.getpid(), signal.SIGINT)
        return rows(path, parameters)

    tokyo.rows = interrupt  # type: ignore[method-assign]
    with pytest.raises(InterruptedRunError, match=r"is kept: start the same command again") as caught:
        fetch()
    assert caught.value.exit_code == 130
    kept = panel(tmp_path / "panel")
    assert kept["Date"].max() in (date(2024, 2, 7), date(2024, 2, 8))
    fetch(first=None)
    fetch("clean")
    assert panel(tmp_path / "panel").equals(panel(tmp_path / "clean"))


def test_a_piece_of_more_days_than_are_finished_is_cut_back(tokyo: JQuantsStub, fetch: Fetch, tmp_path: Path) -> None:
    """What a kill between a piece and the state leaves."""
    fetch(last=date(2024, 2, 15))
    state = (tmp_path / "panel/fetch.json").read_bytes()
    fetch(first=None, last=date(2024, 2, 29))
    (tmp_path / "panel/fetch.json").write_bytes(state)
    fetch(first=None)
    fetch("clean")
    assert panel(tmp_path / "panel").equals(panel(tmp_path / "clean"))


def test_a_month_that_is_deleted_is_fetched_again(tokyo: JQuantsStub, fetch: Fetch, tmp_path: Path) -> None:
    fetch()
    whole = panel(tmp_path / "panel")
    (tmp_path / "panel/2024-02.parquet").unlink()
    tokyo.requests.clear()
    fetch(first=None)
    assert panel(tmp_path / "panel").equals(whole)
    months = {asked["date"][:7] for asked in tokyo.asked("/equities/bars/daily")}
    assert months == {"2024-02", "2024-01"}  # January's first day to compare factors


def test_damage_is_named(tokyo: JQuantsStub, fetch: Fetch, tmp_path: Path) -> None:
    fetch(last=date(2024, 2, 15))
    piece, state = tmp_path / "panel/2024-02.parquet", tmp_path / "panel/fetch.json"
    whole = piece.read_bytes()
    piece.write_bytes(whole[:-20])
    with pytest.raises(StorageError, match=r"2024-02\.parquet"):
        fetch(first=None)
    piece.write_bytes(whole)
    changed = json.loads(state.read_text()) | {"through": "2030-01-01"}
    state.write_text(json.dumps(changed))
    with pytest.raises(StorageError, match=r"fetch\.json: damaged"):
        fetch(first=None)


def test_stocks_by_code_take_a_request_each(tokyo: JQuantsStub, fetch: Fetch, tmp_path: Path) -> None:
    codes = jquants_codes(["7203,13060", " 9001", "6758"])
    assert codes == ("13060", "67580", "72030", "90010")
    fetch("some", codes=codes)
    frame = panel(tmp_path / "some")
    fetch("all", funds=True)
    assert frame.equals(panel(tmp_path / "all").filter(pl.col("Code").is_in(codes)))
    asked = [parameters for parameters in tokyo.asked("/equities/bars/daily") if "code" in parameters]
    assert len([1 for parameters in asked if "pagination_key" not in parameters]) == 12  # four stocks, three months
    assert fetch("some", first=None)["days fetched"] == 0  # without saying the codes again


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"first": None}, "holds nothing yet"),
        ({"first": date(2024, 2, 1), "last": date(2024, 1, 31)}, "--from before --to"),
    ],
)
def test_what_cannot_be_fetched_is_refused(
    tokyo: JQuantsStub, fetch: Fetch, tmp_path: Path, changes: dict[str, Any], says: str
) -> None:
    with pytest.raises(ConfigError, match=says):
        fetch(**changes)


def test_a_panel_is_of_one_beginning_one_universe_one_source(tokyo: JQuantsStub, fetch: Fetch, tmp_path: Path) -> None:
    fetch(last=FIRST)
    with pytest.raises(ConfigError, match="begins on 2024-01-04"):
        fetch(first=date(2024, 1, 9))
    with pytest.raises(ConfigError, match="holds all stocks"):
        fetch(codes=("72030",))
    with pytest.raises(ConfigError, match="7203X1"):
        jquants_codes(["7203X1"])
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/notes.txt").touch()
    with pytest.raises(StorageError, match=r"notes\.txt"):
        fetch("mine")


@pytest.mark.parametrize("codes", [None, ("13010",)])
def test_a_session_without_quotes_yet_is_asked_for_again(
    tokyo: JQuantsStub, fetch: Fetch, tmp_path: Path, said: io.StringIO, codes: tuple[str, ...] | None
) -> None:
    now = datetime.now(TOKYO).date()
    tokyo.exchange.stocks = [Stock("13010", date.min)]
    tokyo.exchange.holidays = frozenset()
    sessions = tokyo.exchange.sessions(now - timedelta(days=14), now)
    tokyo.exchange.today = sessions[-2]
    fetch(first=sessions[0], last=sessions[-1], codes=codes)
    assert f"no quotes yet from {sessions[-1]} on" in said.getvalue()
    assert panel(tmp_path / "panel")["Date"].max() == sessions[-2]
    tokyo.exchange.today = sessions[-1]
    fetch(first=None, last=sessions[-1])
    assert panel(tmp_path / "panel")["Date"].max() == sessions[-1]


def test_an_old_session_without_quotes_is_told_of(tokyo: JQuantsStub, fetch: Fetch, said: io.StringIO) -> None:
    tokyo.exchange.holidays = frozenset({date(2024, 1, 8)})
    rows = tokyo.rows
    tokyo.rows = lambda path, asked: [] if asked.get("date") == "2024-02-12" else rows(path, asked)  # type: ignore[method-assign]
    assert fetch()["days"] == len(tokyo.exchange.sessions(FIRST, LAST)) - 1
    assert "no quotes of 2024-02-12, though a trading day" in said.getvalue()


def test_days_that_are_not_there_yet_are_asked_for_until_they_are(
    tokyo: JQuantsStub, fetch: Fetch, tmp_path: Path
) -> None:
    """A service that is months behind must not leave a hole."""
    tokyo.exchange.today = date(2024, 1, 31)
    facts = fetch()
    assert panel(tmp_path / "panel")["Date"].max() == date(2024, 1, 31)
    assert facts["notes"] == ["no quotes yet from 2024-02-01 on"]
    assert len(tokyo.asked("/equities/bars/daily")) == 19 + 10 + 1
    tokyo.exchange.today = LAST
    fetch(first=None)
    fetch("clean")
    assert panel(tmp_path / "panel").equals(panel(tmp_path / "clean"))
