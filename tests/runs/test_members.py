"""Several runs predict as one: the mean of their ranks, of models that rank the same."""

import json
from pathlib import Path

import polars as pl
import pytest

from atft_gat_fan.config.schema import SyntheticConfig
from atft_gat_fan.data.sources.synthetic import synthetic_panel
from atft_gat_fan.errors import ConfigError, DataError, StorageError
from atft_gat_fan.inference.asked_days import AskedDays
from atft_gat_fan.inference.ensemble import mean_of_ranks
from atft_gat_fan.runs import prediction_store
from atft_gat_fan.runs.members import fingerprint, load_members
from tests.runs.predicting import predicted, untrained_run

NEWEST = AskedDays(newest=True)


@pytest.fixture(scope="module")
def panel() -> pl.DataFrame:
    return synthetic_panel(SyntheticConfig(num_stocks=12, num_days=200))


@pytest.fixture(scope="module")
def run_of(panel: pl.DataFrame, tmp_path_factory: pytest.TempPathFactory):
    """Runs by name, made once: `run_of(name, *overrides)`."""
    root, made = tmp_path_factory.mktemp("runs"), {}

    def run(name: str, *overrides: str) -> Path:
        if name not in made:
            made[name] = untrained_run(root / name, panel, *overrides)
        return made[name]

    return run


@pytest.fixture
def pair(run_of) -> list[Path]:
    return [run_of("one", "seed=1"), run_of("two", "seed=2")]


def test_it_is_the_mean_of_their_ranks_from_one_reading_of_the_panel(pair, panel, tmp_path, monkeypatch):
    singles = [predicted(run, panel, NEWEST, tmp_path / run.name)[0] for run in pair]
    assert not singles[0]["rank_1d"].equals(singles[1]["rank_1d"])
    conversions = []
    convert = prediction_store.convert
    monkeypatch.setattr(prediction_store, "convert", lambda *a, **k: conversions.append(1) or convert(*a, **k))
    table, facts = predicted(pair, panel, NEWEST, tmp_path / "together")
    assert table.equals(mean_of_ranks(singles, (1, 5)))
    assert conversions == [1]
    footer = pl.read_parquet_metadata(tmp_path / "together" / "scores.parquet")
    of_each = [member.bundle.fingerprint for member in load_members(pair)]
    assert json.loads(footer["models"]) == of_each
    assert footer["model"] == facts["model"] == fingerprint(load_members(pair[::-1]))
    assert facts["model"] not in of_each
    assert facts["left_out"]["not_scored_by_every_model"] == 0


def test_the_order_of_the_runs_does_not_show_in_the_table(pair, panel, tmp_path):
    one, other = (predicted(runs, panel, NEWEST, tmp_path / name)[0] for name, runs in (("a", pair), ("b", pair[::-1])))
    assert one.equals(other)


def test_what_one_of_them_cannot_score_is_counted(run_of, panel, tmp_path):
    """The longer window has fewer days with a whole one, and a store of its own."""
    runs = [run_of("one", "seed=1"), run_of("long", "data.window=40")]
    days = panel["Date"].unique().sort()
    table, facts = predicted(runs, panel, AskedDays(days[30], days[45]), tmp_path / "some")
    assert table["date"].unique().sort().to_list() == days[39:46].to_list()
    early = panel.filter(pl.col("Date").is_between(days[30], days[38])).height
    assert facts["left_out"]["not_scored_by_every_model"] == early
    assert facts["days_without_window"] == 9
    with pytest.raises(DataError, match=r"now\.parquet.*39 days"):
        predicted(runs, panel, AskedDays(days[30], days[30]), tmp_path / "none")


@pytest.mark.parametrize(
    ("name", "override", "says"),
    [
        ("other horizons", "data.horizons=[1,2]", r"data\.horizons \[1, 5\] there, \[1, 2\] here"),
        ("other stocks", "data.codes=['S*1','S*2','S*3']", r"data\.codes None there"),
    ],
)
def test_models_that_rank_something_else_are_refused(run_of, panel, tmp_path, name, override, says):
    runs = [run_of("one", "seed=1"), run_of(name, override)]
    with pytest.raises(ConfigError, match=says):
        predicted(runs, panel, NEWEST, tmp_path)


def test_one_model_does_not_count_twice(pair, panel, tmp_path):
    with pytest.raises(ConfigError, match=r"different models.*name each run once"):
        predicted([*pair, pair[0] / "model"], panel, NEWEST, tmp_path)


def test_a_run_without_a_model_is_named(pair, panel, tmp_path):
    with pytest.raises(StorageError, match="unheard"):
        predicted([pair[0], tmp_path / "unheard"], panel, NEWEST, tmp_path)


def test_a_stock_asked_for_by_name_may_have_left_before_the_days_that_are_needed(panel, tmp_path):
    days = panel["Date"].unique().sort()
    gone = panel.filter(Code=panel["Code"][0]).filter(pl.col("Date") < days[60]).with_columns(Code=pl.lit("GONE"))
    panel = pl.concat([panel, gone])
    run = untrained_run(tmp_path / "run", panel, "data.codes=['*1','GONE']")
    table, _ = predicted(run, panel, NEWEST, tmp_path)
    there = panel.filter((pl.col("Date") == days[-1]) & pl.col("Code").str.ends_with("1"))["Code"].sort()
    assert table["code"].to_list() == there.to_list() != []
