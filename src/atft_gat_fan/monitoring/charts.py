"""How far features and predictions are from the reference, since when, and how close to their thresholds."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from math import inf, nan
from typing import NamedTuple

import numpy as np
import polars as pl

from atft_gat_fan.monitoring.history import daily
from atft_gat_fan.monitoring.result import Distribution, Family, Measured, MonitorResult, ShiftResult
from atft_gat_fan.reporting.figures import Line
from atft_gat_fan.reporting.numbers import compact
from atft_gat_fan.reporting.page import Chart
from atft_gat_fan.reporting.strips import Gauge, Shares, Strip, gauge_bars, heat_strip, share_multiples, strip_stack

MOST_ROWS = 28
"""Names in the heat strip."""
MOST_BARS = 9
MOST_PANELS = 10
SHOWN_DAYS = 250
"""Days of the history that are drawn: about a year."""
SHORT: Mapping[Family, str] = {"raw_features": "{}", "standardised_features": "{} (seen)", "predictions": "score {}"}
"""A name wherever families stand together; `seen`: as the model sees it."""

Reader = Callable[[ShiftResult], Measured]


NO_COURSE = (
    "Nothing to see yet: a course needs two days on which a window is full. The bars below are of the newest day."
)
AREAS: Mapping[Family, str] = {
    "raw_features": "Features as they come",
    "standardised_features": "Features as seen",
    "predictions": "Predictions",
}
"""Short titles of the families."""


class Named(NamedTuple):
    """A shift with its name among all families."""

    name: str
    family: Family
    shift: ShiftResult


def furthest(result: MonitorResult) -> list[Named]:
    """Everything compared with the reference, the furthest beyond its threshold first."""
    named = (
        Named(SHORT[key].format(shift.name), key, shift)
        for key, family in result.families.items()
        for shift in family.shifts
    )
    return sorted(named, key=lambda each: -_excess(each.shift))


def drift_charts(result: MonitorResult, history: pl.DataFrame) -> list[Chart]:
    """The worst of each family over the history, and every day of the worst names."""
    return [_family_history(result, history), _heat(result)]


def gauge_charts(result: MonitorResult) -> list[Chart]:
    """PSI and Kolmogorov-Smirnov distance against their thresholds, of both windows where they differ yet."""
    psi = "Population stability index: 0 where every bin has the share it has in the reference."
    ks = "The largest gap between the two distribution functions, between 0 and 1."
    short = short_window(result)
    charts: list[tuple[str, str, int, Reader]] = [
        ("PSI", psi, result.long_days, lambda shift: shift.long.psi),
        ("PSI", psi, short, lambda shift: shift.short.psi),
        ("Kolmogorov–Smirnov", ks, result.long_days, lambda shift: shift.long.ks),
        ("Kolmogorov–Smirnov", ks, short, lambda shift: shift.short.ks),
    ]
    named = furthest(result)
    return [
        _gauges(f"{title}, last {days_words(num_days)}", note, [(each.name, read(each.shift)) for each in named])
        for title, note, num_days, read in (charts if short < result.long_days else charts[::2])
    ]


def short_window(result: MonitorResult) -> int:
    """Days of the short window: as many as there are, while they are fewer."""
    return min(result.short_days, result.long_days)


def distribution_charts(result: MonitorResult) -> list[Chart]:
    """Predictions now beside the reference, and the features that are furthest from it."""
    named = [(each, each.shift.distribution) for each in furthest(result)]
    scores = [(e, d) for e, d in named if e.family == "predictions" and d is not None]
    features = [(e, d) for e, d in named if e.family != "predictions" and d is not None]
    note = f"Bars: the last {days_words(result.long_days)}, each bin's share of the values. Outline: the reference."
    no_scores = result.families["predictions"].unavailable if "predictions" in result.families else None
    horizons = {f"score {horizon}": place for place, horizon in enumerate(result.rank_ic)}
    scores.sort(key=lambda pair: horizons.get(pair[0].name, len(horizons)))
    return [
        _shares("Predictions beside the reference", note, scores, no_scores or "No distribution was kept."),
        _shares("The features furthest from the reference", note, features[:MOST_PANELS], "No distribution was kept."),
    ]


def _family_history(result: MonitorResult, history: pl.DataFrame) -> Chart:
    title = "The furthest name of each family, day by day"
    strips = []
    for key, family in result.families.items():
        days, values = daily(history, result.model, "excess", key, SHOWN_DAYS)
        worst = np.array(values, dtype=np.float64)
        if np.isfinite(worst).sum() > 1:
            line = Line("", np.array(days, dtype="datetime64[D]"), worst)
            strips.append(Strip(family.title, [line], high=1.0, form=lambda value: f"{compact(value)}×"))
    if not strips:
        return Chart(title, NO_COURSE)
    note = "Its largest statistic over that statistic's threshold; above the dashed line is an alarm."
    newest = ", ".join(f"{strip.title} {compact(float(strip.lines[0].y[-1]))}" for strip in strips)
    return Chart(
        title, note, strip_stack(strips, label=f"{title}, times the threshold; newest day: {newest}.", height=92)
    )


def _heat(result: MonitorResult) -> Chart:
    title = "Names and days"
    named = [each for each in furthest(result) if sum(value is not None for value in each.shift.excess) > 1]
    if not named:
        return Chart(title, NO_COURSE)
    shown = named[:MOST_ROWS]
    days = np.array(result.days, dtype="datetime64[D]")[-SHOWN_DAYS:]
    shares = np.array([each.shift.excess for each in shown], dtype=np.float64)[:, -SHOWN_DAYS:]
    of = f"The {len(shown)} furthest of {len(named)} names" if len(named) > len(shown) else f"All {len(named)} names"
    worst = ", ".join(f"{each.name} {compact(_excess(each.shift))}" for each in shown[:5])
    note = (
        f"{of}, the furthest on top: the largest statistic over its threshold on each day. Red is above it, the "
        "stronger the farther; grey is not known. “Seen”: after standardising within the day, as the model gets it."
    )
    label = f"{title}, times the threshold; newest day: {worst}."
    return Chart(title, note, heat_strip([each.name for each in shown], days, shares, label=label))


def _gauges(title: str, note: str, measured: Iterable[tuple[str, Measured]]) -> Chart:
    rows = [
        Gauge(name, nan if m.value is None else m.value, nan if m.threshold is None else m.threshold)
        for name, m in measured
        if m.value is not None
    ]
    if not rows:
        return Chart(title, "Not known: the window is not full, or there is nothing to compare.", wide=False)
    rows = sorted(rows, key=lambda row: -row.value / row.threshold if row.threshold > 0 else -row.value)[:MOST_BARS]
    words = ", ".join(f"{row.name} {compact(row.value)}" for row in rows)
    svg = gauge_bars(rows, label=f"{title}: {words}. The tables of this page hold the numbers.")
    return Chart(title, f"{note} Strokes: each name's threshold.", svg, wide=False)


def _shares(title: str, note: str, found: Sequence[tuple[Named, Distribution]], absent: str) -> Chart:
    if not found:
        return Chart(title, absent)
    panels = [Shares(e.name, d.edges, d.reference, d.now, e.shift.alarm) for e, d in found]
    names = ", ".join(panel.title for panel in panels)
    return Chart(title, note, share_multiples(panels, label=f"{title}: {names}."))


def _excess(shift: ShiftResult) -> float:
    """Of the newest day; what is not known is not far."""
    newest = shift.excess[-1] if shift.excess else None
    return -inf if newest is None else newest


def days_words(number: int) -> str:
    """As in `the last 5 days`."""
    return "day" if number == 1 else f"{number} days"
