"""The page says what was measured and nothing else, needs nothing else, and escapes what it is given."""

import json
import re
from dataclasses import replace
from html import unescape
from typing import Any, get_args

import pytest

from atft_gat_fan.errors import DataError
from atft_gat_fan.validation.headline import short
from atft_gat_fan.validation.report import build_report
from atft_gat_fan.validation.result import (
    DeltaRankIC,
    DivergenceResult,
    RatioResult,
    ValidationResult,
    Verdict,
)
from tests.pages import ParsedPage
from tests.validation.examples import SEEDS, example

HOSTILE = '<img src=x onerror="alert(1)">&$x$'
NO_RATIO = RatioResult(None, None, None, 0, None, None)


def page_of(result: ValidationResult) -> str:
    """By way of the text of validation.json."""
    return build_report(json.loads(json.dumps(result.to_json(), allow_nan=False)))


def unmeasured() -> ValidationResult:
    """Nothing but a mean of too few days."""
    no_divergence = DivergenceResult(0, 0, 0, 0, 0, None, None, None, None)
    known = example()
    improvements = {
        name: replace(
            each,
            delta_rank_ic={"1d": DeltaRankIC(0.0123, None, None, None)},
            divergence=no_divergence,
            time=NO_RATIO,
            memory=NO_RATIO,
            verdict="underpowered",
        )
        for name, each in known.improvements.items()
    }
    targets = {
        name: replace(target, measured=None, low=None, high=None, reached=None)
        for name, target in known.targets.items()
    }
    set_up = replace(known.set_up, parameters=None, failed_trials=(), full=False)
    baseline = replace(
        known.baseline, seconds=None, samples_per_second=None, peak_private_bytes=None, divergence_rate=None
    )
    return replace(known, improvements=improvements, targets=targets, set_up=set_up, baseline=baseline, gates=())


def section(page: str, name: str) -> str:
    found = re.search(rf'<section[^>]* id="{name}">.*?</section>', page, re.DOTALL)
    assert found is not None, name
    return found.group()


def rows_of(markup: str) -> dict[str, list[str]]:
    """Cells by the name of their row, of all tables of the markup; of rows named alike, the first."""
    rows: dict[str, list[str]] = {}
    for row in re.findall(r'<tr[^>]*><th scope="row">(.*?)</tr>', markup, re.DOTALL):
        name, *cells = (unescape(re.sub(r"<[^>]*>", "", cell)) for cell in re.split(r"</th>|</td>", row)[:-1])
        rows.setdefault(name, cells)
    return rows


@pytest.fixture(scope="module")
def page() -> str:
    return page_of(example())


def test_every_section_is_there_in_order(page: str) -> None:
    sections = ["verdict", "reach", "rank-ic", "costs", "verdicts", "measured", "reproduce"]
    assert [value for value in ParsedPage(page).values("id") if value in sections] == sections


def test_it_loads_nothing_and_runs_nothing(page: str) -> None:
    assert not re.search(r"https?:|@import|url\((?!#)", page)
    parsed = ParsedPage(page)
    assert not {"script", "link", "img", "iframe", "object"} & set(parsed.tags)
    assert not [name for name, _ in parsed.attributes if name.startswith("on")]
    assert all(value.startswith("#") for name in ("href", "src", "xlink:href") for value in parsed.values(name))


def test_it_is_small_and_the_same_each_time_with_or_without_json(page: str) -> None:
    assert len(page.encode()) < 500_000
    assert build_report(example().to_json()) == page


def test_whatever_is_told_is_escaped() -> None:
    known = example()
    hostile = replace(
        known.improvements["huber_loss"],
        title=f"title {HOSTILE}",
        reason=f"reason {HOSTILE}",
        notes=(f"note {HOSTILE}",),
    )
    set_up = replace(known.set_up, command=f"command {HOSTILE}", failed_trials=(f"failed {HOSTILE}",))
    page = page_of(replace(known, improvements={"huber_loss": hostile}, set_up=set_up, rules=(f"rule {HOSTILE}",)))
    assert "<img" not in page
    text = ParsedPage(page).text
    for place in ("Title", "reason", "note", "command", "failed", "rule"):
        assert f"{place} {HOSTILE}" in text, place


@pytest.mark.parametrize(
    ("verdict", "words"),
    [
        ("helps", "All improvements together rank stocks better"),
        ("neutral", "no better and no worse"),
        ("hurts", "All improvements together rank stocks worse"),
        ("underpowered", "This run cannot tell whether all improvements together"),
    ],
)
def test_the_headline_is_the_verdict_on_all_together(verdict: Verdict, words: str) -> None:
    known = example()
    improvements = {**known.improvements, "all": replace(known.improvements["all"], verdict=verdict)}
    card = section(page_of(replace(known, improvements=improvements)), "verdict")
    assert words in card
    assert [w for w in get_args(Verdict) if f"<b>{w}</b>" in card.rpartition("All of them</dt>")[2]] == [verdict]


def test_one_improvement_is_judged_by_itself_and_several_without_all_are_not() -> None:
    known = example().improvements
    one = section(page_of(example(improvements={"use_ema": known["use_ema"]})), "verdict")
    assert "EMA teacher ranks stocks better than the baseline." in one
    two = section(page_of(example(improvements={n: known[n] for n in ("use_ema", "huber_loss")})), "verdict")
    assert "2 improvements were compared with the baseline, but not all of them together." in two
    assert "Nothing was compared" in page_of(example(improvements={}, targets={}))


def test_each_improvement_stands_with_its_verdict_reason_and_notes(page: str) -> None:
    card = ParsedPage(section(page, "verdict")).text
    for each in example().improvements.values():
        assert f"{short(each.title)} {each.verdict} : {each.reason}" in card
    assert "No decoy edges in this configuration." in card
    assert "Helps alone: EMA teacher, Multi-horizon Huber loss." in card
    assert "Not decided: GAT temperature, FreqDropout." in card


def test_the_table_of_verdicts_holds_the_numbers() -> None:
    known = example().improvements["use_ema"]
    delta = DeltaRankIC(
        0.01234, -0.00123, 0.02345, p=0.0321, p_raw=0.0107, margin=0.003, minimum_detectable=0.0044, needed_days=1840
    )
    changed = replace(
        known,
        delta_rank_ic={"1d": delta},
        time=RatioResult(1.0625, 1.01, 1.1, 8, 40.0, 42.5),
        memory=RatioResult(0.981, 0.97, 0.99, 8, 2**29, 2**29),
    )
    rows = rows_of(section(page_of(example(improvements={"use_ema": changed})), "verdicts"))
    assert rows["EMA teacher"] == [
        "helps", "+0.0123", "−0.0012 to +0.0234", "0.032", "0.0044", "1,840", "no number",
        "30 → 10\u202f%", "−1.9\u202f%", "+6.2\u202f%",
    ]  # fmt: skip


def test_enough_is_said_only_where_the_margin_can_be_detected() -> None:
    known = example().improvements["use_ema"]

    def needed(minimum_detectable: float | None) -> list[str]:
        delta = replace(known.delta_rank_ic["1d"], minimum_detectable=minimum_detectable)
        alone = {"use_ema": replace(known, delta_rank_ic={"1d": delta})}
        return rows_of(section(page_of(example(improvements=alone)), "verdicts"))["EMA teacher"][5:7]

    assert needed(0.0029) == ["enough", "enough"]
    assert needed(0.0031) == ["1,840", "12"]
    assert needed(None) == ["–", "–"]


def test_no_difference_is_called_detectable_that_no_improvement_can_make() -> None:
    known = example().improvements["use_ema"]
    delta = replace(known.delta_rank_ic["1d"], minimum_detectable=1.7)
    page = page_of(example(improvements={"use_ema": replace(known, delta_rank_ic={"1d": delta})}))
    assert rows_of(section(page, "verdicts"))["EMA teacher"][4] == "none attainable"
    assert "1.7" not in page


def test_promises_stand_beside_what_was_measured(page: str) -> None:
    rows = rows_of(section(page, "costs"))
    assert rows["RankIC@1d"] == ["+0.01 … +0.02", "+0.0131", "+0.0098 to +0.0164", "reached"]
    assert rows["Diverged trainings"][1:] == ["−88.9\u202f%", "–", "not decided"]
    assert rows["Training time"][-1] == "missed"
    assert "Promises missed: Training time" in page
    assert rows_of(section(page_of(unmeasured()), "costs"))["Peak memory"][1:] == ["–", "–", "not measured"]


def test_a_failed_gate_is_said_at_the_top_and_one_that_held_only_below(page: str) -> None:
    card, measured = section(page, "verdict"), section(page, "measured")
    assert "Gate rank_ic_1d&gt;=0.02 failed" in card
    assert "time&lt;=0.2" not in card
    assert "time&lt;=0.2</code>: held" in measured


def test_what_was_not_measured_is_not_printed() -> None:
    page = page_of(unmeasured())
    text = ParsedPage(page).text
    assert not re.search(r"\bnan\b|\bNone\b|\bnull\b", text)
    assert section(page, "costs").count("<svg") == 0
    assert section(page, "costs").count("Not measured") == 3
    rows = rows_of(section(page, "verdicts"))
    assert {tuple(cells) for cells in rows.values()} == {("underpowered", "+0.0123", *("–",) * 8)}


def test_every_figure_has_its_numbers_in_words_and_in_tables(page: str) -> None:
    parsed, known = ParsedPage(page), example()
    figures = [label for label in parsed.values("aria-label") if "The tables of this page hold the numbers" in label]
    assert len(figures) == page.count("<svg") == 5 + 3
    first = next(label for label in figures if label.startswith("ΔRankIC@1d"))
    for each in known.improvements.values():
        assert short(each.title) in first
    assert "Baseline 30\u202f%" in next(label for label in figures if "diverged" in label)
    details = re.findall(r"<div>\n<h3>([^<]*)</h3>", section(page, "measured").partition("<details>")[2])
    assert details[:5] == [f"ΔRankIC@{h}d" for h in (1, 2, 3, 5, 10)]
    by_seed = [f'<th scope="col">seed {seed}</th>' for seed in SEEDS]
    assert all(page.count(column) == 5 for column in by_seed)


def test_baseline_and_run_are_declared(page: str) -> None:
    text = ParsedPage(section(page, "measured")).text
    for words in (
        "Loss mse", "Label transform (loss only) zscore", "gat_temperature 1.0", "0.0312 (95\u202f%: 0.0241 to 0.0383)",
        "612 in 2 folds", "2016-07-01 to 2017-12-29", "240 on the stress grid", "1, 2, 3, 4, 5", "2 cores, Linux",
        "neutral: equivalent within ±0.003.", "huber_loss/seed-3/fold-2: killed twice",
    ):  # fmt: skip
        assert " ".join(words.split()) in text, words
    assert "--full-test</pre>" in page


def test_intervals_are_named_by_the_level_of_the_tests() -> None:
    known = example()
    page = page_of(replace(known, set_up=replace(known.set_up, level=0.1)))
    assert "90\u202f%: +0.0098 to +0.0164" in page
    assert "95\u202f%" not in page


def test_contributions_have_a_figure_and_tables_of_their_own() -> None:
    known = example()
    page = page_of(replace(known, contributions={"use_ema": known.improvements["use_ema"]}))
    assert "ΔRankIC@1d, all minus all but this one" in section(page, "rank-ic")
    assert "<h3>Divergence, all minus all but this one</h3>" in page
    assert "all but this one" not in page_of(known)


def test_cuda_memory_is_shown_where_it_was_measured(page: str) -> None:
    known = example()
    cuda = replace(known.improvements["all"], cuda_memory=RatioResult(0.9, 0.8, 0.95, 8, 2**30, 2**30 * 0.9))
    with_cuda = page_of(replace(known, improvements={**known.improvements, "all": cuda}))
    assert "Peak CUDA memory" in section(with_cuda, "costs")
    assert "CUDA" not in page


@pytest.mark.parametrize(
    ("place", "change"),
    [
        ("days", lambda json: json.pop("days")),
        ("improvements.use_ema.verdict", lambda json: json["improvements"]["use_ema"].update(verdict="great")),
        ("baseline.loss", lambda json: json["baseline"].update(loss=None)),
    ],
)
def test_a_file_that_is_none_is_refused_by_the_name_of_the_key(place: str, change: Any) -> None:
    broken = json.loads(json.dumps(example().to_json()))
    change(broken)
    with pytest.raises(DataError, match=rf"validation\.json.*\[{place}\]"):
        build_report(broken)
