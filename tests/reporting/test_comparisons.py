"""Rows stand where their numbers say, and unknown numbers are not drawn."""

import re
import xml.etree.ElementTree as ET
from math import nan
from typing import get_args

import pytest

from atft_gat_fan.reporting.comparisons import Band, Estimate, Mark, amount_bars, forest_plot, span_of

LIMITS = (-0.02, 0.02)


def forest(*rows: Estimate, bands: tuple[Band, ...] = ()) -> str:
    return forest_plot(rows, label="a <label>", x_label="difference", limits=LIMITS, bands=bands)


def markers(svg: str) -> list[tuple[float, float]]:
    """Places (x, y) of the markers, in the order of drawing."""
    return [(float(use.attrib["x"]), float(use.attrib["y"])) for use in ET.fromstring(svg).iter("use")]


def test_markers_stand_in_order_of_their_values_and_rows() -> None:
    rows = [Estimate("a", 0.01, 0.0, 0.02), Estimate("b", -0.01, -0.02, 0.0), Estimate("c", 0.0, -0.01, 0.01)]
    places = markers(forest(*rows))
    assert len(places) == 3
    (a, row_a), (b, row_b), (c, row_c) = places
    assert row_a < row_b < row_c
    assert b < c < a
    assert (a + b) / 2 == pytest.approx(c, abs=0.05)


def test_parts_are_drawn_beside_their_mean() -> None:
    assert len(markers(forest(Estimate("a", 0.01, parts=(0.0, 0.02))))) == 3


def test_what_is_unknown_is_an_empty_row_with_its_name() -> None:
    svg = forest(Estimate("unknown one", nan, note="–"))
    assert markers(svg) == []
    assert "unknown one" in svg
    assert "nan" not in svg
    assert "nan" not in amount_bars([Estimate("a", nan)], label="x", x_label="x", form=str)


def test_marks_differ_without_their_colours() -> None:
    looks = set()
    for mark in get_args(Mark):
        root = ET.fromstring(forest(Estimate("a", 0.01, mark=mark)))
        (marker,) = root.iter("use")
        (outline,) = [path.attrib["d"] for path in root.iter("path") if path.get("id") == marker.attrib["href"][1:]]
        looks.add((outline, "fill: var(--surface)" in marker.attrib["style"]))
    assert len(looks) == len(get_args(Mark))


def test_a_band_is_shaded_and_one_without_width_is_a_dashed_line() -> None:
    plain = forest(Estimate("a", 0.01))
    assert "opacity: 0.2" in forest(Estimate("a", 0.01), bands=(Band(-0.003, 0.003),))
    assert "stroke-dasharray" in forest(Estimate("a", 0.01), bands=(Band(0.01, 0.01),))
    assert "opacity: 0.2" not in plain
    assert "stroke-dasharray" not in plain


def test_bars_reach_from_zero_on_both_sides() -> None:
    svg = amount_bars([Estimate("a", 0.1), Estimate("b", -0.2)], label="x", x_label="x", form=str)
    bars = [path.attrib["d"] for path in ET.fromstring(svg).iter("path") if "opacity: 0.85" in path.get("style", "")]
    a, b = ([float(x) for x in re.findall(r"[ML] (\S+)", bar)] for bar in bars)
    assert min(a) == pytest.approx(max(b), abs=0.05)
    assert max(b) - min(b) == pytest.approx(2 * (max(a) - min(a)), rel=0.01)


def test_the_axis_holds_everything_and_zero() -> None:
    low, high = span_of([Estimate("a", 0.01, 0.005, 0.02, parts=(0.03,)), Estimate("b", nan)], [Band(-0.01, 0.0)])
    assert low < -0.01
    assert high > 0.03
    assert span_of([Estimate("a", 0.01)])[0] == 0.0
    low, high = span_of([])
    assert low < high


def test_names_are_escaped_and_the_colours_are_those_of_the_page() -> None:
    svg = forest(Estimate("<&$theirs$", 0.01, note="<b>"))
    words = [element.text for element in ET.fromstring(svg).iter() if element.tag.endswith("text")]
    assert {"<&$theirs$", "<b>"} <= set(words)
    assert not re.search(r"#0[0-9a-f]a0b0|https?:|DejaVu", svg)
