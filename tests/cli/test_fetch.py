"""`atft data fetch` as a user meets it: exit codes, messages, results."""

import json
import sys
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest

from atft_gat_fan.cli.main import main
from atft_gat_fan.data.sources.jquants import PER_MINUTE, JQuantsClient, Patience
from tests.jquants_stub import KEY, Exchange, JQuantsStub, Stock, serving

JQUANTS = ["data", "fetch", "jquants", "--out", "panel"]
DAYS = ["--from", "2024-01-04", "--to", "2024-01-10"]


@pytest.fixture
def tokyo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[JQuantsStub]:
    with serving(Exchange(date(2024, 1, 31), [Stock("13010", date.min), Stock("72030", date.min)])) as server:
        monkeypatch.setattr(JQuantsClient, "JQUANTS_API_BASE", server.url)
        monkeypatch.setitem(PER_MINUTE, "premium", 10**9)
        monkeypatch.setenv("JQUANTS_API_KEY", KEY)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.chdir(tmp_path)
        yield server


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    return int(ended.value.code or 0)


def test_a_fetched_panel_goes_on_through_the_other_commands(
    tokyo: JQuantsStub, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*JQUANTS, *DAYS, "--plan", "premium", "--json") == 0
    captured = capsys.readouterr()
    facts = json.loads(captured.out)
    assert (facts["rows"], facts["stocks"], facts["first"], facts["last"]) == (10, 2, "2024-01-04", "2024-01-10")
    assert KEY not in captured.out + captured.err
    assert run(*JQUANTS, "--plan", "premium", "--to", "2024-01-12") == 0
    assert "days fetched  2" in capsys.readouterr().out
    assert run("data", "check", "panel", "data.horizons=[1,2]") == 0
    assert run("data", "build", "panel", "--out", "store", "data.horizons=[1,2]") == 0
    assert run("data", "check", "store") == 0


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        ([*JQUANTS], 78, "expected the first day to fetch, --from"),
        ([*JQUANTS, *DAYS, "--codes", "TOYOTA"], 78, "expected codes such as 7203"),
        ([*JQUANTS, "--from", "yesterday"], 2, "--from"),
        ([*JQUANTS, *DAYS, "--plan", "gold"], 2, "--plan"),
        (["data", "fetch", "jquants"], 2, "--out"),
        (["data", "fetch", "yfinance", "--out", "panel"], 78, "--tickers-file"),
        (["data", "fetch", "yfinance", "--out", "panel", "--tickers", "../x"], 78, "expected tickers such as AAPL"),
        (["data", "fetch", "stooq"], 2, "stooq"),
    ],
)
def test_what_a_user_can_get_wrong_has_its_exit_code(
    tokyo: JQuantsStub, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, says: str
) -> None:
    assert run(*arguments) == code
    assert says in capsys.readouterr().err


def test_a_missing_key_is_78_and_a_dead_network_74(
    tokyo: JQuantsStub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("JQUANTS_API_KEY")
    assert run(*JQUANTS, *DAYS) == 78
    assert "JQUANTS_API_KEY" in capsys.readouterr().err
    monkeypatch.setenv("JQUANTS_API_KEY", KEY)
    monkeypatch.setattr(JQuantsClient, "JQUANTS_API_BASE", "http://127.0.0.1:9/v2")
    monkeypatch.setattr(Patience.__init__, "__defaults__", (1, 0.0, 1, 0.0, 1.0))  # no waiting between tries
    assert run(*JQUANTS, *DAYS) == 74
    captured = capsys.readouterr()
    assert "start the same command again" in captured.err
    assert KEY not in captured.err


@pytest.mark.parametrize(("source", "module"), [("jquants", "jquantsapi"), ("yfinance", "yfinance")])
def test_a_missing_extra_is_named_with_how_to_get_it(
    tokyo: JQuantsStub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], source: str, module: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)  # as if it were not installed
    for name in (f"data.sources.{source}", f"runs.fetch_{source}", "runs.fetch_factors"):
        monkeypatch.delitem(sys.modules, f"atft_gat_fan.{name}", raising=False)
    arguments = ["--tickers", "AAPL"] if source == "yfinance" else []
    assert run("data", "fetch", source, "--out", "panel", "--from", "2024-01-04", *arguments) == 78
    assert f"pip install 'atft-gat-fan[{source}]'" in capsys.readouterr().err
