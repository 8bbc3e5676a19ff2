"""The tables, the summary and the page hold what was found, and say what was not asked for or is not there."""

import json
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch

from atft_gat_fan.data.durable_files import strict_json
from atft_gat_fan.inference.explain import explain_days
from atft_gat_fan.inference.explain_report import build_page
from atft_gat_fan.inference.explanation_files import (
    Explained,
    Names,
    neighbour_table,
    stock_table,
    summary,
    universe_table,
)
from atft_gat_fan.inference.permutation import permutation_importance
from atft_gat_fan.inference.stock_explanation import explain_stock
from tests.inference import examples
from tests.pages import ParsedPage

HOSTILE = '<img src=x onerror="alert(1)">'
DAYS = np.arange(30, 40)
POSITION = 4


def explained(folder, *, full: bool = True, **changes) -> Explained:
    model = examples.network(**changes)
    data = examples.batches(examples.store(folder, examples.frame()), graph=model.spec.gat_heads > 0)
    over_time, day = explain_days(model, data, DAYS)
    batch = data.to_device(data.canonical(int(DAYS[-1])), torch.device("cpu"))
    return Explained(
        run=f"run {HOSTILE}",
        model="0123456789abcdef",
        source="panel.parquet",
        names=Names(examples.NORMALIZER.feature_names, examples.HORIZONS, examples.WINDOW, data.store.codes),
        over_time=over_time,
        day=day,
        permutation=permutation_importance(model, data, DAYS[::3], [1, 0], seed=1) if full else None,
        stock=POSITION if full else None,
        about=explain_stock(model, batch, POSITION) if full else None,
    )


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Explained:
    return explained(tmp_path_factory.mktemp("store") / "s")


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Explained:
    return explained(tmp_path_factory.mktemp("store") / "s", full=False, gat_heads=0, fan_top_k=0)


def test_the_universe_has_a_row_a_day_and_item(whole: Explained) -> None:
    table = universe_table(whole)
    assert table.schema == {
        "date": pl.Date, "part": pl.String, "item": pl.String, "mean": pl.Float64, "std": pl.Float64,
    }  # fmt: skip
    assert table.select("date", "part", "item").is_unique().all()
    assert table["date"].n_unique() == len(DAYS)
    bins = examples.WINDOW // 2 + 1
    sizes = {
        "variable_weight": 3, "attention": examples.WINDOW, "frequency_taken": bins, "frequency_energy": bins,
        "frequency_removed": bins, "graph": 4,
    }  # fmt: skip
    counts = dict(table.group_by("part").len().iter_rows())
    assert counts == {part: size * len(DAYS) for part, size in sizes.items()}
    sums = table.filter(part="variable_weight").group_by("date").agg(pl.col("mean").sum())["mean"]
    np.testing.assert_allclose(sums, 1.0, atol=1e-6)
    assert not table.select(pl.col("mean", "std").is_nan().any()).row(0)[0]
    newest = table.filter(pl.col("date") == table["date"].max(), part="attention", item="0")["mean"].item()
    assert newest == whole.day.attention[:, -1].mean(), "lag 0 is the predicted day"


def test_every_stock_and_edge_of_the_day_has_its_rows(whole: Explained) -> None:
    stocks, edges = stock_table(whole), neighbour_table(whole)
    codes = [whole.code(position) for position in range(len(whole.day.stocks))]
    assert stocks["code"].unique(maintain_order=True).to_list() == codes
    score = stocks.filter(code=codes[POSITION], part="score")
    assert score["item"].to_list() == ["1d", "3d"]
    assert score["value"].cast(pl.Float32).to_list() == whole.day.scores[POSITION].tolist()
    sums = edges.group_by("code").agg(pl.col("weight").sum())["weight"]
    np.testing.assert_allclose(sums, 1.0, atol=1e-6)
    own = edges.filter(slot=0)
    assert (own["code"] == own["neighbour"]).all()
    assert (own["correlation"] == 1).all()
    assert set(edges["code"]) == set(codes)


def test_the_summary_is_json_of_the_documented_form(whole: Explained, bare: Explained) -> None:
    found = json.loads(strict_json(summary(whole)))
    keys = {
        "format", "run", "model", "source", "date", "first", "days", "stocks", "horizons", "window", "variables",
        "attention_by_lag", "frequencies", "graph", "permutation", "stock", "blend",
    }  # fmt: skip
    assert found.keys() == keys
    assert sum(variable["weight"] for variable in found["variables"].values()) == pytest.approx(1)
    assert sum(found["attention_by_lag"].values()) == pytest.approx(1)
    bins = found["frequencies"]["bins"]
    assert [each["period_days"] for each in bins] == [None, 8, 4, 8 / 3, 2]
    assert sum(each["removed"] for each in bins) == pytest.approx(found["frequencies"]["removed"])
    stock = found["stock"]
    assert stock["code"] == whole.code(POSITION)
    neighbours = stock["neighbours"]
    assert neighbours[0]["code"] == stock["code"]
    assert sum(each["weight"] for each in neighbours) == pytest.approx(1)
    assert [each["weight"] for each in neighbours[1:]] == sorted((e["weight"] for e in neighbours[1:]), reverse=True)
    assert list(found["permutation"]["features"]) == ["f1", "f0"]
    rank = stock["rank"]["1d"]
    assert rank == 1 + int((whole.day.scores[:, 0] > whole.day.scores[POSITION, 0]).sum())
    assert found["blend"] is None
    little = json.loads(strict_json(summary(bare)))
    assert little.keys() == keys
    nothing = {key for key, value in little.items() if value is None}
    assert nothing == {
        "frequencies", "graph", "permutation", "stock", "blend",
    }  # fmt: skip


def test_the_page_is_one_file_with_everything_on_it(whole: Explained) -> None:
    content = build_page(whole, "atft explain run")
    page = ParsedPage(content)
    assert page.tags.count("svg") == 13
    assert not {"script", "img", "link", "iframe"} & set(page.tags)
    assert all(value.startswith("#") for name in ("src", "href") for value in page.values(name))
    for words in (
        HOSTILE,
        whole.code(POSITION),
        "What the ranking depends on",
        "the level",
        "Learned weight by",
        "atft explain run",
    ):
        assert words in page.text
    assert build_page(whole, "atft explain run") == content


def test_the_page_says_what_is_not_there(bare: Explained) -> None:
    page = ParsedPage(build_page(bare, ""))
    assert "no frequency adaptive normalisation" in page.text
    assert "no graph attention" in page.text
    assert "--permutation" in page.text
    assert page.tags.count("svg") == 3


def test_returns_that_are_not_known_yet_are_said_to_be(whole: Explained) -> None:
    unknown = np.full_like(whole.permutation.drop, np.nan)
    newest = replace(whole.permutation, num_labelled=0, drop=unknown, drop_error=unknown)
    page = ParsedPage(build_page(replace(whole, permutation=newest), ""))
    assert "not known yet" in page.text
    assert json.loads(strict_json(summary(replace(whole, permutation=newest))))["permutation"]["features"]["f1"][
        "rank_ic_drop"
    ] == {"1d": None, "3d": None}


def test_a_network_without_temporal_attention_is_not_said_to_look_at_the_last_day(tmp_path, whole: Explained) -> None:
    without = explained(tmp_path / "s", num_heads=0, lstm_layers=0, fan_top_k=0, input_expansion="polynomial")
    pages = [ParsedPage(build_page(each, "atft explain")).text for each in (without, whole)]
    words = "The network has no temporal attention (model.attention.enabled)."
    assert [words in page for page in pages] == [True, False]
    assert ["Mean lag of the attention" in page for page in pages] == [False, True]
