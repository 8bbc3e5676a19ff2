"""The figures of a walk-forward: where its folds lie, how each ranks, and how steadily all of them do."""

from collections.abc import Mapping, Sequence
from math import nan
from typing import Any

import numpy as np

from atft_gat_fan.evaluation.charts import scorer_lines
from atft_gat_fan.evaluation.evaluate import Evaluation, name_of
from atft_gat_fan.evaluation.verdict import title_of
from atft_gat_fan.evaluation.walkforward import SEED, FoldPeriods, Period, without_members
from atft_gat_fan.metrics.portfolio import cumulative
from atft_gat_fan.reporting import figures
from atft_gat_fan.reporting.comparisons import Estimate, Mark, forest_plot, span_of
from atft_gat_fan.reporting.numbers import fixed
from atft_gat_fan.reporting.page import Chart
from atft_gat_fan.reporting.theme import ACCENT, ACCENT_SOFT, BAD, FULL_WIDTH, GREYS, HALF_WIDTH
from atft_gat_fan.reporting.timeline import Stretch, timeline

Json = Mapping[str, Any]

NORMAL_95 = 1.96
"""Standard errors on either side of the mean that make a 95 % interval."""
DAY = np.timedelta64(1, "D")
TRAIN, GAP, VALID, TEST = "training", "purge and embargo", "validation", "test"


def timeline_chart(folds: Sequence[FoldPeriods], purge: int, embargo: int) -> Chart:
    """Training, validation and test days of every fold, and what is left out between them."""
    rows = [(f"fold {fold.number}", _stretches(fold)) for fold in folds]
    legend = ((TRAIN, GREYS[3]), (GAP, BAD), (VALID, ACCENT_SOFT), (TEST, ACCENT))
    kept = f"{purge} trading days are purged" + (f" and {embargo} more embargoed" if embargo else "")
    return Chart(
        "The folds",
        f"{kept} between the parts, so that no label of one reaches into the next; every test day belongs to one fold.",
        timeline(rows, legend, label="Training, validation and test days of each fold"),
    )


def cumulative_chart(combined: Evaluation, folds: Sequence[FoldPeriods]) -> Chart:
    """RankIC of the first horizon summed up over the test days of all folds, of the model and the baselines."""
    horizon, days = name_of(combined.horizons[0]), combined.days
    title = f"Cumulative RankIC@{horizon} over all folds"
    sums = {name: cumulative(each.rank_ic[:, 0]) for name, each in without_members(combined).series.items()}
    if len(days) < 2:
        return Chart(title, "Fewer than two test days: there is no path to draw.")
    ends = ", ".join(f"{title_of(name)} {fixed(values[-1], 1, sign=True)}" for name, values in sums.items())
    breaks = [np.datetime64(fold.test.first) for fold in folds[1:]]
    return Chart(
        title,
        f"A steady slope is a steady skill; dashed: the next fold's weights take over. After {len(days)} days: {ends}.",
        figures.line_chart(
            scorer_lines(days, sums), label=f"Cumulative RankIC at {horizon} over all folds", breaks=breaks
        ),
    )


def fold_chart(folds: Sequence[FoldPeriods], metrics: Sequence[Json], combined: Json) -> Chart:
    """RankIC of the first horizon on the test days of each fold, and of all together."""
    horizon = next(iter(combined["rank_ic"]))
    rows = [
        _estimate(f"fold {fold.number}, from {fold.test.first}", each, horizon)
        for fold, each in zip(folds, metrics, strict=True)
    ]
    rows.append(_estimate("all test days", combined, horizon))
    known = [row.value for row in rows[:-1] if np.isfinite(row.value)]
    above = f"above zero in {sum(value > 0 for value in known)} of {len(known)} folds"
    return Chart(
        f"RankIC@{horizon} of each fold",
        f"With 95 % intervals (Newey–West); {above}. Filled: the interval excludes zero.",
        _forest(rows, f"RankIC at {horizon} of each fold with its interval", f"RankIC@{horizon}"),
    )


def baseline_chart(combined: Json) -> Chart:
    """The model's RankIC minus each baseline's, on the same days."""
    horizon = next(iter(combined["rank_ic"]))
    title = f"Model minus baseline, RankIC@{horizon}"
    rows = [_difference(title_of(name), each[horizon]) for name, each in combined["versus"].items()]
    if not rows:
        return Chart(title, "No baseline ran on these days.", wide=False)
    return Chart(
        title,
        "Paired by day, 95 % interval of the stationary bootstrap; to the right of zero the model ranks better.",
        _forest(rows, f"RankIC at {horizon} of the model minus each baseline", "ΔRankIC", half=True),
        wide=False,
    )


def seed_chart(combined: Json) -> Chart:
    """The ensemble's RankIC beside that of each seed alone."""
    horizon = next(iter(combined["rank_ic"]))
    title = f"Ensemble and single seeds, RankIC@{horizon}"
    members = combined["seeds"]
    if not members:
        return Chart(title, "One seed: there is no ensemble to compare.", wide=False)
    rows = [_estimate("ensemble (mean of ranks)", combined, horizon)]
    rows += [_estimate(f"seed {name.removeprefix(SEED)}", each, horizon) for name, each in members.items()]
    alone = [row.value for row in rows[1:] if np.isfinite(row.value)]
    gain = fixed(rows[0].value - float(np.mean(alone)), sign=True) if alone else "–"
    return Chart(
        title,
        f"Over all test days; the ensemble is {gain} above the mean of its {len(members)} members.",
        _forest(rows, f"RankIC at {horizon} of the ensemble and of each seed", f"RankIC@{horizon}", half=True),
        wide=False,
    )


def _stretches(fold: FoldPeriods) -> list[Stretch]:
    def stretch(kind: str, period: Period) -> Stretch:
        return Stretch(kind, np.datetime64(period.first), np.datetime64(period.last))

    train, valid, test = stretch(TRAIN, fold.train), stretch(VALID, fold.valid), stretch(TEST, fold.test)
    gaps = [Stretch(GAP, one.last + DAY, other.first - DAY) for one, other in ((train, valid), (valid, test))]
    return [train, gaps[0], valid, gaps[1], test]


def _estimate(name: str, metrics: Json, horizon: str) -> Estimate:
    value, error, t = (metrics[key][horizon] for key in ("rank_ic", "rank_ic_se", "rank_ic_t"))
    if value is None:
        return Estimate(name, nan, note="no day can be ranked")
    if error is None:
        return Estimate(name, value, mark="open", note="too few days")
    low, high = value - NORMAL_95 * error, value + NORMAL_95 * error
    return Estimate(name, value, low, high, _mark(low, high), f"{fixed(value)}, t {fixed(t, 1)}")


def _difference(name: str, comparison: Json) -> Estimate:
    mean, low, high = (nan if comparison[key] is None else comparison[key] for key in ("mean", "low", "high"))
    return Estimate(name, mean, low, high, _mark(low, high), fixed(comparison["mean"], sign=True))


def _mark(low: float, high: float) -> Mark:
    if low > 0:
        return "good"
    return "bad" if high < 0 else "open"


def _forest(rows: Sequence[Estimate], label: str, x_label: str, *, half: bool = False) -> str:
    width = HALF_WIDTH if half else FULL_WIDTH
    return forest_plot(rows, label=label, x_label=x_label, limits=span_of(rows), width=width)
