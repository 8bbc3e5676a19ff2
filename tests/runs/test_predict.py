"""A prediction of some days: what it depends on, what it does not, and what it tells of who was left out."""

from datetime import date, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from atft_gat_fan.config.schema import GraphConfig, SyntheticConfig
from atft_gat_fan.data.conversion import cached_store
from atft_gat_fan.data.excerpt import first_needed
from atft_gat_fan.data.sources.synthetic import synthetic_panel
from atft_gat_fan.errors import DataError, StorageError
from atft_gat_fan.inference.asked_days import AskedDays
from atft_gat_fan.runs import prediction_store
from atft_gat_fan.runs.members import load_members
from tests.runs.predicting import predicted, untrained_run

NEWEST = AskedDays(newest=True)
PRICES = ["Open", "High", "Low", "Close"]


@pytest.fixture(scope="module")
def panel() -> pl.DataFrame:
    return synthetic_panel(SyntheticConfig(num_stocks=20, num_days=240, signal=0.4))


@pytest.fixture(scope="module")
def days(panel: pl.DataFrame) -> list[date]:
    return panel["Date"].unique().sort().to_list()


@pytest.fixture(scope="module")
def run(panel: pl.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return untrained_run(tmp_path_factory.mktemp("run") / "run", panel)


@pytest.fixture(scope="module")
def whole(run: Path, panel: pl.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> pl.DataFrame:
    return predicted(run, panel, AskedDays(), tmp_path_factory.mktemp("whole"))[0]


def on(table: pl.DataFrame, first: date, last: date | None = None) -> pl.DataFrame:
    return table.filter(pl.col("date").is_between(first, last or first))


def one(day: date) -> AskedDays:
    return AskedDays(day, day)


def convert_all(run: Path, source: Path, cache: Path) -> None:
    """Put the store of a whole panel into the cache."""
    (member,) = load_members([run])
    cached_store(member.recipe(str(source), cache), lambda stage, share: None, need_labels=False)


@pytest.mark.parametrize(
    ("first", "last"), [(239, 239), (150, 150), (190, 205), (19, 19), (0, 22)], ids=lambda position: f"day {position}"
)
def test_some_days_have_the_bits_of_all(run, panel, days, whole, tmp_path, first, last):
    table, facts = predicted(run, panel, AskedDays(days[first], days[last]), tmp_path)
    assert table.equals(on(whole, days[first], days[last]))
    assert facts["rows"] == table.height > 0
    assert facts["days_without_window"] == max(0, 19 - first)
    assert {path.name for path in (tmp_path / "cache").iterdir()} == {"graphs", "predictions"}
    assert not list((tmp_path / "cache" / "predictions").iterdir()), "what was converted for it is gone"


def test_the_newest_day_is_that_of_the_panel(run, panel, days, whole, tmp_path):
    table, facts = predicted(run, panel, NEWEST, tmp_path)
    assert table.equals(on(whole, days[-1]))
    assert (facts["days"], facts["first"], facts["last"]) == (1, str(days[-1]), str(days[-1]))
    assert set(facts["seconds"]) == {"load", "data", "graph", "score", "write"}


def test_a_day_depends_on_the_days_it_needs_alone(run, panel, days, whole, tmp_path):
    """Other prices before those and after the day itself, or none: the same bits."""
    day = 200
    first = first_needed(np.array(days, dtype="datetime64[D]"), day, 20, GraphConfig())
    assert 0 < first < day - 60
    needed = pl.col("Date").is_between(days[first], days[day])
    table, _ = predicted(run, panel.filter(needed), NEWEST, tmp_path / "alone")
    assert table.equals(on(whole, days[day]))
    noise = pl.col("Close").hash(3) % 97 / 97 + 0.5
    others = panel.with_columns(
        *(pl.when(needed).then(pl.col(name)).otherwise(pl.col(name) * noise) for name in PRICES),
        pl.when(needed).then("Volume").otherwise(pl.col("Volume") * 3),
    )
    table, _ = predicted(run, others, one(days[day]), tmp_path / "others")
    assert table.equals(on(whole, days[day]))


def test_the_oldest_of_the_days_it_needs_does_matter(run, panel, days, whole, tmp_path):
    """The bound is no larger than it must be, where the graph decides: its lookback and five missing prices before."""
    day = 200
    first = first_needed(np.array(days, dtype="datetime64[D]"), day, 20, GraphConfig())
    assert first == first_needed(np.array(days, dtype="datetime64[D]"), day, 20, None), "here the features decide"
    shorter = panel.filter(pl.col("Date").is_between(days[first + 25], days[day]))
    table, _ = predicted(run, shorter, NEWEST, tmp_path)
    assert not table.equals(on(whole, days[day]))


def test_neither_the_order_of_rows_and_columns_nor_other_columns_matter(run, panel, days, whole, tmp_path):
    shuffled = (
        panel.with_columns(unheard_of=1.0, target_1d=pl.lit("text"), note=pl.lit("x"))
        .drop("target_1d")
        .select(sorted([*panel.columns, "unheard_of", "note"], reverse=True))
        .sample(fraction=1.0, shuffle=True, seed=1)
    )
    table, _ = predicted(run, shuffled, one(days[-3]), tmp_path)
    assert table.equals(on(whole, days[-3]))


def test_the_same_rows_in_other_files_and_types_are_the_same(run, panel, days, whole, tmp_path):
    csv = tmp_path / "panel.csv"
    panel.write_csv(csv)
    table, _ = predicted(run, csv, one(days[-2]), tmp_path / "csv")
    assert table.equals(on(whole, days[-2]))
    folder = tmp_path / "folder"
    folder.mkdir()
    typed = panel.with_columns(pl.col("Date").cast(pl.String), pl.col("Code").cast(pl.Categorical))
    for number, part in enumerate((typed[:3000], typed[3000:])):
        part.write_parquet(folder / f"{number}.parquet")
    table, _ = predicted(run, folder, one(days[-2]), tmp_path / "typed")
    assert table.equals(on(whole, days[-2]))


def test_a_stock_keeps_its_first_category_though_it_was_long_before(run, panel, days, tmp_path, monkeypatch):
    """As in the store of the whole panel: a later category was not known before, and is not taken for the first."""
    code, other = panel["Code"][0], panel["sector33"].unique().sort()[-1]
    assert panel["sector33"][0] != other
    later = (pl.col("Code") == code) & (pl.col("Date") > days[50])
    moved = panel.with_columns(pl.when(later).then(pl.lit(other)).otherwise("sector33").alias("sector33"))
    table, _ = predicted(run, moved, NEWEST, tmp_path / "excerpt")
    monkeypatch.setattr(prediction_store, "WHOLE", 0.0)
    of_whole, _ = predicted(run, moved, NEWEST, tmp_path / "whole")
    assert table.equals(of_whole)


def test_a_store_that_is_there_is_read_and_an_outdated_one_is_not(run, panel, days, whole, tmp_path, monkeypatch):
    predicted(run, panel, one(days[-4]), tmp_path)
    convert_all(run, tmp_path / "now.parquet", tmp_path / "cache")
    monkeypatch.setattr(prediction_store, "convert", lambda *_, **__: pytest.fail("converted again"))
    table, _ = predicted(run, panel, one(days[-4]), tmp_path)
    assert table.equals(on(whole, days[-4]))
    monkeypatch.undo()
    corrected = panel.with_columns(pl.when(pl.col("Date") == days[-4]).then(pl.col("Close") * 1.1).otherwise("Close"))
    table, _ = predicted(run, corrected, one(days[-4]), tmp_path)
    assert not table.equals(on(whole, days[-4]))


def strangers(panel: pl.DataFrame, days: list[date]) -> pl.DataFrame:
    """New: never seen, in a category never seen. Listed: four days ago. Today: its first day. Away: not on the last
    day, but shortly before. Back: after eight days away. Gone: long ago.
    """
    steady = panel.group_by("Code").len().filter(pl.col("len") == len(days))["Code"].sort()
    model = panel.filter(Code=steady[0])
    return pl.concat(
        [
            panel,
            model.with_columns(Code=pl.lit("NEW"), sector33=pl.lit("unheard of")),
            model.filter(pl.col("Date") >= days[-4]).with_columns(Code=pl.lit("LISTED")),
            model.filter(pl.col("Date") >= days[-1]).with_columns(Code=pl.lit("TODAY")),
            model.filter(pl.col("Date") < days[-1]).with_columns(Code=pl.lit("AWAY")),
            model.filter(~pl.col("Date").is_between(days[-10], days[-3])).with_columns(Code=pl.lit("BACK")),
            model.filter(pl.col("Date") < days[-100]).with_columns(Code=pl.lit("GONE")),
        ]
    )


def test_whoever_is_there_is_scored_and_who_is_not_is_counted(run, panel, days, tmp_path):
    more = strangers(panel, days)
    table, facts = predicted(run, more, NEWEST, tmp_path)
    there = set(more.filter(Date=days[-1])["Code"])
    assert set(table["code"]) == there
    assert {"NEW", "LISTED", "TODAY", "BACK"} <= there
    assert there.isdisjoint({"AWAY", "GONE"})
    assert table.drop("date", "code").null_count().sum_horizontal().item() == 0
    assert table.select(pl.col("^horizon.*$").is_finite().all()).row(0) == (True, True)
    assert sorted(table["rank_1d"]) == list(range(1, table.height + 1))
    left = panel.filter(pl.col("Date").is_between(days[-20], days[-2]))["Code"].unique()
    absent = len({*left, "AWAY"} - there)
    assert facts["left_out"] == {"no_row_that_day": absent, "score_not_finite": 0, "not_scored_by_every_model": 0}
    assert facts["coverage"] == pytest.approx(len(there) / (len(there) + absent))
    window = more.filter(pl.col("Date") >= days[-20]).group_by("Code").len()
    short = set(window.filter(pl.col("len") < 20)["Code"]) & there
    assert {"LISTED", "TODAY", "BACK"} <= short
    assert facts["scored_on_little"] == {
        "short_history": len(short),
        "few_features": 3,  # those of LISTED, TODAY and BACK reach back too far
        "unknown_category": 1,
    }


def test_a_category_never_seen_is_one_that_is_not_known(run, panel, days, tmp_path):
    code = panel.filter(Date=days[-1])["Code"][0]

    def scores(category: str | None) -> pl.DataFrame:
        its = pl.when(pl.col("Code") == code).then(pl.lit(category, pl.String)).otherwise("sector33").alias("sector33")
        table, facts = predicted(run, panel.with_columns(its), NEWEST, tmp_path / str(category))
        assert facts["scored_on_little"]["unknown_category"] == 1
        return table

    assert scores("unheard of").equals(scores(None))


def test_a_day_without_prices_is_scored_and_that_is_said(run, panel, days, tmp_path):
    today = pl.col("Date") == days[-1]
    blank = panel.with_columns(pl.when(~today).then(pl.col(name)).alias(name) for name in [*PRICES, "Volume"])
    table, facts = predicted(run, blank, NEWEST, tmp_path)
    assert facts["scored_on_little"]["few_features"] == table.height == panel.filter(Date=days[-1]).height


def test_a_session_without_rows_is_named_and_windows_count_the_days_that_there_are(run, panel, days, tmp_path):
    lost = days[-10]
    assert lost.weekday() < 5
    table, facts = predicted(run, panel.filter(pl.col("Date") != lost), NEWEST, tmp_path / "lost")
    assert table["date"].unique().to_list() == [days[-1]]
    assert any(
        f"no rows on 1 sessions of XNYS among the days looked at, last {lost}" in said for said in facts["warnings"]
    )
    _, facts = predicted(run, panel, NEWEST, tmp_path / "none")
    assert not any("sessions" in said for said in facts["warnings"])


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        (one(date(2015, 6, 6)), ["2015-06-06 (Saturday)", "ask for 2015-06-05 or 2015-06-08"]),
        (one(date(2031, 1, 1)), ["2031-01-01", "nearest of the days"]),
        (one(date(2015, 1, 5)), ["expected 19 days of the panel before 2015-01-05"]),
        (AskedDays(first=date(2030, 1, 1)), ["from 2030-01-01"]),
    ],
    ids=str,
)
def test_a_day_that_cannot_be_had_is_refused_with_the_nearest(run, panel, tmp_path, asked, says):
    for place in ("excerpt", "store"):
        source = panel if place == "excerpt" else tmp_path / "excerpt" / "now.parquet"
        if place == "store":
            convert_all(run, source, tmp_path / "store" / "cache")
        with pytest.raises(DataError, match=r"now\.parquet") as refused:
            predicted(run, source, asked, tmp_path / place)
        for words in says:
            assert words in str(refused.value)


def test_what_the_model_needs_and_the_panel_lacks_is_named(panel, days, tmp_path):
    ours = panel.select("Code", "Date", body=pl.col("Close") / pl.col("Open"), size="Volume", range="High", gap="Low")
    labelled = ours.with_columns(target_1d=pl.lit(0.01), target_5d=pl.lit(0.02))
    run = untrained_run(tmp_path / "run", labelled, "data.features=[body,size,range]")
    lacking = ours.drop("body").rename({"size": "sizes"})
    with pytest.raises(DataError) as refused:
        predicted(run, lacking, NEWEST, tmp_path / "lacking")
    assert "'body'" in str(refused.value)
    assert "'size'" in str(refused.value)
    assert "-> sizes" in str(refused.value)
    with pytest.raises(DataError, match=r"expected numbers, found text.*column size"):
        predicted(run, ours.with_columns(pl.col("size").cast(pl.String)), NEWEST, tmp_path / "text")
    table, _ = predicted(run, ours, NEWEST, tmp_path / "reference")
    others = ours.with_columns(gap=pl.lit("text"), more=1.0).select(
        "gap", "range", "more", "Date", "size", "body", "Code"
    )
    assert predicted(run, others, NEWEST, tmp_path / "others")[0].equals(table)


def test_prices_without_volumes_are_refused_by_the_features_that_need_them(run, panel, tmp_path):
    with pytest.raises(DataError, match=r"AMIHUD_20.*volume") as refused:
        predicted(run, panel.drop("Volume"), NEWEST, tmp_path)
    assert "DVOL_20" in str(refused.value)


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda p: p.with_columns(pl.col("Close").cast(pl.String)), "expected numbers, found text"),
        (lambda p: p.with_columns(Date=pl.lit(3)), "expected dates"),
        (lambda p: p.drop("Date"), "'Date'"),
        (lambda p: p.drop("Code"), "'Code'"),
        (lambda p: pl.concat([p, p.tail(2)]), "duplicates"),
        (lambda p: p.with_columns(pl.when(pl.col("Code") > "S").then(-1.0).alias("Close")), "positive"),
        (lambda p: p.with_columns(pl.col("Date").cast(pl.String).replace("2015-03-03", "soon")), "soon"),
        (lambda p: p.head(0), "found none"),
    ],
    ids=["text", "no dates", "no date", "no code", "duplicates", "negative", "one date", "empty"],
)
def test_a_panel_that_is_not_in_order_is_refused_as_a_whole_one_is(run, panel, tmp_path, spoil, says):
    with pytest.raises(DataError) as refused:
        predicted(run, spoil(panel.sort("Date")), NEWEST, tmp_path)
    assert says in str(refused.value)
    assert not (tmp_path / "scores.parquet").exists()


def test_a_problem_is_located_in_the_panel_not_in_the_excerpt(run, panel, days, tmp_path):
    ordered = panel.sort("Date", "Code")
    bad = ordered.with_row_index("row").filter(Date=days[-1])["row"][3]
    spoiled = ordered.with_columns(pl.when(pl.int_range(pl.len()) == bad).then(-1.0).otherwise("Close").alias("Close"))
    with pytest.raises(DataError, match=rf"now\.parquet, row group 0, row {bad}\b"):
        predicted(run, spoiled, NEWEST, tmp_path)


def test_the_model_alone_is_enough(run, panel, days, whole, tmp_path):
    """Its folder, copied elsewhere; the training's panel and cache are not looked for."""
    copied = tmp_path / "shipped"
    copied.mkdir()
    for file in (run / "model").iterdir():
        (copied / file.name).write_bytes(file.read_bytes())
    table, facts = predicted(copied, panel, NEWEST, tmp_path / "there")
    assert table.equals(on(whole, days[-1]))
    assert facts["models"] == {str(copied): facts["model"]}
    with pytest.raises(StorageError, match="trained model"):
        predicted(tmp_path / "nowhere", panel, NEWEST, tmp_path / "there")


def test_a_panel_that_grows_by_a_day_a_night_is_predicted_each_morning(run, panel, days, whole, tmp_path):
    for day in days[-3:]:
        table, _ = predicted(run, panel.filter(pl.col("Date") <= day), NEWEST, tmp_path)
        assert table.equals(on(whole, day))
    assert {path.name for path in (tmp_path / "cache").iterdir()} == {"graphs", "predictions"}


def test_days_on_which_nothing_was_traded_are_no_days_of_the_panel(run, panel, days, tmp_path):
    holiday = days[-1] + timedelta(days=1)
    with pytest.raises(DataError, match=rf"expected rows of {holiday}.*ask for {days[-1]}"):
        predicted(run, panel, one(holiday), tmp_path)
