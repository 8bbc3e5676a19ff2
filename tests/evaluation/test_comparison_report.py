"""The page of a comparison says what was compared and what not, needs nothing else, and escapes what it is given."""

import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from atft_gat_fan.evaluation.comparison import Comparison, compare
from atft_gat_fan.evaluation.comparison_report import build_page, headline, metric_table, numerics_note
from tests.evaluation.compared_runs import judged, run

HOSTILE = '<img src=x onerror="alert(1)">&$x$'
POOR, GOOD = judged(0.05, seed=2), judged(0.01)


def three() -> Comparison:
    other = {"seed": 43, "model": {"hidden_size": 32, "fan": {"enabled": True}}}
    gone = run(HOSTILE, POOR, judged=None, missing=HOSTILE)
    return compare([run("poor", POOR), run("good", GOOD, config=other, plan={"loss": {"kind": "huber"}}), gone])


@pytest.fixture(scope="module")
def page() -> str:
    return build_page(three(), "compare.html")


def test_every_section_is_there_in_order(page: str) -> None:
    assert re.findall(r'<section[^>]* id="([a-z-]+)"', page) == [
        "verdict", "time", "paired", "horizons", "training", "settings", "reproduce",
    ]  # fmt: skip


def test_it_loads_nothing_runs_nothing_and_escapes(page: str) -> None:
    assert not re.search(r"https?:|@import|url\((?!#)|<script|<img|<link", page)
    assert "&lt;img" in page


def test_what_differs_is_shown_and_nothing_else(page: str) -> None:
    settings = page[page.index('id="settings"') :]
    assert re.findall(r'<th scope="row">([a-z_.]+)</th><td>(.*?)</td><td>(.*?)</td>', settings) == [
        ("loss.kind", "mse", "huber"),
        ("seed", "42", "43"),
        ("model.hidden_size", "64", "32"),
    ]


def test_figures_are_whole_and_have_a_line_each(page: str) -> None:
    figures = [ET.fromstring(svg) for svg in re.findall(r"<svg.*?</svg>", page, re.DOTALL)]
    assert len(figures) == 2  # the path, and one forest of the one run that could be compared
    assert "poor" in figures[0].attrib["aria-label"]
    assert "nan" not in page


def test_a_forest_a_horizon_where_several_are_compared() -> None:
    page = build_page(compare([run("poor", POOR), run("good", GOOD), run("same", POOR)]), "compare.html")
    assert re.findall(r"<h3>(ΔRankIC@\w+) against poor</h3>", page) == ["ΔRankIC@1d", "ΔRankIC@5d"]


def test_the_same_comparison_gives_the_same_text(page: str) -> None:
    assert build_page(three(), "compare.html") == page


def test_the_headline_says_who_is_better_worse_or_neither() -> None:
    runs = [run("middle", judged(0.03)), run("good", GOOD), run("poor", POOR), run("same", judged(0.03))]
    assert headline(compare(runs)) == (
        "At 1d, better than middle: good; worse than middle: poor; no clear difference from middle: same."
    )
    assert headline(compare([run("a", GOOD), run("b", GOOD, judged=None, missing="gone")])) == (
        "These runs cannot be compared day by day."
    )


def test_reasons_and_notes_stand_in_the_findings(page: str) -> None:
    assert "Not compared with poor: the days of &lt;img" in page
    shorter = build_page(compare([run("poor", POOR), run("good", judged(0.01, days=80))]), "compare.html")
    assert "Compared on the 80 days that both were tested on, of 120 of poor and 80 of good." in shorter


def test_a_baseline_is_a_row_where_runs_agree_on_it_and_a_row_each_where_not() -> None:
    same = metric_table(compare([run("a", GOOD), run("b", GOOD)]), "rank_ic")
    assert same is not None
    assert [row[0] for row in same.rows] == ["a", "b", "ridge"]
    other = metric_table(compare([run("a", GOOD), run("b", POOR)]), "rank_ic")
    assert other is not None
    assert [row[0] for row in other.rows] == ["a", "b", "ridge of a", "ridge of b"]
    two = metric_table(compare([run("a", GOOD), run("b", GOOD), run("c", POOR)]), "rank_ic")
    assert two is not None
    assert [row[0] for row in two.rows][3:] == ["ridge of a and 1 more", "ridge of c"]
    assert metric_table(compare([run("a", GOOD), run("b", GOOD)]), "rank_ic_liquid") is None


def test_runs_of_other_machines_are_not_timed_against_each_other() -> None:
    one = run("a", GOOD)
    other = run("b", GOOD, train={**one.train, "numerics": {"torch": "2.13.0", "threads": 16}})
    assert numerics_note(compare([one, one])) == ""
    assert numerics_note(compare([one, other])) == (
        "Times and last digits are not comparable: a: threads 2; b: threads 16."
    )


def test_days_too_few_to_draw_or_test_are_said_to_be_so() -> None:
    page = build_page(compare([run("a", judged(0.01, days=1)), run("b", judged(0.05, days=1))]), "compare.html")
    assert "so there is no path to draw" in page
    assert "on too few days for a test" in page
    assert np.isnan(judged(0.01, days=1).rank_ic(1)).sum() == 0
