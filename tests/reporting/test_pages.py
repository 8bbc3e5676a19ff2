"""Every page of ours, opened in a real browser: nothing on the console, nothing asked for, every chart drawn."""

from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from atft_gat_fan.evaluation import report as evaluation_report
from atft_gat_fan.monitoring.dashboard import build_dashboard
from atft_gat_fan.monitoring.history import append_history
from atft_gat_fan.monitoring.result import MonitorResult
from atft_gat_fan.validation import report as validation_report
from tests.chromium import DESKTOP, PHONE, Browser, browser
from tests.evaluation.test_report import full_inputs
from tests.monitoring.examples import alarmed, first_day
from tests.validation.examples import example


def monitored(result: MonitorResult) -> str:
    with TemporaryDirectory() as folder:
        return build_dashboard(result, append_history(Path(folder), result))


PAGES: dict[str, tuple[Callable[[], str], str, int]] = {
    "report.html": (lambda: evaluation_report.build_report(full_inputs()), "RankIC", 13),
    "validation.html": (lambda: validation_report.build_report(example().to_json()), "Do the improvements help?", 8),
    "monitor.html": (lambda: monitored(alarmed(200)), "6 alarms", 14),
    "monitor.html of a first day": (lambda: monitored(first_day(1)), "No alarms", 5),
}
"""What makes the page, words that must be visible on it, and the number of its charts."""


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser() as opened:
        yield opened


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_sound_in_a_browser(chromium: Browser, tmp_path: Path, name: str):
    build, words, num_charts = PAGES[name]
    page = tmp_path / "page.html"
    page.write_text(build())
    desktop = chromium.open(page, window=DESKTOP, picture=tmp_path / "desktop.png")
    phone = chromium.open(page, window=PHONE, scheme="dark", picture=tmp_path / "phone.png")
    assert desktop.faults(num_charts) == []
    assert phone.faults(num_charts) == []
    assert words in desktop.text
    assert desktop.title.endswith("ATFT-GAT-FAN")
