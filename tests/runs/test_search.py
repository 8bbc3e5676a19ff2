"""A search as a whole: it goes on, gives up, deflates its best by what was tried, and never sees the test days."""

import json
import shutil
from pathlib import Path

import pytest

from atft_gat_fan.config.load import load_config
from atft_gat_fan.errors import ConfigError, StorageError
from atft_gat_fan.validation.outcome import TrialOutcome
from atft_gat_fan.validation.trials import Failure
from tests.runs.tiny import MARKET, TINY, quiet

pytest.importorskip("optuna")

from atft_gat_fan.runs.search import SearchQueue, describe_search, search
from atft_gat_fan.runs.search_plan import SearchPlan, plan_search, settle_question
from atft_gat_fan.runs.search_results import BEST, PAGE, RESULT, write_results
from atft_gat_fan.runs.search_study import Study

KEYS = [*MARKET, *(f"{key}={str(value).replace(' ', '').replace(chr(39), '')}" for key, value in TINY.items())]
OVER = ["optimizer.lr=tag(log,interval(1e-4,1e-2))", "model.hidden_size=choice(8,12)"]
DAYS = tuple(f"2020-03-{day:02d}" for day in range(1, 21))


@pytest.fixture
def plan(tmp_path: Path) -> SearchPlan:
    """On days that are not looked up anywhere."""
    from atft_gat_fan.config.search_space import read_space

    arguments = [
        *KEYS,
        *OVER,
        f"run.dir={tmp_path / 'search'}",
        "search.num_trials=6",
        "search.pruning_startup_trials=2",
    ]
    space = read_space(arguments)
    (tmp_path / "search").mkdir()
    return SearchPlan(load_config(space.fixed), space, tmp_path / "search", "made up", "f" * 8, DAYS)


def leave_outcome(folder: Path, level: float) -> TrialOutcome:
    daily = tuple(level + 0.1 * (-1) ** day for day in range(len(DAYS)))
    outcome = TrialOutcome(days=DAYS, daily_rank_ic={1: daily, 2: daily}, seconds=3.0)
    outcome.write(folder)
    return outcome


def leave_epochs(folder: Path, values: list[float]) -> None:
    lines = [
        json.dumps({"event": "valid", "step": epoch, "epoch": epoch, "rank_ic": 0.0, "smoothed_rank_ic": value})
        for epoch, value in enumerate(values, 1)
    ]
    (folder / "run").mkdir(exist_ok=True)
    (folder / "run" / "events.jsonl").write_text("\n".join(lines) + "\n")


def test_what_is_drawn_is_trained_told_and_judged(plan: SearchPlan) -> None:
    told: list[str] = []
    queue = SearchQueue(plan, Study(plan.folder, plan.space, plan.config.search), told.append)
    jobs = [job for _ in range(6) if (job := queue.next()) is not None]
    assert [job.name for job in jobs] == [f"{number:04d}" for number in range(6)]
    assert queue.next() is None
    for number, job in enumerate(jobs[:3]):
        leave_epochs(job.folder, [0.01, 0.02 + 0.01 * number])
        assert not queue.unwanted(job)
        queue.over(job, leave_outcome(job.folder, 0.01 * (number + 1)))
    leave_epochs(jobs[3].folder, [-0.5, -0.5])
    (jobs[3].folder / "run" / "checkpoints").mkdir()
    assert queue.unwanted(jobs[3])
    queue.over(jobs[3], None)
    assert not (jobs[3].folder / "run" / "checkpoints").exists()
    queue.over(jobs[4], Failure("exit code 70: not finite", 70))
    assert "3 of 6 trials" in told[2]
    assert "0003 given up (best +0.0300)" in told[3]

    # Stopped here: the last one is still to be done, and nothing else is.
    study = Study(plan.folder, plan.space, plan.config.search)
    again = SearchQueue(plan, study, told.append)
    assert again.next() == jobs[5]
    assert again.next() is None
    again.over(jobs[5], leave_outcome(jobs[5].folder, 0.0))

    result = write_results(plan, study.tried, study.importances(), "atft search")
    assert [each.state for each in result.trials] == ["complete"] * 3 + ["pruned", "failed", "complete"]
    assert result.best == 2
    assert result.luck is not None
    assert result.luck.tried == 6
    written = json.loads((plan.folder / RESULT).read_text())
    assert written["luck"]["tried"] == 6
    assert written["test"].startswith("the test days were not looked at")
    assert (plan.folder / PAGE).read_text().startswith("<!doctype html>")
    best = load_config([f"config={plan.folder / BEST}"])
    drawn = load_config([*plan.space.fixed, *result.trials[2].arguments])
    assert (best.optimizer, best.model, best.data.horizons) == (drawn.optimizer, drawn.model, drawn.data.horizons)
    assert best.run.dir is None


def test_a_trial_that_finished_just_before_a_stop_is_settled_without_training(plan: SearchPlan) -> None:
    study = Study(plan.folder, plan.space, plan.config.search)
    queue = SearchQueue(plan, study, lambda text: None)
    first = queue.next()
    assert first is not None
    leave_outcome(first.folder, 0.05)
    again = SearchQueue(plan, Study(plan.folder, plan.space, plan.config.search), lambda text: None)
    second = again.next()
    assert second is not None
    assert second.name == "0001"
    assert Study(plan.folder, plan.space, plan.config.search).tried[0].value == pytest.approx(0.05)


def test_a_training_that_diverged_has_failed_and_is_not_the_best(plan: SearchPlan) -> None:
    study = Study(plan.folder, plan.space, plan.config.search)
    queue = SearchQueue(plan, study, lambda text: None)
    jobs = [job for _ in range(3) if (job := queue.next()) is not None]
    queue.over(jobs[0], leave_outcome(jobs[0].folder, -0.02))
    nothing = dict.fromkeys((1, 2), (0.0,) * len(DAYS))
    diverged = TrialOutcome(days=DAYS, daily_rank_ic=nothing)
    queue.over(jobs[1], diverged)
    diverged.write(jobs[2].folder)  # just before a stop
    study = Study(plan.folder, plan.space, plan.config.search)
    SearchQueue(plan, study, lambda text: None).next()
    result = write_results(plan, study.tried, {}, "atft search")
    assert [each.state for each in result.trials] == ["complete", "failed", "failed"]
    assert result.best == 0
    assert {each.why for each in result.trials[1:]} == {"the training diverged: no finite weights"}


def test_what_does_not_fit_together_has_failed_and_counts(plan: SearchPlan, tmp_path: Path) -> None:
    from atft_gat_fan.config.search_space import read_space

    space = read_space([*plan.space.fixed, "model.num_heads=choice(3,5)"])
    other = SearchPlan(plan.config, space, tmp_path / "other", "made up", "f" * 8, DAYS)
    other.folder.mkdir()
    study = Study(other.folder, space, plan.config.search)
    assert SearchQueue(other, study, lambda text: None).next() is None
    assert {each.state for each in study.tried} == {"failed"}
    assert len(study.tried) == 6
    assert "hidden_size" in study.tried[0].why


def test_a_trial_is_judged_on_the_validation_days_and_trained_as_asked(plan: SearchPlan) -> None:
    trial = plan.trial(3, ["optimizer.lr=0.001"])
    assert (trial.test_start, trial.test_end) == (DAYS[0], DAYS[-1])
    config = plan.trial_config(3, ["optimizer.lr=0.001", "model.hidden_size=12"])
    assert (config.optimizer.lr, config.model.hidden_size) == (0.001, 12)
    assert config.run.dir == str(plan.folder / "trials" / "0003" / "run")


def test_the_best_trials_folder_that_is_gone_is_named(plan: SearchPlan) -> None:
    study = Study(plan.folder, plan.space, plan.config.search)
    queue = SearchQueue(plan, study, lambda text: None)
    jobs = [job for _ in range(3) if (job := queue.next()) is not None]
    for level, job in zip((0.01, 0.03, 0.02), jobs, strict=True):
        queue.over(job, leave_outcome(job.folder, level))
    shutil.rmtree(jobs[1].folder)
    with pytest.raises(StorageError, match=r"trials/0001: expected the outcome of the best trial.*run\.fresh=true"):
        write_results(plan, study.tried, {}, "atft search")


def test_a_blend_is_refused_as_trials_train_the_network_alone(plan: SearchPlan) -> None:
    with pytest.raises(ConfigError, match=r"leave LightGBM out.*model\.blend\.enabled=false"):
        plan_search([*KEYS, *OVER, "model.blend.enabled=true"], quiet())
    with pytest.raises(ConfigError, match=r"leave LightGBM out.*model\.blend\.enabled=false"):
        plan.trial_config(0, ["model.blend.enabled=true"])


def test_a_folder_belongs_to_one_question(plan: SearchPlan) -> None:
    settle_question(plan)
    settle_question(plan)
    other = SearchPlan(plan.config, plan.space, plan.folder, "made up", "another", DAYS)
    with pytest.raises(ConfigError, match="a search of the same data, found another"):
        settle_question(other)


@pytest.mark.slow
@pytest.mark.exhaustive
def test_a_search_never_sees_the_test_days_and_goes_on(tmp_path: Path) -> None:
    places = [f"run.dir={tmp_path / 'search'}", f"data.cache={tmp_path / 'cache'}", "train.max_steps=3"]
    arguments = [*KEYS, *OVER, *places, "trials.workers=2"]
    plan = plan_search([*arguments, "search.num_trials=2"], quiet())
    described = describe_search(plan)
    assert (described["trials"], described["space"]) == (2, OVER)
    first = search(plan, quiet(), "atft search")
    assert [each.state for each in first.trials] == ["complete", "complete"]
    split_end = plan.valid_days[-1]
    for trial in first.trials:
        outcome = TrialOutcome.read(Path(trial.folder))
        assert outcome is not None
        assert outcome.days == plan.valid_days
        assert max(outcome.days) == split_end
        assert not (Path(trial.folder) / "run" / "predictions.parquet").exists()
    before = [(Path(trial.folder) / "trial.json").stat().st_mtime_ns for trial in first.trials]
    again = search(plan_search([*arguments, "search.num_trials=2"], quiet()), quiet(), "atft search")
    assert again == first
    more = search(plan_search([*arguments, "search.num_trials=3"], quiet()), quiet(), "atft search")
    assert more.trials[:2] == first.trials
    assert (len(more.trials), more.trials[2].state) == (3, "complete")
    assert TrialOutcome.read(Path(more.trials[2].folder)) is not None
    assert [(Path(trial.folder) / "trial.json").stat().st_mtime_ns for trial in more.trials[:2]] == before
