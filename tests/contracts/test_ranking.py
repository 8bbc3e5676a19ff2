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
from scipy.stats import spearmanr

from atft_gat_fan.config.load import load_config, overridden
from atft_gat_fan.config.overrides import assignment
from atft_gat_fan.config.schema import SyntheticConfig
from atft_gat_fan.data.sources.synthetic import synthetic_panel
from atft_gat_fan.errors import ConfigError, StorageError
from atft_gat_fan.evaluation.evaluate import MODEL, EvaluationData, evaluate
from atft_gat_fan.inference.ensemble import mean_of_ranks
from atft_gat_fan.runs.assembly import assemble
from atft_gat_fan.runs.run_files import PREDICTIONS, read_metrics
from atft_gat_fan.validation.trials import Failure, TrialResults
from benchmarks import ranking
from benchmarks.gru import Gru, GruRecipe, score_days, train_gru
from benchmarks.measuring import ROOT
from benchmarks.ranking_log import OPENINGS, TRIED, log, require_reason, with_deflation
from benchmarks.ranking_page import build_page, command_of
from benchmarks.ranking_plan import FOLDS, Dates, Plan, Request, describe_plan, finished_member, prepare, recipe_digest
from benchmarks.ranking_results import BLEND, CUTS, Result, daily_by_cut, deflated, results
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


def test_halves_and_the_label_without_its_first_day_are_what_they_are_called() -> None:
    rng = np.random.default_rng(0)
    shape = (6, 40, 1)
    scores, labels = rng.normal(size=shape), rng.normal(size=shape)
    volume = rng.lognormal(size=shape[:2])
    volume[:, 0] = np.nan
    days = np.arange("2020-01-01", "2020-01-07", dtype="datetime64[D]")
    codes = tuple(map(str, range(40)))
    data = EvaluationData(days, codes, (1,), {}, labels, np.ones(shape[:2], bool), volume)
    daily = daily_by_cut(data, scores)
    order = np.argsort(volume[2])[:39]  # NaN sorts last: unknown, in neither half
    for cut, stocks in {"liquid": order[19:], "illiquid": order[:19]}.items():
        assert daily[cut][2, 0] == pytest.approx(spearmanr(scores[2, stocks, 0], labels[2, stocks, 0]).statistic)
    assert daily["skip1"][2, 0] == pytest.approx(spearmanr(scores[2, :, 0], labels[3, :, 0]).statistic)
    assert np.isnan(daily["skip1"][-1, 0])


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


def test_the_test_is_opened_with_a_reason_or_not_at_all() -> None:
    for reason in (None, "", " "):
        with pytest.raises(ConfigError, match="--open-test"):
            require_reason("test", reason)
    with pytest.raises(ConfigError, match="expected --fold test, found --fold B"):
        require_reason("B", "curious")
    require_reason("B", None)
    require_reason("test", "finished")


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
        values = {**result.values, "models": {**result.values["models"]}}
        model = values["models"][MODEL]
        values["models"][MODEL] = {**model, "icir": {**model["icir"], "all": {"1d": icir, "2d": icir}}}
        log(replace(plan, digest=f"other-{number}"), replace(result, values=values), tmp_path)
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


def test_a_damaged_log_is_named_and_not_overwritten(plan: Plan, result: Result, tmp_path: Path) -> None:
    (tmp_path / TRIED).write_text("[]\n")
    with pytest.raises(StorageError, match="expected one evaluation a line"):
        log(plan, result, tmp_path)
    assert (tmp_path / TRIED).read_text() == "[]\n"


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
    assert rows["blend minus LightGBM, RankIC@1d"].target == "≥ 0.002, interval above 0"
    values["pairs"]["blend-lightgbm"]["all"]["1d"] |= {"mean": 0.003, "low": 0.001, "high": 0.005}
    reached = {figure.what: figure.reached for figure in figures(meant, values)}
    assert reached["blend minus LightGBM, RankIC@1d"] == "yes"
    assert not any(figure.target.startswith("≥ 0.04") for figure in figures(replace(meant, fold="valid"), values))


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
    for against in ((), ("gru",), ("lightgbm", "gru")):
        asked = replace(request_, against=against, gru=GruRecipe(), workers=1, threads=None, cache=None)
        words = shlex.split(command_of(asked))[3:]
        again = ranking.request_of(ranking._parser().parse_intermixed_args(words))
        assert replace(again, results=asked.results) == asked


def test_the_default_recipe_is_the_documented_one() -> None:
    parsed = ranking._parser().parse_intermixed_args(["--panel", "x.parquet", "--fold", "B", "optimizer.lr=0.01"])
    request = ranking.request_of(parsed)
    assert request.recipe == ("config=atft/train/ranking",)
    assert request.overrides == ("optimizer.lr=0.01",)
    assert request.preset
    assert load_config(["data=nasdaq", "data.source=x"]).labels.transform == "rank"


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
