"""`validation.html`: one self-contained page that answers whether the improvements help, and how sure that is."""

from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter, ValidationError

from atft_gat_fan.errors import DataError, Problem
from atft_gat_fan.reporting.numbers import MEBIBYTE, between, fixed, percent
from atft_gat_fan.reporting.page import Fact, render
from atft_gat_fan.validation.charts import contribution_chart, cost_charts, rank_ic_charts
from atft_gat_fan.validation.headline import ALL, confidence, short, subject, summarise
from atft_gat_fan.validation.result import ValidationResult
from atft_gat_fan.validation.tables import detail_tables, promise_table, verdict_table

TEMPLATE = "validation.html.j2"
KINDS = {"rank_ic": "for RankIC", "stress": "on the stress grid", "timing": "for time"}
"""What trainings were for, in words; other kinds as they are."""


def build_report(validation: Mapping[str, Any]) -> str:
    """The page as HTML text, from what `validation.json` holds (`ValidationResult.to_json()`).

    No scripts, no addresses; the same input gives the same text. What was not measured (null) is said to be so.
    Raises DataError naming every key that is missing or of another type.
    """
    result = _typed(validation)
    set_up, judged = result.set_up, subject(result.improvements)
    return render(
        TEMPLATE,
        data=set_up.data,
        horizon=next((h for each in result.improvements.values() for h in each.delta_rank_ic), "1d"),
        confidence=confidence(set_up.level),
        num_days=result.days,
        num_seeds=len(result.seeds),
        full=set_up.full,
        headline=summarise(result),
        all_title=short(result.improvements[ALL].title) if ALL in result.improvements else "",
        cannot_conclude=result.cannot_conclude,
        can_conclude=result.can_conclude,
        rank_ic=rank_ic_charts(result),
        contribution=contribution_chart(result),
        costs=cost_charts(result),
        verdicts=verdict_table(result),
        promises=promise_table(result),
        details=list(detail_tables(result)),
        rules=result.rules,
        baseline=_baseline_facts(result),
        set_up=_set_up_facts(result),
        switches=[(short(e.title), name, " ".join(e.overrides)) for name, e in result.improvements.items()],
        failed=set_up.failed_trials,
        judged="" if judged is None else short(judged.title),
        gates=[(g.expression, fixed(g.measured, sign=True), g.held) for g in result.gates],
        command=set_up.command,
    )


def _typed(validation: Mapping[str, Any]) -> ValidationResult:
    try:
        return TypeAdapter(ValidationResult).validate_python(dict(validation))
    except ValidationError as error:
        problems = [
            Problem(f"{entry['msg']}, found {entry['input']!r:.80}", where=".".join(map(str, entry["loc"])))
            for entry in error.errors()
        ]
        raise DataError(problems, source="validation.json") from None


def _baseline_facts(result: ValidationResult) -> list[Fact]:
    baseline = result.baseline
    facts = [
        Fact("Loss", baseline.loss),
        Fact("Label transform (loss only)", baseline.label_transform),
        *(Fact(name, str(value).lower()) for name, value in baseline.improvements.items()),
    ]
    for horizon, value in baseline.rank_ic.items():
        low, high = baseline.rank_ic_interval.get(horizon, (None, None))
        interval = between(low, high, fixed)
        facts.append(
            Fact(
                f"RankIC@{horizon}",
                fixed(value) + ("" if interval == "–" else f" ({confidence(result.set_up.level)}: {interval})"),
            )
        )
    speed, memory = baseline.samples_per_second, baseline.peak_private_bytes
    return [
        *facts,
        Fact("A training takes", "–" if baseline.seconds is None else _duration(baseline.seconds)),
        Fact("Speed", "–" if speed is None else f"{speed:,.0f} stock-days a second"),
        Fact("Peak private memory", "–" if memory is None else f"{memory / MEBIBYTE:,.0f} MiB"),
        Fact("Diverged on the stress grid", percent(baseline.divergence_rate)),
    ]


def _set_up_facts(result: ValidationResult) -> list[Fact]:
    set_up = result.set_up
    trials = ", ".join(f"{count} {KINDS.get(kind, kind)}" for kind, count in set_up.trials.items())
    return [
        Fact("Data", set_up.data),
        Fact("Test days", f"{result.days:,} in {len(set_up.folds)} fold{'s' if len(set_up.folds) != 1 else ''}"),
        *(Fact(f"Fold {number}", fold) for number, fold in enumerate(set_up.folds, 1)),
        Fact("Stocks on a test day", f"{set_up.stocks:,.0f}"),
        Fact("Horizons", ", ".join(f"{horizon}d" for horizon in set_up.horizons)),
        Fact("Seeds", ", ".join(map(str, result.seeds))),
        Fact("Epochs", str(set_up.epochs)),
        Fact("Parameters", "–" if set_up.parameters is None else f"{set_up.parameters:,}"),
        Fact("Trainings", trials or "none"),
        Fact("All trainings together", _duration(set_up.seconds)),
        Fact("Machine", set_up.machine),
    ]


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:,.1f} s"
    return f"{seconds / 60:,.1f} min" if seconds < 7200 else f"{seconds / 3600:,.1f} h"
