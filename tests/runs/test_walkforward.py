"""A walk-forward as a whole: ordinary runs, put together; interrupted it ends with the same bits; no fold knows later
days."""

import io
import json
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal
from rich.console import Console

from atft_gat_fan.config.load import load_config, read_config
from atft_gat_fan.config.schema import SyntheticConfig
from atft_gat_fan.data.sources.synthetic import synthetic_panel
from atft_gat_fan.errors import ConfigError, TrialError
from atft_gat_fan.inference.bundle import load_bundle
from atft_gat_fan.inference.ensemble import mean_of_ranks
from atft_gat_fan.runs.fold import run_fold
from atft_gat_fan.runs.run_files import read_metrics
from atft_gat_fan.runs.run_status import finished_run
from atft_gat_fan.runs.walkforward import walkforward
from atft_gat_fan.runs.walkforward_plan import WalkForward, describe_plan, prepare, walk_folder
from atft_gat_fan.validation.trials import Failure, TrialResults

SMALL = [
    "data=synthetic",
    "model=small",
    "data.synthetic.num_days=260",
    "data.synthetic.num_stocks=12",
    "data.horizons=[1]",
    "graph.lookback=20",
    "graph.min_periods=10",
    "batch_size=16",
    "train.max_steps=8",
    "train.tensorboard=false",
    "compile=false",
    "run.num_threads=1",
    "evaluation.baselines=[ridge]",
    "walkforward.first_train_days=110",
    "walkforward.valid_days=30",
]
TWO_FOLDS = [*SMALL, "walkforward.test_days=50"]
TWO_SEEDS = [*TWO_FOLDS, "walkforward.seeds=[1,2]"]


class StoppedError(Exception):
    pass


class InProcess:
    """Does here what a runner has done by other processes; stops before the job of number `stop`, as a kill would."""

    def __init__(self, stop: int | None = None) -> None:
        self.stop, self.ran = stop, []

    def run(self, jobs, later=()) -> TrialResults[Path]:
        for job in jobs:
            if finished_run(job.folder) is None:
                if len(self.ran) == self.stop:
                    raise StoppedError
                self.ran.append(job.name)
                run_fold(job.folder)
        return TrialResults({job.name: job.folder for job in jobs})


def quiet() -> Console:
    return Console(file=io.StringIO())


def planned(folder: Path, *arguments: str) -> WalkForward:
    return prepare([*arguments, f"data.cache={folder.parent / 'cache'}", f"run.dir={folder}"], quiet())


def test_the_plan_is_made_without_training(tmp_path: Path) -> None:
    walk = planned(tmp_path / "walk", *TWO_SEEDS, "walkforward.workers=2", "split.train_end=2020-01-01")
    plan = describe_plan(walk)
    assert (plan["trainings"], plan["finished"], plan["at_once"], plan["seeds"]) == (4, 0, 2, [1, 2])
    assert [fold["test"]["days"] for fold in plan["folds"]] == [50, 51]
    assert plan["folds"][0]["train"]["days"] == 110 - (plan["purge"] + plan["embargo"])
    assert plan["replaced"] == ["split.train_end"]
    assert plan["estimated_seconds"] > 0
    assert not (tmp_path / "walk").exists()
    rolling = planned(tmp_path / "walk", *TWO_FOLDS, "walkforward.expanding=false", "split.embargo=3")
    assert len({len(fold.split.train) for fold in rolling.folds}) == 1
    assert describe_plan(rolling)["embargo"] == 3


def test_a_folder_is_named_by_what_decides_the_folds_and_not_by_seeds_or_workers() -> None:
    def folder(*arguments: str) -> Path:
        return walk_folder(load_config([*TWO_FOLDS, *arguments]))

    assert folder() == folder("walkforward.seeds=[42,7]") == folder("walkforward.workers=2")
    assert len({folder(), folder("walkforward.warm_start=true"), folder("walkforward.test_days=40")}) == 3
    assert folder().name.startswith("walkforward-atft-")
    assert folder("run.dir=here") == Path("here")


def test_with_a_warm_start_a_fold_waits_for_the_one_before_of_its_seed(tmp_path: Path) -> None:
    walk = planned(tmp_path / "walk", *TWO_SEEDS, "walkforward.warm_start=true")
    assert [len(wave) for wave in walk.waves] == [1, 1]
    first, second = walk.folds
    assert [run.config.train.warm_start for run in first.runs] == [None, None]
    assert [run.config.train.warm_start for run in second.runs] == [str(run.folder) for run in first.runs]
    assert [len(wave) for wave in planned(tmp_path / "cold", *TWO_SEEDS).waves] == [2]


def test_a_failed_training_ends_the_walk_with_its_exit_code_and_no_run_is_overwritten(tmp_path: Path) -> None:
    class Failing:
        def run(self, jobs, later=()) -> TrialResults[Path]:
            return TrialResults({}, {jobs[0].name: Failure("exit code 70: diverged", 70)})

    walk = planned(tmp_path / "walk", *TWO_FOLDS)
    (tmp_path / "walk" / "model").mkdir(parents=True)
    with pytest.raises(ConfigError, match="expected the folder of a walk-forward or an empty one, found a training's"):
        walkforward(walk, quiet(), runner=Failing())
    (tmp_path / "walk" / "model").rmdir()
    with pytest.raises(TrialError, match=r"1 of 2 trainings failed: fold-01/seed-42: exit code 70: diverged") as caught:
        walkforward(walk, quiet(), runner=Failing())
    assert caught.value.exit_code == 70
    assert json.loads((tmp_path / "walk" / "run_state.json").read_text())["status"] == "failed"
    for run in walk.runs:
        assert read_config(run.folder / "config.yaml") == run.config


@pytest.fixture(scope="module")
def walked(tmp_path_factory: pytest.TempPathFactory) -> WalkForward:
    """Two folds of two seeds, undisturbed."""
    walk = planned(tmp_path_factory.mktemp("walked") / "walk", *TWO_SEEDS)
    walkforward(walk, quiet(), runner=InProcess())
    return walk


@pytest.mark.slow
def test_every_test_day_is_scored_once_by_the_mean_of_the_ranks_of_its_folds_seeds(walked: WalkForward) -> None:
    table = pl.read_parquet(walked.folder / "predictions.parquet")
    days = walked.store.days
    for fold in walked.folds:
        tested = pl.Series(days[fold.split.test]).cast(pl.Date)
        members = [pl.read_parquet(run.folder / "predictions.parquet") for run in fold.runs]
        expected = mean_of_ranks([each.filter(pl.col("date").is_in(tested.implode())) for each in members], (1,))
        assert_frame_equal(table.filter(fold=fold.number).drop("fold"), expected)
        assert table.filter(fold=fold.number)["date"].unique().sort().to_list() == tested.to_list()
    assert table.select("date", "code").is_unique().all()


@pytest.mark.slow
def test_each_fold_and_seed_is_an_ordinary_run(walked: WalkForward) -> None:
    for fold in walked.folds:
        for run in fold.runs:
            for name in ("config.yaml", "plan.json", "events.jsonl", "report.html", "baselines.parquet", "checkpoints"):
                assert (run.folder / name).exists(), name
            assert read_metrics(run.folder)["test"]["days"] == len(fold.split.test)
            bundle = load_bundle(run.folder / "model")
            assert bundle.training["train_days"][1] == str(walked.store.days[fold.split.train[-1]])
            assert bundle.training["seed"] == run.seed


@pytest.mark.slow
def test_metrics_and_page_are_of_all_folds_together(walked: WalkForward) -> None:
    metrics = read_metrics(walked.folder)
    assert metrics["test"]["days"] == sum(len(fold.split.test) for fold in walked.folds)
    assert set(metrics["test"]["baselines"]) == {"ridge"}
    assert set(metrics["test"]["seeds"]) == {"seed-1", "seed-2"}
    assert [fold["days"] for fold in metrics["folds"]] == [50, 51]
    for fold, told in zip(walked.folds, metrics["folds"], strict=True):
        of_run = read_metrics(fold.runs[0].folder)["test"]
        assert told["baselines"]["ridge"]["rank_ic"] == pytest.approx(of_run["baselines"]["ridge"]["rank_ic"])
        assert told["seeds"]["seed-1"]["rank_ic"] == pytest.approx(of_run["rank_ic"])
    assert metrics["train"]["runs"] == 4
    assert "Walk-forward over 2 folds, 2 seeds each" in (walked.folder / "walkforward.html").read_text()
    assert json.loads((walked.folder / "run_state.json").read_text())["status"] == "finished"


@pytest.mark.slow
def test_the_same_command_again_does_nothing_and_another_one_is_refused(walked: WalkForward) -> None:
    def touched() -> dict[Path, int]:
        names = ("weights.safetensors", "metrics.json", "walkforward.html", "predictions.parquet", "report.html")
        return {file: file.stat().st_mtime_ns for name in names for file in walked.folder.rglob(name)}

    before, runner = touched(), InProcess(stop=0)
    walkforward(planned(walked.folder, *TWO_SEEDS), quiet(), runner=runner)
    assert touched() == before
    with pytest.raises(ConfigError, match=r"fold-01/seed-1: expected a run of this configuration.*batch_size"):
        walkforward(planned(walked.folder, *TWO_SEEDS, "batch_size=8"), quiet(), runner=runner)
    data = walked.runs[2].folder / "data.json"
    content = data.read_text()
    data.write_text(content.replace(walked.store.fingerprint, "0" * 64))
    with pytest.raises(ConfigError, match=r"expected the data this run was begun with.*values of the source"):
        walkforward(walked, quiet(), runner=runner)
    data.write_text(content)
    assert not runner.ran


@pytest.mark.slow
def test_stopped_between_folds_and_gone_on_with_it_ends_with_the_same_bits(walked: WalkForward, tmp_path: Path) -> None:
    """The first fold here, the second in processes of its own, as the tool does it."""
    walk = planned(tmp_path / "walk", *TWO_SEEDS, f"data.cache={walked.config.data.cache}", "walkforward.workers=2")
    with pytest.raises(StoppedError):
        walkforward(walk, quiet(), runner=InProcess(stop=2))
    assert [run.finished for run in walk.runs] == [True, True, False, False]
    assert not (walk.folder / "predictions.parquet").exists()
    weights = {run.folder: (run.folder / "model" / "weights.safetensors").stat().st_mtime_ns for run in walk.runs[:2]}
    console = quiet()
    metrics = walkforward(walk, console)
    assert "4 of 4 trainings" in console.file.getvalue()
    for run, other in zip(walk.runs, walked.runs, strict=True):
        file = Path("model") / "weights.safetensors"
        assert (run.folder / file).read_bytes() == (other.folder / file).read_bytes()
        assert weights.get(run.folder, 0) in (0, (run.folder / file).stat().st_mtime_ns)
    table = "predictions.parquet"
    assert (walk.folder / table).read_bytes() == (walked.folder / table).read_bytes()
    undisturbed = read_metrics(walked.folder)
    assert {key: metrics[key] for key in ("test", "folds")} == {key: undisturbed[key] for key in ("test", "folds")}


@pytest.mark.slow
def test_no_fold_knows_what_happens_after_its_test_days_warm_starts_included(tmp_path: Path) -> None:
    """Two worlds that part ways after the second of three folds; each starts from the weights of the one before."""
    panel = synthetic_panel(SyntheticConfig(num_stocks=12, num_days=260))
    days = panel["Date"].unique().sort()
    arguments = [each for each in SMALL if "synthetic" not in each]
    arguments += ["walkforward.test_days=35", "walkforward.warm_start=true", "evaluation.baselines=[]"]

    def world(name: str, rows: pl.DataFrame) -> WalkForward:
        (tmp_path / name).mkdir()
        rows.write_parquet(tmp_path / name / "panel.parquet")
        return planned(tmp_path / name / "walk", *arguments, f"data.source={tmp_path / name / 'panel.parquet'}")

    one = world("as_it_was", panel)
    last_known = one.store.days[one.folds[1].split.test[-1]].item()
    assert last_known < days[-1]
    prices = ["Open", "High", "Low", "Close"]
    past, future = panel.filter(pl.col("Date") <= last_known), panel.filter(pl.col("Date") > last_known)
    changed = future.with_columns((pl.col(prices) * 3.7).round(2)).filter(pl.col("Code") != future["Code"][0])
    other = world("as_it_was_not", pl.concat([past, changed]))
    for walk in (one, other):
        with pytest.raises(StoppedError):
            walkforward(walk, quiet(), runner=InProcess(stop=2))
    assert len(one.folds) == 3
    for fold in (0, 1):
        tables = [pl.read_parquet(walk.folds[fold].runs[0].folder / "predictions.parquet") for walk in (one, other)]
        assert tables[0].height > 0
        assert_frame_equal(*tables)
    first, second = (load_bundle(fold.runs[0].folder / "model") for fold in one.folds[:2])
    assert second.training["initial_weights"] == first.fingerprint
    assert first.training["initial_weights"] is None
    assert second.training["known_until"] < str(one.store.days[one.folds[1].split.test[0]])
