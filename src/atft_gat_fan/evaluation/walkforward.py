"""Many folds judged together: the metrics of each and of all their test days, the ensemble beside its members."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from atft_gat_fan.errors import DataError
from atft_gat_fan.evaluation.evaluate import Evaluation, EvaluationData, evaluate

SEED = "seed-"
"""What the names of single seeds begin with among the scores; `model` is their ensemble, other names are baselines."""

Json = dict[str, Any]


@dataclass(frozen=True)
class Period:
    """First and last day, ISO dates, and the number of trading days from one to the other."""

    first: str
    last: str
    days: int


@dataclass(frozen=True)
class FoldPeriods:
    """The days of a fold, counted from 1; those between the parts were purged, or are the embargo."""

    number: int
    train: Period
    valid: Period
    test: Period


@dataclass(frozen=True)
class WalkForwardEvaluation:
    """`combined` judges the test days of all folds as one period, `folds` the metrics of each by itself.

    Metrics are those of `evaluate`, with the members of the ensemble apart from the baselines: `seeds` by name, and
    `versus_seeds`, the ensemble minus each. They are empty where there is one seed.
    """

    combined: Evaluation
    folds: tuple[Json, ...]


def evaluate_folds(
    data: EvaluationData,
    folds: Sequence[FoldPeriods],
    *,
    num_quantiles: int,
    cost_bps: float,
    seed: int,
    num_resamples: int = 2000,
    progress: Callable[[float], None] = lambda share: None,
) -> WalkForwardEvaluation:
    """Judge `data`, the test days of all `folds` one after another, as a whole and fold by fold.

    Raises DataError where the folds have another number of days than the data.
    """
    expected = sum(fold.test.days for fold in folds)
    if len(data.days) != expected:
        raise DataError(f"expected the {expected} test days of {len(folds)} folds, found scores of {len(data.days)}")
    parts, start = [data], 0
    for fold in folds:
        parts.append(_part(data, slice(start, start + fold.test.days)))
        start += fold.test.days
    evaluations = []
    for number, part in enumerate(parts):

        def told(share: float, begin: float = number) -> None:
            progress((begin + share) / len(parts))

        evaluation = evaluate(
            part,
            num_quantiles=num_quantiles,
            cost_bps=cost_bps,
            seed=seed,
            num_resamples=num_resamples,
            progress=told,
        )
        evaluations.append(replace(evaluation, metrics=_members_apart(evaluation.metrics)))
    combined, *each = evaluations
    return WalkForwardEvaluation(combined, tuple(evaluation.metrics for evaluation in each))


def metrics_json(evaluation: WalkForwardEvaluation, folds: Sequence[FoldPeriods]) -> Json:
    """Sections of metrics.json: `test`, all test days together as of any run, and `folds`, each with its days."""
    each = [{**asdict(fold), **metrics} for fold, metrics in zip(folds, evaluation.folds, strict=True)]
    return {"test": evaluation.combined.metrics, "folds": each}


def without_members(evaluation: Evaluation) -> Evaluation:
    """The ensemble and the baselines alone."""
    return replace(
        evaluation, series={name: series for name, series in evaluation.series.items() if not name.startswith(SEED)}
    )


def _part(data: EvaluationData, days: slice) -> EvaluationData:
    return replace(
        data,
        days=data.days[days],
        scores={name: scores[days] for name, scores in data.scores.items()},
        labels=data.labels[days],
        present=data.present[days],
        dollar_volume=None if data.dollar_volume is None else data.dollar_volume[days],
    )


def _members_apart(metrics: Json) -> Json:
    baselines, members = _apart(metrics["baselines"])
    versus, versus_members = _apart(metrics["versus"])
    return {**metrics, "baselines": baselines, "versus": versus, "seeds": members, "versus_seeds": versus_members}


def _apart(by_name: Json) -> tuple[Json, Json]:
    members = {name: value for name, value in by_name.items() if name.startswith(SEED)}
    return {name: value for name, value in by_name.items() if name not in members}, members
