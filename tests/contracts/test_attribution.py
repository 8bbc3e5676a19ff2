"""What the attribution compares: networks that differ in the part in question alone, judged as `atft validate` does."""

import argparse
import json
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from atft_gat_fan.config.improvements import resolve
from atft_gat_fan.config.load import load_config, overridden
from atft_gat_fan.config.schema import SyntheticConfig
from atft_gat_fan.data.sources.synthetic import synthetic_panel
from atft_gat_fan.errors import ConfigError, DataError
from atft_gat_fan.validation.arms import ALL, BASELINE, WITHOUT
from benchmarks import attribution, attribution_page
from benchmarks.attribution import COMPONENTS, NAMES, SKIP, arms_of, figures, to_json
from benchmarks.attribution_page import build_page
from benchmarks.ranking_plan import FOLDS
from tests.contracts.test_ranking import KEYS
from tests.pages import ParsedPage
from tests.validation.examples import example, improvement

READS = {
    "lstm": lambda config: config.model.temporal.encoder != "none",
    "attention": lambda config: config.model.attention.enabled,
    "graph": lambda config: config.model.gat.enabled,
    "fan": lambda config: config.model.fan.enabled,
}


def test_every_arm_has_just_the_parts_it_is_named_after() -> None:
    config, arms = load_config(["data=nasdaq", "data.source=x"]), arms_of(COMPONENTS)
    of_arm = {BASELINE: set(), ALL: set(NAMES)} | {name: {name} for name in NAMES}
    of_arm |= {f"{WITHOUT}{name}": set(NAMES) - {name} for name in NAMES}
    overrides = {BASELINE: ()} | {arm.name: arm.overrides for arm in (*arms.variants, *arms.without)}
    assert overrides.keys() == of_arm.keys()
    for name, parts in of_arm.items():
        arm = overridden(config, (*arms.baseline, *overrides[name]))
        assert {part for part, reads in READS.items() if reads(arm)} == parts
        assert arm.model.same_day_skip is bool(parts - {"graph"})
        resolve(arm)
        changed = {key.partition("=")[0] for key in (*arms.baseline, *overrides[name])}
        assert changed == {key.partition("=")[0] for each in COMPONENTS for key in (*each.on, *each.off)} | {SKIP}


def test_some_parts_alone_are_compared_without_the_others() -> None:
    arms = arms_of(COMPONENTS[:2])
    assert [arm.name for arm in arms.variants] == ["lstm", "attention", ALL]
    assert arms.without == ()
    assert [arm.name for arm in arms_of(COMPONENTS[:1]).variants] == ["lstm"]
    config = overridden(load_config([]), (*arms.baseline, *arms.variants[-1].overrides))
    assert not READS["graph"](config)


def found():
    added = {name: improvement(name, 0.001 * k, "helps" if k else "neutral") for k, name in enumerate((*NAMES, ALL))}
    contributed = {name: improvement(name, -0.001, "hurts") for name in NAMES}
    return example(improvements=added, contributions=contributed)


def test_the_page_and_the_table_say_what_was_measured() -> None:
    result = found()
    page = ParsedPage(build_page(result, NAMES))
    assert page.tags.count("svg") == 4
    assert "attention, graph, fan" in page.text
    assert "over the same-day network at 1d" in page.text.lower()
    assert not any(value.startswith("http") for value in (*page.values("href"), *page.values("src")))
    rows = {figure.what: figure for figure in figures(result)}
    assert rows["fan over the same-day network, ΔRankIC@1d"].measured.endswith(": helps")
    assert "graph over all the others, ΔRankIC@5d" in rows
    assert not any(figure.target for figure in rows.values())
    parts = json.loads(json.dumps(to_json(result)))["parts"]
    assert parts["fan"]["added"]["delta_rank_ic"]["1d"]["p_equivalence"] is not None
    assert parts["fan"]["contributed"]["verdict"] == "hurts"
    assert parts[ALL]["contributed"] is None


def test_a_page_without_contributions_says_so() -> None:
    result = example(improvements={"lstm": improvement("LSTM", 0.0, "neutral")}, contributions={})
    text = ParsedPage(build_page(result, NAMES)).text
    assert "fewer than three parts were compared" in text
    assert "no part is shown to change the RankIC" in text


@pytest.mark.slow
@pytest.mark.exhaustive
def test_parts_are_compared_and_what_is_finished_is_kept(tmp_path: Path) -> None:
    panel = tmp_path / "prices.parquet"
    synthetic_panel(SyntheticConfig(num_stocks=12, num_days=330)).write_parquet(panel)
    split = ["split.train_start=2015-06-01", "split.train_end=2015-10-30"]
    split += ["split.valid_end=2015-12-15", "split.test_end=2016-02-15", f"data.cache={tmp_path / 'cache'}"]
    parsed = argparse.Namespace(
        panel=panel,
        fold="B",
        out=tmp_path / "out",
        seeds=1,
        recipe=KEYS,
        only=["lstm"],
        overrides=split,
        quick=True,
    )
    prepared = attribution.plan(parsed)
    assert len(prepared.trials) == 2
    result = attribution.measure(prepared, Console(quiet=True))
    assert result.baseline.label_transform == "rank"
    finished = {file: file.stat().st_mtime_ns for file in tmp_path.rglob("trial.json")}
    assert len(finished) == 2
    assert attribution.measure(attribution.plan(parsed), Console(quiet=True)).improvements == result.improvements
    assert {file: file.stat().st_mtime_ns for file in tmp_path.rglob("trial.json")} == finished
    assert json.loads((prepared.folder / attribution.VALUES).read_text())["parts"].keys() == {"lstm"}
    assert "What each part of the network adds" in (prepared.folder / attribution.PAGE).read_text()


@pytest.mark.parametrize(
    "keys",
    [
        ["split.test_end=2017-12-31"],
        ["split.test_end=null"],
        ["split.valid_end=2016-11-30", "split.test_end=2017-01-03"],
    ],
    ids=str,
)
def test_the_test_days_have_no_other_name(keys: list[str], tmp_path: Path) -> None:
    """Keys of one's own come after the fold's dates."""
    asked = argparse.Namespace(
        panel=tmp_path / "nasdaq_2003_2017.parquet",
        fold="B",
        out=tmp_path / "out",
        seeds=1,
        recipe=["config=atft/train/ranking"],
        only=["lstm"],
        overrides=keys,
        quick=False,
    )
    with pytest.raises(ConfigError, match="those after it are the test"):
        attribution.plan(asked)
    asked.overrides = []
    with pytest.raises(DataError):  # There is no such file: these days may be read.
        attribution.plan(asked)


def test_other_horizons_are_marked_by_the_rule_of_the_verdict_not_by_the_interval() -> None:
    """The interval leaves 0 out; the p, of all tests together, does not."""
    known = improvement("LSTM", 0.01, "helps")
    tight = replace(known.delta_rank_ic["5d"], low=0.002, high=0.018, p=0.2, p_equivalence=1.0)
    both = {"1d": replace(known.delta_rank_ic["1d"], p=0.2), "5d": tight}
    result = example(improvements={"lstm": replace(known, delta_rank_ic=both)}, contributions={})
    first, second = attribution_page._charts(result.improvements, ("1d", "5d"), result.set_up.level)
    assert "var(--accent)" in (first.svg or "")
    assert "var(--accent)" not in (second.svg or "")


def test_the_test_days_are_not_for_choosing_parts() -> None:
    with pytest.raises(SystemExit):
        attribution._parser().parse_intermixed_args(["--panel", "x", "--fold", "test"])
    assert FOLDS["B"].test_end <= FOLDS["test"].train_end
