"""The figures of a comparison: RankIC summed up over time, and the paired differences from the first run."""

from math import nan

from atft_gat_fan.evaluation.comparison import LEVEL, Comparison, DeltaRankIC
from atft_gat_fan.evaluation.evaluate import name_of
from atft_gat_fan.metrics.portfolio import cumulative
from atft_gat_fan.reporting.comparisons import Estimate, Mark, forest_plot, span_of
from atft_gat_fan.reporting.figures import Line, line_chart, shorten
from atft_gat_fan.reporting.numbers import fixed
from atft_gat_fan.reporting.page import Chart
from atft_gat_fan.reporting.theme import ACCENT, DASHES, GREYS

WIDTH = 440
"""Of a forest: as on the page of a validation."""
NAME_LENGTH = 22


def cumulative_chart(comparison: Comparison) -> Chart:
    """RankIC of every run summed up over its own test days, the first run in colour."""
    name = name_of(comparison.horizon)
    title = f"Cumulative RankIC@{name}"
    lines, ends = [], []
    for position, run in enumerate(comparison.runs):
        if run.judged is None or comparison.horizon not in run.judged.horizons or len(run.judged.days) < 2:
            continue
        total = cumulative(run.judged.rank_ic(comparison.horizon))
        colour, dash = (ACCENT, DASHES[0]) if not position else _look(position - 1)
        width = 1.4 if position else 2.0
        lines.append(Line(shorten(run.name, NAME_LENGTH), run.judged.days, total, colour, dash, width))
        ends.append(f"{run.name} {fixed(float(total[-1]), 1, sign=True)}")
    if not lines:
        return Chart(title, "No run's test days can be had, so there is no path to draw.")
    note = f"Each over its own test days, from zero; a steady slope is a steady skill. At the end: {', '.join(ends)}."
    svg = line_chart(lines, label=f"{title}: {', '.join(ends)}", height=320)
    return Chart(title, note, svg)


def forest_charts(comparison: Comparison) -> list[Chart]:
    """Paired differences on one axis: a figure a horizon with a row a run; of one run a single figure, a row a horizon.

    None where nothing could be compared.
    """
    pairs = [pair for pair in comparison.pairs if pair.delta_rank_ic]
    first = comparison.reference.name
    if len(pairs) == 1:
        rows = [_row(name, delta) for name, delta in pairs[0].delta_rank_ic.items()]
        return [_forest(f"ΔRankIC of {pairs[0].run} against {first}", rows, span_of(rows))]
    names = [name_of(horizon) for horizon in comparison.horizons]
    by_horizon = {name: [_row(pair.run, pair.delta_rank_ic.get(name)) for pair in pairs] for name in names}
    known = {name: rows for name, rows in by_horizon.items() if any(row.value == row.value for row in rows)}
    limits = span_of(row for rows in known.values() for row in rows)
    return [_forest(f"ΔRankIC@{name} against {first}", rows, limits) for name, rows in known.items()]


def _forest(title: str, rows: list[Estimate], limits: tuple[float, float]) -> Chart:
    told = ", ".join(f"{row.name} {row.note}" for row in rows)
    svg = forest_plot(
        rows,
        label=f"{title}: {told}. The table below has the intervals.",
        x_label="difference of the mean daily RankIC",
        limits=limits,
        width=WIDTH,
    )
    return Chart(title, svg=svg, wide=False)


def _row(name: str, delta: DeltaRankIC | None) -> Estimate:
    if delta is None or delta.mean is None:
        return Estimate(name, nan, mark="open", note="–")
    low, high = (nan if bound is None else bound for bound in (delta.low, delta.high))
    return Estimate(name, delta.mean, low, high, _mark(delta), fixed(delta.mean, sign=True))


def _mark(delta: DeltaRankIC) -> Mark:
    if delta.p is None or delta.mean is None or delta.p > LEVEL:
        return "open"
    return "good" if delta.mean > 0 else "bad"


def _look(other: int) -> tuple[str, str | tuple[int, tuple[float, ...]]]:
    """Grey and dash of the runs after the first: sixteen before one comes again."""
    return GREYS[other % len(GREYS)], DASHES[(other + other // len(GREYS)) % len(DASHES)]
