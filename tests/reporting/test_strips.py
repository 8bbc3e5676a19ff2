"""Charts of what is watched: what is beyond its bound stands out, and what is not known is not drawn as known."""

import re
import xml.etree.ElementTree as ET
from collections.abc import Callable

import numpy as np
import pytest

from atft_gat_fan.reporting import strips
from atft_gat_fan.reporting.figures import Line
from atft_gat_fan.reporting.strips import Gauge, Shares, Strip

DAYS = np.busday_offset("2026-08-03", np.arange(60))
CALM = np.full(60, 0.4)
BEYOND = np.where(np.arange(60) < 50, 0.4, 1.2)
NO_DAY = np.full(60, np.nan)
HOSTILE = "<&$x$"


def strip(values: np.ndarray, **bounds: float) -> str:
    return strips.strip_stack([Strip(HOSTILE, [Line("", DAYS, values)], **bounds)], label="x")


CHARTS: dict[str, Callable[[], str]] = {
    "heat": lambda: strips.heat_strip([HOSTILE, "b"], DAYS, np.stack([BEYOND, NO_DAY]), label='a "label" <b>'),
    "gauges": lambda: strips.gauge_bars([Gauge(HOSTILE, 0.3, 0.2), Gauge("b", np.nan, np.nan)], label="x"),
    "strips": lambda: strip(BEYOND, low=0.1, high=1.0),
    "shares": lambda: strips.share_multiples([Shares(HOSTILE, (0.0, 1.0), (0.3, 0.3, 0.4), (0, 0, 1))], label="x"),
}


@pytest.mark.parametrize("name", CHARTS)
def test_is_valid_svg_in_the_colours_of_the_page(name: str):
    svg = CHARTS[name]()
    root = ET.fromstring(svg)
    assert root.attrib["role"] == "img"
    assert HOSTILE in {element.text for element in root.iter() if element.tag.endswith("text")}
    assert not re.search(r"#0[0-9a-f]a0b0|https?:|DejaVu|<metadata|<style|nan", svg)
    assert CHARTS[name]() == svg


def heat(*rows: np.ndarray) -> str:
    return strips.heat_strip([str(i) for i in range(len(rows))], DAYS[: len(rows[0])], np.stack(rows), label="x")


def filled(svg: str, variable: str) -> int:
    """Shapes filled with a colour."""
    return len(re.findall(rf"fill: var\({variable}\)", svg))


def test_a_cell_is_in_the_warning_colour_from_its_threshold_on():
    assert filled(heat(np.array([0.2, 0.9, 1.0])), "--bad") == 0
    assert filled(heat(np.array([0.2, 0.9, 1.001])), "--bad") == 1
    cells = re.findall(
        r"fill: var\((--accent|--bad)\)(?:; opacity: ([\d.]+))?", heat(np.array([0.1, 0.6, 0.9, 1.2, 2, 9]))
    )
    assert [colour for colour, _ in cells] == ["--accent"] * 3 + ["--bad"] * 3
    strengths = [float(opacity or 1) for _, opacity in cells]
    assert strengths[:3] == sorted(set(strengths[:3]))
    assert strengths[3:] == sorted(set(strengths[3:]))


def test_an_unknown_cell_is_grey_and_not_a_low_one():
    known, unknown = heat(np.array([0.1, 0.1])), heat(np.array([0.1, np.nan]))
    assert (filled(known, "--grey-4"), filled(unknown, "--grey-4")) == (0, 1)
    assert filled(heat(np.full(5, np.nan)), "--accent") == 0


def test_neighbours_of_a_row_are_one_shape():
    chosen = np.array([[True, True, False, True], [False, False, False, False], [True, True, True, True]])
    assert strips._runs(chosen) == [(0, 0, 2), (0, 3, 4), (2, 0, 4)]


def test_hundreds_of_cells_stay_small():
    rng = np.random.default_rng(0)
    assert len(heat(*rng.uniform(0, 2, (28, 60)))) < 120_000


def test_a_bar_above_its_own_threshold_warns():
    bars = [Gauge("a", 0.3, 0.2), Gauge("b", 0.3, 0.4), Gauge("c", 0.3, np.nan)]
    assert [filled(strips.gauge_bars([bar], label="x"), "--bad") > 0 for bar in bars] == [True, False, False]


def test_only_points_beyond_a_bound_are_ringed():
    def rings(svg: str) -> int:
        return len(re.findall(r"<use[^>]*stroke: var\(--bad\)", svg))

    assert rings(strip(CALM, low=0.1, high=1.0)) == 0
    assert rings(strip(BEYOND, low=0.1, high=1.0)) == 10
    assert rings(strip(BEYOND, low=0.5)) == 50
    assert rings(strip(BEYOND)) == 0


def test_strips_share_one_time_axis_whatever_days_they_have():
    long, short = Strip("long", [Line("", DAYS, CALM)]), Strip("short", [Line("", DAYS[-5:], CALM[-5:])])
    both = strips.strip_stack([short, long], label="x")
    assert "Aug" in both
    assert "Oct" in both


def test_a_single_day_is_a_point_and_its_axis_names_days_not_hours():
    svg = strips.strip_stack([Strip("one", [Line("", DAYS[:1], CALM[:1])])], label="x")
    assert "<use" in svg
    days = re.findall(r">(\d\d Aug)<", svg)
    assert len(days) == len(set(days)) > 0
