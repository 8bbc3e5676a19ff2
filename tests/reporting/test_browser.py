"""The browser that opens our pages sees what would be wrong with one: else none of its tests could fail."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chromium import PHONE, Browser, browser

CHART = (
    '<svg viewBox="0 0 100 50" width="100" height="50" aria-label="a chart"><path d="M0 0 L90 40" stroke="red"/></svg>'
)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser() as opened:
        yield opened


@pytest.fixture
def faults(chromium: Browser, tmp_path: Path):
    def of(body: str, *, num_charts: int = 1, window: int = PHONE) -> list[str]:
        page = tmp_path / "page.html"
        page.write_text(f'<!doctype html><meta name="viewport" content="width=device-width"><body>{body}</body>')
        return chromium.open(page, window=window).faults(num_charts)

    return of


def test_a_sound_page_has_no_faults(faults):
    assert faults(f"<p>words</p>{CHART}<details><summary>more</summary>{CHART}</details>", num_charts=2) == []


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (f"{CHART}<script>console.error('oh', 'no')</script>", "console: oh no"),
        (f"{CHART}<script>null.x</script>", "exception: TypeError"),
        (CHART.replace("M0 0", "MNaN 0"), "console: Error: <path> attribute d"),
        (CHART.replace("<path", '<rect width="nan"/><path'), "console: Error: <rect> attribute width"),
        (f'{CHART}<img src="http://example.org/x.png">', "asks for http://example.org/x.png"),
        (f'{CHART}<img src="beside.png">', "beside.png"),
        (f'{CHART}<style>@import url("https://example.org/x.css");</style>', "asks for https://example.org/x.css"),
        ("<p>words</p>", "0 charts, expected 1"),
        (CHART.replace('width="100"', 'width="0"'), "empty chart 'a chart'"),
        (CHART.replace('<path d="M0 0 L90 40" stroke="red"/>', ""), "0 marks"),
        (f'<div style="display: none">{CHART}</div>', "empty chart"),
        (f'{CHART}<pre style="width: 800px">x</pre>', f"pixels wide in a window of {PHONE}"),
    ],
)  # fmt: skip
def test_each_fault_is_seen(faults, body: str, words: str):
    found = faults(body)
    assert any(words in fault for fault in found), found


def test_pictures_follow_the_window_and_the_scheme(chromium: Browser, tmp_path: Path):
    page = tmp_path / "page.html"
    page.write_text(f'<!doctype html><meta name="color-scheme" content="light dark"><body>{CHART}</body>')
    for scheme in ("light", "dark"):
        chromium.open(page, window=500, scheme=scheme, picture=tmp_path / f"{scheme}.png")
    light, dark = ((tmp_path / f"{scheme}.png").read_bytes() for scheme in ("light", "dark"))
    assert light.startswith(b"\x89PNG")
    assert int.from_bytes(light[16:20], "big") == 500
    assert light != dark
