"""The page says first whether the model is healthy, shows what was measured, and says why a part is absent."""

import json
import re
from dataclasses import replace
from functools import cache
from html import unescape
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import polars as pl
import pytest

from atft_gat_fan.monitoring.charts import MOST_ROWS, drift_charts, furthest
from atft_gat_fan.monitoring.daily_charts import memory_chart, stability_charts
from atft_gat_fan.monitoring.dashboard import MOST_ALARMS, build_dashboard
from atft_gat_fan.monitoring.history import SCHEMA, append_history
from atft_gat_fan.monitoring.result import Alarm, FamilyResult, GateResult, Measured, MonitorResult, WindowShift
from atft_gat_fan.monitoring.status import judge
from atft_gat_fan.monitoring.tables import MOST_NAMES, detail_tables
from atft_gat_fan.reporting.numbers import fixed
from tests.monitoring.examples import alarmed, first_day, healthy
from tests.pages import ParsedPage

HOSTILE = '<img src=x onerror="alert(1)">&$x$'


def page_of(result: MonitorResult, *earlier: MonitorResult) -> str:
    """By way of the text of monitor.json, with a history."""
    with TemporaryDirectory() as folder:
        for each in earlier:
            append_history(Path(folder), each)
        read = MonitorResult.from_json(json.loads(json.dumps(result.to_json(), allow_nan=False)))
        return build_dashboard(read, append_history(Path(folder), read))


def history_of(result: MonitorResult) -> pl.DataFrame:
    with TemporaryDirectory() as folder:
        return append_history(Path(folder), result)


@cache
def page(name: str) -> str:
    return page_of({"healthy": healthy, "alarmed": alarmed, "first": first_day}[name]())


def section(page: str, name: str) -> str:
    found = re.search(rf'<section[^>]* id="{name}">.*?</section>', page, re.DOTALL)
    assert found is not None, name
    return unescape(re.sub(r"<[^>]*>", " ", found.group()))


@pytest.mark.parametrize("name", ["healthy", "alarmed", "first"])
def test_it_is_one_small_file_that_needs_nothing_else(name: str):
    parsed = ParsedPage(page(name))
    assert not re.search(r"https?:|@import|url\((?!#)", page(name))
    assert not {"script", "link", "img", "iframe", "object"} & set(parsed.tags)
    assert all(not key.startswith("on") for key, _ in parsed.attributes)
    assert len(page(name).encode()) < 500_000
    sections = [value for key, value in parsed.attributes if key == "id" and value and value.isalpha()]
    assert sections == ["status", *(["alarms"] if name == "alarmed" else []), "drift", "stability", "memory",
                        "measured", "reproduce"]  # fmt: skip
    assert not re.search(r"\b(nan|None|inf)\b", parsed.text)


def test_the_same_result_gives_the_same_page():
    assert page_of(first_day()) == page("first")


def test_a_healthy_model_is_said_to_be_healthy():
    status = judge(healthy())
    assert (status.tone, status.advice) == ("good", ())
    assert status.headline.startswith("Healthy")
    assert {finding.tone for finding in status.findings} == {"good"}
    assert 'id="alarms"' not in page("healthy")


def test_alarms_come_first_with_since_when_and_what_to_do():
    result = alarmed()
    status = judge(result)
    oldest = min(alarm.since for alarm in result.alarms if alarm.since)
    assert status.tone == "bad"
    assert status.headline == f"6 alarms, the oldest since {oldest}."
    assert status.advice[0] == result.alarms[0].sentence
    text = section(page("alarmed"), "alarms")
    assert [text.index(alarm.sentence) for alarm in result.alarms] == sorted(
        text.index(alarm.sentence) for alarm in result.alarms
    )
    areas = {finding.title: finding.tone for finding in status.findings}
    assert areas == {
        "Features as they come": "bad", "Features as seen": "good", "Predictions": "bad", "From day to day": "bad",
        "Realised RankIC": "bad", "Memory": "bad",
    }  # fmt: skip


def test_one_alarm_is_one():
    result = replace(healthy(), alarms=(Alarm("memory", "m", "slope", None, 0.01, 0.003, "Memory grows."),))
    assert judge(result).headline == "One alarm."


def test_many_alarms_do_not_bury_the_page():
    alarms = tuple(replace(alarmed().alarms[3], name=f"feature_{i}") for i in range(MOST_ALARMS + 7))
    text = section(page_of(replace(first_day(), alarms=alarms)), "alarms")
    assert "7 more" in text
    assert text.index(f"feature_{MOST_ALARMS - 1} ") < text.index("7 more") < text.index(f"feature_{MOST_ALARMS} ")


def test_a_failed_condition_is_said_without_calling_the_model_ill():
    gates = (GateResult("psi>0.01", 0.11, failed=True), GateResult("rank_ic_1d<0", None, failed=True))
    status = judge(replace(healthy(), gates=gates))
    assert status.tone == "plain"
    assert status.advice == ("--fail-on psi>0.01: measured 0.11.", "--fail-on rank_ic_1d<0: nothing was measured.")


def test_the_first_day_says_why_parts_are_absent():
    status = judge(first_day())
    assert status.headline == "No alarms. Not judged yet: realised RankIC, memory."
    text = {name: section(page("first"), name) for name in ("drift", "stability", "rank-ic", "memory")}
    assert "a course needs two days" in text["drift"]
    assert "it needs two days, and there is one" in text["stability"]
    assert "no label has matured yet" in text["rank-ic"]
    assert "No trend: a trend needs 6 runs" in text["memory"]
    assert "Theil" not in text["memory"]
    assert "last 5 days" not in text["drift"]  # the windows are one


def test_a_family_that_cannot_be_compared_says_why():
    known = first_day()
    none = FamilyResult("Features as they come", (), "the panel has no raw prices")
    drawn = page_of(replace(known, families={**known.families, "raw_features": none}, psi=None))
    assert "Not judged: the panel has no raw prices." in section(drawn, "status")
    assert "not compared, the panel has no raw prices" in section(drawn, "drift")


def test_what_was_not_measured_is_not_drawn():
    known = healthy(2)
    blank = Measured(None, None, alarm=False)
    window = WindowShift(blank, blank, blank)
    days = len(known.days)
    shifts = tuple(
        replace(s, long=window, short=window, excess=(None,) * days, psi=(None,) * days, distribution=None)
        for s in known.families["raw_features"].shifts
    )
    families = {key: replace(family, shifts=shifts) for key, family in known.families.items()}
    numbers = tuple(replace(n, daily=(None,) * days, value=None) for n in known.stability)
    result = replace(known, families=families, psi=None, stability=numbers, rank_ic={})
    drawn = page_of(result)
    assert ParsedPage(drawn).tags.count("svg") == 1  # memory
    text = ParsedPage(drawn).text
    for words in (
        "a course needs two days",
        "the window is not full",
        "No distribution was kept",
        "there are no labels",
    ):
        assert words in text, words


def test_the_furthest_stand_on_top_and_hundreds_are_cut_with_a_word():
    result = alarmed(150)
    named = [each.name for each in furthest(result)]
    assert set(named[:3]) == {"score 1d", "ROC_5", "STD_20"}
    _, heat = drift_charts(result, SCHEMA.to_frame())
    assert f"The {MOST_ROWS} furthest of {len(named)} names" in heat.note
    tables = {table.title: table for table in detail_tables(result)}
    family = tables[result.families["raw_features"].title]
    assert len(family.rows) == MOST_NAMES
    assert "The other 50 are nearer, and in monitor.json" in family.note


def test_tables_hold_the_numbers_with_a_mark_where_they_alarm():
    result = alarmed()
    tables = {table.title: {row[0]: row for row in table.rows} for table in detail_tables(result)}
    raw = tables[result.families["raw_features"].title]
    assert "▲" in raw["ROC_5"][2]
    assert "▲" not in "".join(raw["KMID"])
    assert tables["Realised RankIC"]["1d"][2] == fixed(result.rank_ic["1d"].mean, sign=True)


def labels(page: str) -> list[str]:
    return [unescape(label) for label in re.findall(r'<svg[^>]*aria-label="([^"]*)"', page)]


def test_every_chart_has_words_for_those_who_do_not_see_it():
    found = labels(page("alarmed"))
    assert len(found) == 14
    assert all(len(label.split()) > 3 for label in found)
    assert len(set(found)) == len(found)


def test_days_of_earlier_runs_are_drawn_from_the_history_and_another_models_are_not(tmp_path: Path):
    """A run may look at few days; the page shows the year that the history knows."""
    late, early = healthy(3, 5), healthy(3, 90)
    append_history(tmp_path / "ours", early)
    append_history(tmp_path / "theirs", replace(early, model="other"))
    ours, theirs = (stability_charts(late, append_history(tmp_path / of, late)) for of in ("ours", "theirs"))
    for with_past, without in zip(ours, theirs, strict=True):
        assert "Jul 2026" in with_past.svg
        assert "Jul 2026" not in without.svg


def test_a_bound_that_cannot_be_reached_is_not_drawn():
    """A short reference gives bounds far outside; on their scale the days would be a flat line."""
    known = healthy(2, 10)
    wide = tuple(replace(n, low=-8.0, high=9.0) for n in known.stability if n.name.startswith("rank_correlation"))
    (ranks, _) = stability_charts(replace(known, stability=wide), history_of(known))
    assert ranks.svg is not None
    assert "stroke: var(--bad)" not in ranks.svg
    (ranks, _) = stability_charts(known, history_of(known))
    assert ranks.svg is not None
    assert "stroke: var(--bad)" in ranks.svg


def test_runs_of_one_day_are_drawn_by_their_order_and_without_a_trend():
    known = healthy(2).memory
    svg = memory_chart(replace(known, slope=None, low=None, high=None, unavailable="all of one day")).svg
    assert svg is not None
    assert ">run</text>" in svg
    assert ">trend</text>" not in svg
    assert ">trend</text>" in (memory_chart(known).svg or "")


def test_whatever_is_told_is_escaped():
    known = replace(first_day(2), alarms=alarmed().alarms)
    shifts = tuple(replace(s, name=f"feature {HOSTILE}") for s in known.families["raw_features"].shifts)
    families: Any = {**known.families, "raw_features": FamilyResult(HOSTILE, shifts)}
    alarms = (replace(known.alarms[0], name=HOSTILE, sentence=f"sentence {HOSTILE}"),)
    result = replace(
        known, run=f"run {HOSTILE}", source=f"source {HOSTILE}", families=families, alarms=alarms,
        rules=(f"rule {HOSTILE}",), warnings=(f"warning {HOSTILE}",), command=f"command {HOSTILE}",
    )  # fmt: skip
    drawn = page_of(result)
    assert "<img" not in drawn
    text = ParsedPage(drawn).text
    for place in ("run", "source", "sentence", "rule", "warning", "command", "feature"):
        assert f"{place} {HOSTILE}" in text, place
