"""`walkforward.html`: one self-contained page about all folds together."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from atft_gat_fan.evaluation.charts import portfolio_charts, ranking_charts
from atft_gat_fan.evaluation.evaluate import MODEL, name_of
from atft_gat_fan.evaluation.report import config_facts, matrices, readable, tiles
from atft_gat_fan.evaluation.verdict import judge, title_of
from atft_gat_fan.evaluation.walkforward import FoldPeriods, WalkForwardEvaluation, without_members
from atft_gat_fan.evaluation.walkforward_charts import (
    baseline_chart,
    cumulative_chart,
    fold_chart,
    seed_chart,
    timeline_chart,
)
from atft_gat_fan.reporting.numbers import fixed
from atft_gat_fan.reporting.page import Fact, render

TEMPLATE = "walkforward.html.j2"

Json = Mapping[str, Any]


@dataclass(frozen=True)
class WalkForwardInputs:
    """What the page is made from."""

    name: str
    folds: Sequence[FoldPeriods]
    evaluation: WalkForwardEvaluation
    purge: int
    embargo: int
    facts: Json = field(default_factory=dict)
    """Of data, folds and trainings, printed in this order."""
    missing: Sequence[str] = ()
    """Baselines that could not run in some folds, and why, a sentence each."""
    config: Json = field(default_factory=dict)
    commands: Sequence[str] = ()


@dataclass(frozen=True)
class FoldTable:
    """One line a fold; `columns` name the cells, the first of which is the fold."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def build_walkforward_report(inputs: WalkForwardInputs) -> str:
    """The page as HTML text, without scripts or addresses. The same inputs give the same text."""
    evaluation = inputs.evaluation
    combined, metrics = evaluation.combined, evaluation.combined.metrics
    first, last = inputs.folds[0], inputs.folds[-1]
    horizon = name_of(combined.horizons[0])
    ensemble = without_members(combined)
    return render(
        TEMPLATE,
        name=inputs.name,
        period=f"{first.test.first} to {last.test.last}",
        num_days=len(combined.days),
        num_folds=len(inputs.folds),
        num_seeds=max(len(metrics["seeds"]), 1),
        num_stocks=f"{metrics['stocks']:,.0f}",
        verdict=judge(metrics),
        stability=list(_stability(evaluation.folds, horizon)),
        tiles=tiles(metrics, horizon),
        cumulative=cumulative_chart(combined, inputs.folds),
        by_fold=fold_chart(inputs.folds, evaluation.folds, metrics),
        timeline=timeline_chart(inputs.folds, inputs.purge, inputs.embargo),
        compared=[baseline_chart(metrics), seed_chart(metrics)],
        tables=[_rank_ic_table(inputs.folds, evaluation.folds, horizon), _days_table(inputs.folds)],
        horizons=[name_of(each) for each in combined.horizons],
        matrices=matrices(metrics),
        ranking=ranking_charts(ensemble)[1:],
        portfolio=portfolio_charts(ensemble),
        facts_of=[Fact(name, readable(value)) for name, value in inputs.facts.items()],
        missing=list(inputs.missing),
        config=config_facts(inputs.config),
        commands=list(inputs.commands),
    )


def _stability(folds: Sequence[Json], horizon: str) -> Iterator[str]:
    """In how many folds the model ranks at all, and better than each baseline."""
    known = [fold for fold in folds if fold["rank_ic"][horizon] is not None]
    positive = sum(fold["rank_ic"][horizon] > 0 for fold in known)
    yield f"RankIC@{horizon} is above zero in {positive} of {len(known)} folds."
    for name in dict.fromkeys(name for fold in known for name in fold["versus"]):
        gaps = [fold["versus"][name][horizon]["mean"] for fold in known if name in fold["versus"]]
        compared = [gap for gap in gaps if gap is not None]
        if compared:
            yield f"Above {title_of(name)} in {sum(gap > 0 for gap in compared)} of {len(compared)}."


def _days_table(folds: Sequence[FoldPeriods]) -> FoldTable:
    columns = ("fold", "trained", "days", "validated", "days", "tested", "days")
    return FoldTable("Days of every fold", columns, tuple((str(fold.number), *_days(fold)) for fold in folds))


def _days(fold: FoldPeriods) -> Iterator[str]:
    for period in (fold.train, fold.valid, fold.test):
        yield f"{period.first} to {period.last}"
        yield f"{period.days:,}"


def _rank_ic_table(folds: Sequence[FoldPeriods], metrics: Sequence[Json], horizon: str) -> FoldTable:
    baselines = list(dict.fromkeys(name for each in metrics for name in each["baselines"]))
    columns = ("fold", "from", title_of(MODEL), "t", "skip-1", "liquid", *map(title_of, baselines))
    rows = tuple(
        (str(fold.number), fold.test.first, *_numbers(each, baselines, horizon))
        for fold, each in zip(folds, metrics, strict=True)
    )
    return FoldTable(f"RankIC@{horizon} of every fold", columns, rows)


def _numbers(metrics: Json, baselines: Sequence[str], horizon: str) -> Iterator[str]:
    yield fixed(metrics["rank_ic"][horizon])
    yield fixed(metrics["rank_ic_t"][horizon], 1)
    yield fixed(metrics["rank_ic_skip1"][horizon])
    yield fixed((metrics["rank_ic_liquid"] or {}).get(horizon))
    for name in baselines:
        yield fixed(metrics["baselines"].get(name, {}).get("rank_ic", {}).get(horizon))
