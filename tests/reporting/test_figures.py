"""Charts are themed, small, self-contained SVG."""

import re
import xml.etree.ElementTree as ET
from collections.abc import Callable

import matplotlib as mpl
import numpy as np
import pytest

from atft_gat_fan.reporting import figures
from atft_gat_fan.reporting.theme import BAD, GREYS

DAYS = np.datetime64("2020-01-30") + np.arange(3000)
PATH = np.cumsum(np.random.default_rng(0).normal(size=3000))

CHARTS: dict[str, Callable[[], str]] = {
    "line": lambda: figures.line_chart(
        [figures.Line("ours", DAYS, PATH), figures.Line("<&$theirs$", DAYS, -PATH, GREYS[0])], label='a "label" <b>'
    ),
    "marked": lambda: figures.line_chart(
        [figures.Line("", np.arange(9), PATH[:9])], label="x", mark=(3.0, 0.0, "chosen")
    ),
    "multiples": lambda: figures.small_multiples(
        [(f"{h}d", [figures.Line("", np.arange(50), PATH[:50])]) for h in range(7)], label="x"
    ),
    "drawdown": lambda: figures.paths_with_drawdown(DAYS, [figures.Line("net", DAYS, PATH)], -np.abs(PATH), label="x"),
    "bars": lambda: figures.bar_chart(list("abcd"), np.array([1.0, -2.0, 0.0, 3.0]), label="x", errors=np.ones(4)),
    "rows": lambda: figures.horizontal_bars(["<a>", "$b$"], np.array([0.3, 0.1]), label="x", reference=0.2),
    "months": lambda: figures.month_grid(DAYS, PATH, label="x"),
}


@pytest.mark.parametrize("name", CHARTS)
def test_is_valid_svg_in_the_colours_of_the_page(name: str) -> None:
    svg = CHARTS[name]()
    root = ET.fromstring(svg)
    assert root.attrib["role"] == "img"
    assert not re.search(r"#0[0-9a-f]a0b0|https?:|DejaVu|<metadata|<style", svg)
    assert "var(--" in svg
    assert not re.search(r"(?:fill|stroke): #", svg)
    assert len(svg) < 120_000
    assert CHARTS[name]() == svg


def test_text_is_escaped_and_never_read_as_mathematics() -> None:
    words = [element.text for element in ET.fromstring(CHARTS["line"]()).iter() if element.tag.endswith("text")]
    assert "<&$theirs$" in words
    assert {"<a>", "$b$"} <= {e.text for e in ET.fromstring(CHARTS["rows"]()).iter() if e.tag.endswith("text")}


def test_long_lines_are_thinned_but_keep_their_ends() -> None:
    x, y = figures._thin(DAYS, PATH)
    assert len(x) <= figures.MAX_POINTS
    assert (x[0], x[-1], y[0], y[-1]) == (DAYS[0], DAYS[-1], PATH[0], PATH[-1])


def test_negative_bars_and_months_wear_the_warning_colour() -> None:
    assert "var(--bad)" in CHARTS["bars"]()
    assert "var(--bad)" not in figures.bar_chart(["a"], np.array([1.0]), label="x")
    assert "var(--bad)" not in figures.month_grid(DAYS[:60], np.full(60, 0.1), label="x")
    assert BAD not in CHARTS["months"]()


def test_month_grid_writes_the_mean_of_each_month() -> None:
    values = np.where(np.datetime64("2020-02-01") > DAYS, -0.04, 0.06)
    svg = figures.month_grid(DAYS[:31], values[:31], label="x")
    assert "\u22120.040" in svg
    assert "+0.060" in svg


def test_names_at_line_ends_do_not_overlap() -> None:
    x = np.arange(10)
    lines = [figures.Line(name, x, np.full(10, 1.0) + i * 1e-3) for i, name in enumerate("abcde")]
    lines.append(figures.Line("f", x, np.linspace(0, 1, 10)))
    root = ET.fromstring(figures.line_chart(lines, label="x", height=280))
    heights = sorted(float(e.attrib["y"]) for e in root.iter() if e.tag.endswith("text") and e.text in set("abcdef"))
    assert len(heights) == 6
    assert min(np.diff(heights)) > 11


def test_global_settings_of_matplotlib_are_left_alone() -> None:
    before = dict(mpl.rcParams)
    CHARTS["line"]()
    assert dict(mpl.rcParams) == before
