"""The ranking benchmark: one command trains all, its figures are those of `metrics.json`, and every look is counted."""

import json
import shlex
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from omegaconf import OmegaConf

from atft_gat_fan.config.load import load_config, overridden
from atft_gat_fan.config.overrides import assignment
from atft_gat_fan.config.schema import SyntheticConfig
from atft_gat_fan.data.sources.synthetic import synthetic_panel
from atft_gat_fan.errors import ConfigError, InterruptedRunError, StorageError
from atft_gat_fan.evaluation.cuts import CUTS
from atft_gat_fan.evaluation.evaluate import MODEL, EvaluationData, evaluate
from atft_gat_fan.inference.ensemble import mean_of_ranks
from atft_gat_fan.runs.assembly import assemble
from atft_gat_fan.runs.run_files import PREDICTIONS, read_metrics
from atft_gat_fan.validation.trials import Failure, TrialResults
from benchmarks import ranking
from benchmarks.gru import Gru, GruRecipe, score_days, train_gru
from benchmarks.measuring import ROOT
from benchmarks.ranking_log import (
    OPENINGS,
    TRIED,
    log,
    log_opening,
    require_closed,
    require_reason,
    with_deflation,
)
from benchmarks.ranking_page import build_page
from benchmarks.ranking_plan import (
    FOLDS,
    OUT,
    RECIPE,
    Dates,
    Plan,
    Request,
    command_of,
    describe_plan,
    finished_member,
    prepare,
    recipe_digest,
)
from benchmarks.ranking_results import BLEND, Result, deflated, results
from benchmarks.ranking_targets import figures
from benchmarks.ranking_training import RIVAL, train_all, train_here
from tests.pages import ParsedPage
from tests.runs.tiny import TINY, quiet

KEYS = [f"{key}={str(value).replace(' ', '').replace(chr(39), '')}" for key, value in TINY.items()]
DATES = Dates("2015-06-01", "2015-10-30", "2015-12-15", "2016-02-15")


@pytest.fixture(scope="module")
def panel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("panel") / "prices.parquet"
    synthetic_panel(SyntheticConfig(num_stocks=12, num_days=330)).write_parquet(file)
    return file


@pytest.fixture(scope="module")
def request_(panel: Path, tmp_path_factory: pytest.TempPathFactory) -> Request:
    folder = tmp_path_factory.mktemp("ranking")
    return Request(
        panel=panel,
        fold="B",
        dates=DATES,
        out=folder / "out",
        results=folder / "results",
        recipe=("evaluation.lightgbm.num_rounds=5", "evaluation.lightgbm.min_data_in_leaf=20"),
        overrides=tuple(KEYS),
        seeds=2,
        threads=1,
        gru=GruRecipe(hidden_size=4, epochs=1),
        cache=folder / "cache",
    )


class Here:
    """Trains in this process."""

    def __init__(self, failing: Sequence[str] = ()) -> None:
        self.trained: list[str] = []
        self.failing = failing

    def run(self, jobs, later=()) -> TrialResults[Path]:
        results = TrialResults[Path]()
        for job in jobs:
            if job.kind in self.failing:
                results.failures[job.name] = Failure("it did not want to", 65)
                continue
            if finished_member(job.folder) is None:
                self.trained.append(job.kind)
                train_here(job.folder)
            results.outcomes[job.name] = job.folder
        return results


@pytest.fixture(scope="module")
def plan(request_: Request) -> Plan:
    plan = prepare(request_, quiet())
    train_all(plan, quiet(), Here())
    return plan


@pytest.fixture(scope="module")
def result(plan: Plan) -> Result:
    return with_deflation(plan, results(plan), plan.request.results)


def test_a_single_training_has_the_figures_of_its_own_metrics(plan: Plan) -> None:
    (first, *_) = plan.of(MODEL)
    metrics = read_metrics(first.job.folder)["test"]
    alone = results(replace(plan, members=(first,))).values["models"][MODEL]
    for cut, key in {"all": "rank_ic", "skip1": "rank_ic_skip1", "liquid": "rank_ic_liquid"}.items():
        assert {h: each["mean"] for h, each in alone["rank_ic"][cut].items()} == metrics[key]
        assert alone["by_seed"]["1"][cut] == metrics[key]
    assert {h: [each["low"], each["high"]] for h, each in alone["rank_ic"]["all"].items()} == metrics[
        "rank_ic_interval"
    ]
    assert alone["icir"]["all"] == metrics["icir"]
    assert alone["training"][0]["seconds"] == read_metrics(first.job.folder)["train"]["seconds"]


def test_the_ensemble_is_judged_as_evaluation_judges_the_mean_of_ranks(plan: Plan, result: Result) -> None:
    store, test = plan.store, plan.split.test
    members = [pl.read_parquet(member.job.folder / PREDICTIONS) for member in plan.of(MODEL)]
    table = mean_of_ranks(members, store.horizons).filter(pl.col("date") >= store.days[test[0]].item())
    period = slice(int(test[0]), int(test[-1]) + 1)
    scores = np.full((len(test), len(store.codes), len(store.horizons)), np.nan, np.float32)
    day = np.searchsorted(store.days[period], table["date"].to_numpy())
    stock = np.searchsorted(np.array(store.codes), table["code"].to_numpy().astype(str))
    scores[day, stock] = table.select(f"horizon_{h}d" for h in store.horizons).to_numpy()
    data = EvaluationData(
        store.days[period],
        store.codes,
        store.horizons,
        {MODEL: scores},
        store.column("labels", period),
        store.column("present", period),
        store.column("dollar_volume", period),
    )
    expected = evaluate(data, seed=1).metrics
    found = result.values["models"][MODEL]["rank_ic"]
    assert {h: each["mean"] for h, each in found["all"].items()} == expected["rank_ic"]
    assert {h: each["mean"] for h, each in found["liquid"].items()} == expected["rank_ic_liquid"]
    assert result.values["metrics"]["rank_ic"] == expected["rank_ic"]


def test_every_model_is_there_on_the_same_days_with_pairs_years_and_seeds(plan: Plan, result: Result) -> None:
    values = result.values
    assert set(values["models"]) == {MODEL, "lightgbm", "gru", BLEND}
    assert set(values["pairs"]) == {"model-lightgbm", "model-gru", "blend-lightgbm", "blend-model"}
    assert (values["first_day"], values["last_day"]) == ("2015-12-16", "2016-02-15")
    for model, each in values["models"].items():
        assert set(each["rank_ic"]) == set(CUTS)
        assert set(each["by_year"]) == {"2015", "2016"}
        assert set(each["by_seed"]) == (set() if model == BLEND else {"1", "2"})
        assert all(training["seconds"] > 0 for training in each["training"])
    pair = values["pairs"]["model-lightgbm"]["all"]["1d"]
    gaps = result.daily[MODEL]["all"][:, 0] - result.daily["lightgbm"]["all"][:, 0]
    assert pair["mean"] == pytest.approx(float(np.nanmean(gaps)))
    assert pair["low"] < pair["mean"] < pair["high"]


def test_what_is_finished_is_not_trained_again_and_rivals_outlive_a_change_of_the_network(plan: Plan) -> None:
    again, changed = Here(), Here()
    train_all(plan, quiet(), again)
    assert again.trained == []
    keys = (*plan.request.overrides, "train.max_steps=2")
    other = replace(plan.request, overrides=keys, seeds=1)
    train_all(prepare(other, quiet()), quiet(), changed)
    assert changed.trained == [MODEL]
    longer = prepare(replace(plan.request, gru=GruRecipe(hidden_size=4, epochs=2)), quiet())
    assert [member.finished for member in longer.of("gru")] == [False, False]
    assert all("about" in line for line in describe_plan(longer) if "trainings" in line)


def test_rivals_outlive_a_change_of_keys_that_are_not_theirs(plan: Plan) -> None:
    def finished(*keys: str) -> dict[str, set[bool]]:
        changed = prepare(replace(plan.request, overrides=(*plan.request.overrides, *keys)), quiet())
        return {rival: {member.finished for member in changed.of(rival)} for rival in ("lightgbm", "gru")}

    assert finished("batch_size=3", "evaluation.num_quantiles=4") == {"lightgbm": {True}, "gru": {False}}
    assert finished("evaluation.num_quantiles=4", "evaluation.lightgbm.num_rounds=4") == {
        "lightgbm": {False},
        "gru": {True},
    }


def test_a_training_that_fails_is_named_with_its_exit_code(plan: Plan) -> None:
    with pytest.raises(Exception, match="it did not want to") as caught:
        train_all(plan, quiet(), Here(failing=["gru"]))
    assert caught.value.exit_code == 65


def test_a_damaged_request_of_a_rival_is_named(plan: Plan) -> None:
    folder = plan.of("gru")[0].job.folder
    content = (folder / RIVAL).read_text()
    (folder / RIVAL).write_text('{"rival": "oracle", "gru": {}}')
    try:
        with pytest.raises(StorageError, match=r"rival\.json: expected one of gru, lightgbm, found the rival 'oracle'"):
            train_here(folder)
    finally:
        (folder / RIVAL).write_text(content)


def test_rivals_see_the_recipes_data_label_and_days_and_all_of_them(plan: Plan) -> None:
    for member in plan.members:
        assert member.config.data == plan.config.data
        assert member.config.labels == plan.config.labels
        assert member.config.split == plan.config.split
        assert member.config.evaluation.lightgbm.max_rows >= 10**9
    assert plan.config.labels.transform == "rank"
    assert overridden(plan.config, DATES.overrides) == plan.config


def test_a_recipes_digest_is_of_its_choices_alone(plan: Plan) -> None:
    digest = recipe_digest(plan.config)
    same = ["seed=7", "split.train_end=2015-09-01", "data.cache=elsewhere", "run.name=x", "evaluation.cost_bps=5"]
    assert all(recipe_digest(overridden(plan.config, [key])) == digest for key in same)
    other = ["optimizer.lr=0.5", "data.standardise=zscore", "labels.transform=raw", "model.hidden_size=4"]
    assert len({recipe_digest(overridden(plan.config, [key])) for key in other} | {digest}) == 5


def test_the_test_is_opened_with_a_reason_or_not_at_all(request_: Request) -> None:
    opened = replace(request_, fold="test", opened="finished")
    for reason in (None, "", " "):
        with pytest.raises(ConfigError, match="--open-test"):
            require_reason(replace(opened, opened=reason))
    with pytest.raises(ConfigError, match="expected --fold test, found --fold B"):
        require_reason(replace(request_, opened="curious"))
    with pytest.raises(ConfigError, match="--quick: expected --fold B or valid, found --fold test"):
        require_reason(replace(opened, quick=True))
    require_reason(request_)
    require_reason(opened)


@pytest.mark.parametrize("last", [None, "2017-01-03", "2017-12-31"])
def test_the_test_has_no_other_name(request_: Request, last: str | None) -> None:
    panel = Path("somewhere") / "nasdaq_2003_2017.parquet"
    for fold in ("B", "valid"):
        asked = replace(request_, panel=panel, fold=fold, dates=replace(FOLDS[fold], test_end=last))
        with pytest.raises(ConfigError, match=r"expected evaluated days of nasdaq_2003_2017\.parquet to end on 2016"):
            require_reason(asked)
        require_reason(replace(asked, dates=FOLDS[fold]))
        require_reason(replace(asked, panel=Path("mine.parquet")))
    require_reason(replace(asked, fold="test", opened="finished"))
    require_closed(panel, "2016-12-31")


def test_a_date_of_the_command_is_compared_as_a_day(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--panel", "nasdaq_2003_2017.parquet", "--fold", "B", "--test-end"]
    parser = ranking._parser()
    with pytest.raises(ConfigError, match="found 2017-12-31"):
        require_reason(ranking.request_of(parser.parse_intermixed_args([*words, "20171231"])))
    with pytest.raises(SystemExit):
        parser.parse_intermixed_args([*words, "the end"])
    assert "expected a date such as 2015-12-31, got 'the end'" in capsys.readouterr().err


def with_icir(result: Result, icir: float) -> Result:
    """As if the recipe had this one."""
    model = result.values["models"][MODEL]
    changed = {**model, "icir": {**model["icir"], "all": {"1d": icir, "2d": icir}}}
    return replace(result, values={**result.values, "models": {**result.values["models"], MODEL: changed}})


def test_each_recipe_is_counted_once_and_deflates_the_next(plan: Plan, result: Result, tmp_path: Path) -> None:
    first = with_deflation(plan, result, tmp_path).values["deflated"]
    assert first["model"]["num_tried"] == 1
    assert first["model"]["p"] == first["model"]["p_undeflated"]
    for _ in range(2):
        log(plan, result, tmp_path)
    (line,) = map(json.loads, (tmp_path / TRIED).read_text().splitlines())
    assert (line["fold"], line["recipe"], line["seeds"], line["panel"]) == ("B", plan.digest, 2, plan.panel)
    assert set(line["rank_ic"]) == {MODEL, "lightgbm", "gru", BLEND}
    for number, icir in enumerate((-0.2, 0.3)):
        log(replace(plan, digest=f"other-{number}"), with_icir(result, icir), tmp_path)
    third = with_deflation(plan, result, tmp_path).values["deflated"]
    assert third["model"]["num_tried"] == 3
    assert third["model"]["expected_maximum"] > 0
    assert third["model"]["p"] > third["model"]["p_undeflated"]
    elsewhere = replace(plan, store=plan.store, request=replace(plan.request, fold="valid"))
    assert with_deflation(elsewhere, result, tmp_path).values["deflated"]["model"]["num_tried"] == 3
    quick = replace(plan, digest="quick", request=replace(plan.request, quick=True))
    log(quick, result, tmp_path)
    assert len((tmp_path / TRIED).read_text().splitlines()) == 3
    assert not (tmp_path / OPENINGS).exists()


def test_an_opening_is_logged_with_its_reason_figures_and_tries(plan: Plan, result: Result, tmp_path: Path) -> None:
    log(plan, result, tmp_path)
    log(replace(plan, digest="other"), result, tmp_path)
    opened = replace(plan, request=replace(plan.request, fold="test", opened="recipe finished"))
    looked = with_deflation(opened, result, tmp_path)
    for _ in range(2):
        log(opened, looked, tmp_path)
    (line,) = map(json.loads, (tmp_path / OPENINGS).read_text().splitlines())
    assert (line["why"], line["num_tried"], line["recipe"]) == ("recipe finished", 2, plan.digest)
    assert (
        line["rank_ic"]["lightgbm"]["all"]["1d"] == result.values["models"]["lightgbm"]["rank_ic"]["all"]["1d"]["mean"]
    )
    assert len((tmp_path / TRIED).read_text().splitlines()) == 2


def test_an_opening_is_deflated_by_all_that_were_tried_the_chosen_one_too(
    plan: Plan, result: Result, tmp_path: Path
) -> None:
    log(plan, with_icir(result, 0.4), tmp_path)
    log(replace(plan, digest="other"), with_icir(result, 0.1), tmp_path)
    opened = replace(plan, request=replace(plan.request, fold="test", opened="recipe finished"))
    found = with_deflation(opened, with_icir(result, 7.0), tmp_path).values["deflated"]["model"]
    assert found["num_tried"] == 2
    assert found["deviation_of_tried"] == pytest.approx(np.std([0.4, 0.1], ddof=1))
    assert found["p"] is not None
    assert found["p"] > found["p_undeflated"]
    # On a recipe's own fold the present figures stand for it, not those logged before.
    again = with_deflation(plan, with_icir(result, 0.2), tmp_path).values["deflated"]["model"]
    assert again["deviation_of_tried"] == pytest.approx(np.std([0.2, 0.1], ddof=1))


def test_only_recipes_tried_on_the_same_days_tell_the_spread(plan: Plan, result: Result, tmp_path: Path) -> None:
    shorter = replace(result, values={**result.values, "last_day": "2016-01-29"})
    log(replace(plan, digest="on other days"), with_icir(shorter, -5.0), tmp_path)
    alone = with_deflation(plan, result, tmp_path).values["deflated"]["model"]
    assert (alone["num_tried"], alone["deviation_of_tried"], alone["p"]) == (2, None, None)
    log(replace(plan, digest="other"), with_icir(result, 0.1), tmp_path)
    found = with_deflation(plan, with_icir(result, 0.4), tmp_path).values["deflated"]["model"]
    assert found["num_tried"] == 3
    assert found["deviation_of_tried"] == pytest.approx(np.std([0.4, 0.1], ddof=1))


def test_an_opening_that_is_stopped_is_logged_and_gets_its_figures_later(
    plan: Plan, result: Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = replace(plan.request, fold="test", opened="finished", results=tmp_path, out=tmp_path / "out")
    opened = replace(plan, request=request, folder=tmp_path / "page")
    train = ranking.train_all

    def stopped(*_: object) -> None:
        raise InterruptedRunError("a stop signal", 130)

    def lines() -> list[dict]:
        return [json.loads(line) for line in (tmp_path / OPENINGS).read_text().splitlines()]

    monkeypatch.setattr(ranking, "train_all", stopped)
    for _ in range(2):
        with pytest.raises(InterruptedRunError):
            ranking.measure(opened, quiet())
        (line,) = lines()
        assert (line["why"], line["recipe"], line["panel"]) == ("finished", plan.digest, plan.panel)
        assert line["days"] == "2015-12-16 to 2016-02-15"
        assert line["rank_ic"] == {}
    page = ParsedPage(build_page(opened, result, [], lines()))
    assert "Openings of the test" in page.text
    # The line keeps the day and the reason of the first start.
    (tmp_path / OPENINGS).write_text(json.dumps({**line, "date": "2020-02-02"}) + "\n")
    monkeypatch.setattr(ranking, "train_all", train)
    for _ in range(2):
        ranking.measure(replace(opened, request=replace(request, opened="another reason")), quiet())
        (line,) = lines()
        assert (line["date"], line["why"], line["num_tried"]) == ("2020-02-02", "finished", 1)
        assert set(line["rank_ic"]) == {MODEL, "lightgbm", "gru", BLEND}
    log_opening(replace(opened, digest="another recipe"), tmp_path)
    assert [line["recipe"] for line in lines()] == [plan.digest, "another recipe"]


def test_a_damaged_log_is_named_and_not_overwritten(plan: Plan, result: Result, tmp_path: Path) -> None:
    (tmp_path / TRIED).write_text("[]\n")
    with pytest.raises(StorageError, match="expected one evaluation a line"):
        log(plan, result, tmp_path)
    assert (tmp_path / TRIED).read_text() == "[]\n"
    (tmp_path / TRIED).unlink()
    log(plan, result, tmp_path)
    # An evaluation, and no opening: it says no reason.
    (tmp_path / TRIED).rename(tmp_path / OPENINGS)
    with pytest.raises(StorageError, match="expected one evaluation a line"):
        log_opening(plan, tmp_path)


def test_luck_of_one_try_is_none_and_of_many_unknown_ones_not_told() -> None:
    daily = np.random.default_rng(0).normal(0.02, 0.1, 300)
    alone, many = deflated(daily, 1, [], 1), deflated(daily, 1, [None], 5)
    assert alone["expected_maximum"] == 0
    assert alone["p"] == alone["p_undeflated"] is not None
    assert (many["num_tried"], many["p"]) == (5, None)


def test_the_page_stands_alone_and_says_what_was_measured(plan: Plan, result: Result) -> None:
    page = ParsedPage(build_page(plan, result, figures(plan.request, result.values), []))
    shown = result.values["models"][MODEL]["rank_ic"]["all"]["1d"]["mean"]
    assert f"RankIC@1d is {shown:.4f}".replace("-", "−") in page.text
    assert page.tags.count("svg") == 8
    assert not any(value.startswith("http") for value in (*page.values("href"), *page.values("src")))
    for words in ("LightGBM", "GRU", "illiquid half", "2015", "recipes tried", "seed 2"):
        assert words in page.text
    assert command_of(plan.request) in page.text


def test_a_recipe_without_rivals_is_compared_with_nobody(plan: Plan, result: Result) -> None:
    models = {MODEL: result.values["models"][MODEL]}
    alone = replace(result, values={**result.values, "models": models, "pairs": {}}, daily={MODEL: result.daily[MODEL]})
    page = ParsedPage(build_page(plan, alone, figures(plan.request, alone.values), []))
    assert "Against each other" not in page.text
    assert "Every horizon" in page.text


def test_bars_are_of_the_days_they_were_set_for(plan: Plan, result: Result) -> None:
    assert not any(figure.target for figure in figures(plan.request, result.values))
    meant = replace(plan.request, panel=Path("nasdaq_2003_2017.parquet"), dates=FOLDS["B"])
    values = json.loads(json.dumps(result.values).replace('"2d"', '"5d"'))
    rows = {figure.what: figure for figure in figures(meant, values)}
    assert rows["RankIC@1d, all"].target == "≥ 0.0455"
    assert "stretch 0.05" in rows["RankIC@1d, all"].measured
    assert rows["blend minus LightGBM, RankIC@1d, all"].target == "≥ 0.002, interval above 0"
    differences = [row for row in rows.values() if "minus LightGBM" in row.what]
    assert len(differences) == 2 * len(CUTS) * 2
    assert sum(bool(row.target) for row in differences) == 1
    gap = values["pairs"]["model-lightgbm"]["liquid"]["5d"]["mean"]
    assert rows["recipe minus LightGBM, RankIC@5d, liquid"].measured.startswith(f"{gap:+.4f} (")
    values["pairs"]["blend-lightgbm"]["all"]["1d"] |= {"mean": 0.003, "low": 0.001, "high": 0.005}
    reached = {figure.what: figure.reached for figure in figures(meant, values)}
    assert reached["blend minus LightGBM, RankIC@1d, all"] == "yes"
    assert not any(figure.target.startswith("≥ 0.04") for figure in figures(replace(meant, fold="valid"), values))


def test_seconds_have_a_bar_where_a_training_has_the_machine_to_itself(plan: Plan, result: Result) -> None:
    meant = replace(plan.request, panel=Path("nasdaq_2003_2017.parquet"), dates=FOLDS["B"])
    targets = {}
    for workers in (1, 2):
        (row,) = [row for row in figures(replace(meant, workers=workers), result.values) if "seconds" in row.what]
        targets[workers] = row.target
        assert ("one at a time" if workers == 1 else "2 at once") in row.measured
    assert targets == {1: "≤ 300", 2: ""}


def test_rows_of_a_table_name_the_whole_command_without_places(plan: Plan, result: Result) -> None:
    keys = ("optimizer.lr=0.01", "data.cache=/somewhere", "run.root=/elsewhere")
    asked = Request(
        Path("/data/nasdaq_2003_2017.parquet"), "B", FOLDS["B"], Path("/out"), Path("/results"),
        overrides=keys, workers=2, threads=1, against=("lightgbm",),
    )  # fmt: skip
    assert {row.command for row in figures(asked, result.values)} == {
        "python -m benchmarks.ranking --panel nasdaq_2003_2017.parquet --fold B --seeds 5 --workers 2 --threads 1 "
        "optimizer.lr=0.01 --against lightgbm"
    }


def test_the_gru_reads_the_window_and_nothing_after_it(plan: Plan) -> None:
    gru, recipe = plan.of("gru")[0], GruRecipe(hidden_size=4, epochs=1)
    assembly = assemble(gru.config, lambda name, share: None)
    model = train_gru(assembly, recipe, lambda name, share: None)
    again = train_gru(assembly, recipe, lambda name, share: None)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))
    day = int(assembly.split.test[0])
    scores = score_days(model, assembly, assembly.split.test[:1], lambda name, share: None)[0]
    batch = assembly.batches.canonical(day)
    stocks = assembly.batches.stocks(day)
    for row, stock in enumerate(stocks[:3]):
        outputs, _ = model.gru(batch.features[:, row][None])
        assert scores[stock] == pytest.approx(model.head(outputs[0, -1]).detach().numpy(), abs=1e-6)
    assert np.isnan(np.delete(scores, stocks, axis=0)).all()


def test_the_gru_learns_a_rule_of_the_window() -> None:
    torch.manual_seed(0)
    model = Gru(2, 1, 8)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    windows = torch.randn(256, 5, 2)
    target = windows[:, 1:2, 0]
    for _ in range(150):
        optimizer.zero_grad()
        loss = (model(windows) - target).square().mean()
        loss.backward()
        optimizer.step()
    assert loss < 0.3


def test_folds_of_the_protocol_never_train_on_what_they_evaluate_or_the_test() -> None:
    for name, dates in FOLDS.items():
        assert dates.train_end < dates.valid_end < dates.test_end
        assert name == "test" or dates.test_end <= FOLDS["test"].valid_end


@pytest.mark.slow
def test_the_command_trains_by_processes_and_leaves_its_page(panel: Path, tmp_path: Path) -> None:
    keys = [*KEYS, "evaluation.lightgbm.min_data_in_leaf=20", assignment("data.cache", str(tmp_path / "cache"))]
    dates = ["--train-start", DATES.train_start, "--train-end", DATES.train_end, "--valid-end", DATES.valid_end]
    command = [sys.executable, "-m", "benchmarks.ranking", "--panel", str(panel), "--fold", "B", *dates]
    command += ["--quick", "--out", str(tmp_path / "out"), "--threads", "1", "--recipe", *keys, "--against", "gru"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (page,) = (tmp_path / "out").glob("*/ranking.html")
    values = json.loads((page.parent / "ranking.json").read_text())
    assert set(values["models"]) == {MODEL, "gru"}
    assert values["recipe"]["arguments"] == keys
    assert "RankIC@1d, all" in done.stdout
    refused = subprocess.run([*command, "--fold", "test"], cwd=ROOT, capture_output=True, text=True)
    assert refused.returncode == 78
    assert "--open-test" in refused.stderr


def test_the_pages_command_asks_for_the_same_again(request_: Request) -> None:
    whole = replace(request_, gru=GruRecipe(), threads=None, cache=None)
    default = replace(whole, recipe=RECIPE, out=OUT, overrides=(), dates=FOLDS["B"])
    for asked in (
        *(replace(whole, against=against) for against in ((), ("gru",), ("lightgbm", "gru"))),
        replace(whole, workers=3, threads=2),
        replace(whole, quick=True, seeds=1, gru=ranking.QUICK_GRU),
        replace(whole, fold="test", opened="it is finished; nothing else is tried"),
        default,
        replace(default, overrides=("optimizer.lr=0.01",), against=("gru",)),
    ):
        words = shlex.split(command_of(asked))[3:]
        again = ranking.request_of(ranking._parser().parse_intermixed_args(words))
        assert replace(again, results=asked.results) == asked


def test_the_default_recipe_is_the_documented_one() -> None:
    parsed = ranking._parser().parse_intermixed_args(["--panel", "x.parquet", "--fold", "B", "optimizer.lr=0.01"])
    request = ranking.request_of(parsed)
    assert request.recipe == ("config=atft/train/ranking",)
    assert request.overrides == ("optimizer.lr=0.01",)
    assert request.preset
    assert load_config(["data=nasdaq", "data.source=x", *request.recipe]).loss.type == "ic"


def test_the_page_has_a_reason_for_every_key_of_the_recipe() -> None:
    text = (ROOT / "configs" / "atft" / "train" / "ranking.yaml").read_text()
    found = OmegaConf.to_container(OmegaConf.create(text))
    rows = [line for line in (ROOT / "docs" / "ranking.md").read_text().splitlines() if line.startswith("| `")]
    for key in _leaves(found):
        assert any(f"`{key}`" in row.split("|")[1] for row in rows), key


def _leaves(values: dict, prefix: str = "") -> Iterator[str]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"
