"""What a search leaves: search.json, its page, and the best configuration as a file to train with."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from omegaconf import OmegaConf

from atft_gat_fan.config.load import PLACES, load_config
from atft_gat_fan.errors import StorageError
from atft_gat_fan.runs.run_files import write_json, write_text
from atft_gat_fan.runs.search_plan import SearchPlan
from atft_gat_fan.runs.search_study import Tried
from atft_gat_fan.validation.outcome import TrialOutcome
from atft_gat_fan.validation.search_report import build_search_report
from atft_gat_fan.validation.search_result import SearchResult, SearchTrial, icirs, judge_luck

RESULT, PAGE, BEST = "search.json", "search.html", "best.yaml"


def write_results(
    plan: SearchPlan, tried: Sequence[Tried], importance: Mapping[str, float], command: str
) -> SearchResult:
    """Raises StorageError where a trial's outcome cannot be read, the best one's is gone, or the files cannot be
    written.
    """
    outcomes = {
        each.number: outcome
        for each in tried
        if each.state == "complete" and (outcome := TrialOutcome.read(plan.trial_folder(each.number))) is not None
    }
    trials = [_trial(plan, each, outcomes.get(each.number)) for each in tried if each.state != "running"]
    of_each = icirs(trials, outcomes)
    trials = [replace(trial, icir=icir) for trial, icir in zip(trials, of_each, strict=True)]
    horizons = plan.config.data.horizons
    result = SearchResult(
        command=command,
        data=plan.data,
        space=plan.space.varied,
        days=(plan.valid_days[0], plan.valid_days[-1], len(plan.valid_days)),
        horizons=horizons,
        trials=tuple(trials),
        best=None,
        luck=None,
        importance=importance,
        best_config=None,
    )
    if result.ranked:
        best = result.ranked[0]
        if best.number not in outcomes:
            raise StorageError(
                f"{best.folder}: expected the outcome of the best trial, found none; put the folder back, or start "
                "over with run.fresh=true"
            )
        luck = judge_luck(outcomes[best.number], of_each, horizons)
        write_text(plan.folder / BEST, _config_file(plan, best))
        result = replace(result, best=best.number, luck=luck, best_config=str(plan.folder / BEST))
    write_json(plan.folder / RESULT, result.to_json())
    write_text(plan.folder / PAGE, build_search_report(result))
    return result


def _trial(plan: SearchPlan, tried: Tried, outcome: TrialOutcome | None) -> SearchTrial:
    by_epoch = tuple(tried.by_epoch[epoch] for epoch in sorted(tried.by_epoch))
    assert tried.state != "running"
    rank_ic = tried.value
    if tried.state == "pruned" and by_epoch:
        rank_ic = by_epoch[-1]
    return SearchTrial(
        number=tried.number,
        state=tried.state,
        arguments=tried.arguments,
        rank_ic=rank_ic,
        icir=None,
        by_epoch=by_epoch,
        seconds=None if outcome is None else outcome.seconds,
        folder=str(plan.trial_folder(tried.number)),
        why=tried.why,
    )


def _config_file(plan: SearchPlan, best: SearchTrial) -> str:
    """Every key that is not a place: the same configuration, whatever the files it was composed of become."""
    config = load_config([*plan.space.fixed, *best.arguments])
    values = config.model_dump(mode="json", exclude=PLACES)
    said = f"# Trial {best.number} of a search: {' '.join(best.arguments)}\n"
    return f"# @package _global_\n{said}{OmegaConf.to_yaml(OmegaConf.create(values))}"
