"""Numbers of each day and each run: is the ranking steady, is everything there, does it rank, does memory grow?"""

from collections.abc import Sequence
from datetime import UTC, datetime
from math import inf, nan

import numpy as np
import polars as pl
from numpy.typing import NDArray

from atft_gat_fan.monitoring.charts import SHOWN_DAYS, short_window
from atft_gat_fan.monitoring.history import daily
from atft_gat_fan.monitoring.result import MemoryResult, MonitorResult, RankIcResult, StabilityResult
from atft_gat_fan.monitoring.windows import rolling_means
from atft_gat_fan.reporting.comparisons import Estimate, Mark, forest_plot, span_of
from atft_gat_fan.reporting.figures import Line, line_chart
from atft_gat_fan.reporting.numbers import MEBIBYTE, THIN_SPACE, between, compact, fixed, percent
from atft_gat_fan.reporting.page import Chart
from atft_gat_fan.reporting.strips import Strip, strip_stack
from atft_gat_fan.reporting.theme import ACCENT, BAD, GREYS, HALF_WIDTH

MEAN_DAYS = 20
"""Days of the running mean of RankIC."""
POSSIBLE = {"rank_correlation": (-1.0, 1.0), "graph_degree": (0.0, inf)}
"""What a number can be; others are shares. A bound outside, of a short reference, would squeeze its strip flat."""
SHARES = ("coverage", "scored_share", "nan_share")
"""Numbers written as percent."""

Array = NDArray[np.float64]


def stability_charts(result: MonitorResult, history: pl.DataFrame) -> list[Chart]:
    """Rank correlation from day to day; coverage, missing values and graph."""
    ranks = [number for number in result.stability if number.name.startswith("rank_correlation")]
    others = [number for number in result.stability if not number.name.startswith("rank_correlation")]
    return [
        _stability("The ranking from one day to the next", ranks, result, history),
        _stability("What is scored, and from what", others, result, history),
    ]


def rank_ic_charts(result: MonitorResult, history: pl.DataFrame) -> list[Chart]:
    """Realised RankIC: its days at the first horizon, and by horizon its mean with the interval, and its CUSUM."""
    known = {horizon: found for horizon, found in result.rank_ic.items() if found.days}
    if not known:
        reasons = sorted({found.unavailable for found in result.rank_ic.values() if found.unavailable})
        return [Chart("Realised RankIC", f"Nothing to see: {'; '.join(reasons) or 'there are no labels'}.")]
    first = next(iter(known))
    return [_rank_ic_days(first, known[first], result.model, history), _rank_ic_means(known), _cusums(known)]


def memory_chart(memory: MemoryResult) -> Chart:
    """Post-step minima of the runs with their Theil-Sen line."""
    title = "Private memory after scoring a day, run by run"
    now = (
        f"This run: {memory_words(memory.now.post_step_min_bytes)}, at its peak {memory_words(memory.now.peak_bytes)}."
    )
    words = f"{trend_words(memory)} {now}"
    if len(memory.readings) < 2:
        return Chart(title, words)
    minima = np.array([reading.post_step_min_bytes for reading in memory.readings]) / MEBIBYTE
    if memory.slope is None:  # perhaps all of one day: by their order, not by the hour
        lines, x_label = [Line("", np.arange(1, len(minima) + 1), minima, marker="o")], "run"
    else:
        at = [datetime.fromisoformat(reading.at).astimezone(UTC).replace(tzinfo=None) for reading in memory.readings]
        x, x_label = np.array(at, dtype="datetime64[s]"), ""
        elapsed = (x - x[0]) / np.timedelta64(1, "D")
        through = np.median(minima) * (1 + memory.slope * (elapsed - np.median(elapsed)))
        colour = BAD if memory.alarm else GREYS[0]
        lines = [Line("", x, minima, marker="o"), Line("trend", x, through, colour, (0, (5, 3)))]
    svg = line_chart(lines, label=f"{title}. {words}", height=230, y_label="MiB", x_label=x_label, zero=False)
    return Chart(title, words, svg)


def trend_words(memory: MemoryResult) -> str:
    """The slope with its interval, or why there is none."""
    if memory.slope is None:
        return f"No trend: {memory.unavailable}."
    slope, interval = percent(memory.slope, 2, sign=True), between(memory.low, memory.high, _signed)
    return f"{slope} a day over {len(memory.readings)} runs (Theil–Sen, Sen's interval {interval})."


def memory_words(num_bytes: int) -> str:
    """As `431 MiB`."""
    return f"{num_bytes / MEBIBYTE:,.0f} MiB"


def value_words(name: str, value: float | None) -> str:
    """A number of `StabilityResult` in its unit."""
    if value is None:
        return "–"
    return percent(value, 1) if name in SHARES else fixed(value, 3) if abs(value) <= 1 else compact(value)


def _signed(value: float) -> str:
    return percent(value, 2, sign=True)


def _stability(title: str, numbers: Sequence[StabilityResult], result: MonitorResult, history: pl.DataFrame) -> Chart:
    strips, absent, window = [], [], short_window(result)
    for number in numbers:
        days, values = _series(history, result.model, number.name)
        if np.isfinite(values).any():
            strips.append(_strip(number, days, values, window))
        if number.unavailable is not None:
            absent.append(f"{number.title}: {number.unavailable}.")
    if not strips:
        return Chart(title, " ".join(absent) or "Nothing of this was measured.", wide=False)
    note = (
        f"Thin: each day; thick: the mean of {result.short_days}, to stay between the dashed bounds. Grey: reference."
    )
    newest = ", ".join(f"{number.title} {value_words(number.name, number.value)}" for number in numbers)
    svg = strip_stack(strips, label=f"{title}: {newest}.", width=HALF_WIDTH, height=88)
    return Chart(title, " ".join([note, *absent]), svg, wide=False)


def _strip(number: StabilityResult, days: NDArray[np.datetime64], values: Array, window: int) -> Strip:
    lines = [Line("", days, rolling_means(values, window), width=1.8), Line("", days, values, GREYS[2], width=0.8)]
    if number.reference is not None:
        lines.append(Line("", days[[0, -1]], np.full(2, number.reference), GREYS[1], width=1.0))
    least, most = next((span for name, span in POSSIBLE.items() if number.name.startswith(name)), (0.0, 1.0))
    return Strip(
        number.title,
        lines,
        low=nan if number.low is None or number.low < least else number.low,
        high=nan if number.high is None or number.high > most else number.high,
        form=percent if number.name in SHARES else compact,
    )


def _rank_ic_days(horizon: str, found: RankIcResult, model: str, history: pl.DataFrame) -> Chart:
    days, values = _series(history, model, "rank_ic", horizon)
    title = f"Realised RankIC@{horizon}"
    lines = [Line(f"mean of {MEAN_DAYS}", days, _full_means(values, MEAN_DAYS), width=1.8)]
    against = ""
    if found.reference_mean is not None and len(days) > 1:
        lines.append(Line("validation", days[[0, -1]], np.full(2, found.reference_mean), GREYS[0], (0, (5, 3)), 1.1))
        against = f" Dashed: {fixed(found.reference_mean)}, its mean on the validation days."
    lines.append(Line("", days, values, GREYS[2], width=0.7, marker="o" if len(days) < 30 else ""))
    note = f"Thin: each matured day; thick: the mean of the last {MEAN_DAYS}.{against}"
    return Chart(title, note, line_chart(lines, label=f"{title}. {rank_ic_words(found)}", height=250))


def rank_ic_words(found: RankIcResult) -> str:
    """The mean with its interval and t, or why there is none."""
    if found.mean is None:
        return f"Not known: {found.unavailable or 'too few days'}."
    interval = between(found.low, found.high, lambda value: fixed(value, sign=True))
    t = "" if found.t is None else f", t = {fixed(found.t, 1)}"
    return f"{fixed(found.mean, sign=True)} over {len(found.days)} days (95{THIN_SPACE}%: {interval}{t})."


def _rank_ic_means(known: dict[str, RankIcResult]) -> Chart:
    title = "Its mean, by horizon"
    rows = []
    for horizon, found in known.items():
        value, low, high = (nan if v is None else v for v in (found.mean, found.low, found.high))
        before = () if found.reference_mean is None else (found.reference_mean,)
        note = fixed(found.mean, sign=True)
        mark: Mark = "bad" if found.alarm else "good" if low > 0 else "open"
        rows.append(Estimate(horizon, value, low, high, mark, note, before))
    words = "; ".join(f"{horizon} {rank_ic_words(found)}" for horizon, found in known.items())
    svg = forest_plot(rows, label=f"{title}: {words}", x_label="mean daily RankIC", limits=span_of(rows))
    note = (
        "Newey–West 95 % interval. Full: above zero by more than chance; ▼: its CUSUM alarms. Small stroke: validation."
    )
    return Chart(title, note, svg, wide=False)


def _cusums(known: dict[str, RankIcResult]) -> Chart:
    title = "CUSUM against the validation's mean"
    strips = [
        Strip(
            f"{horizon}: alarm {', '.join(found.raised[-2:])}" if found.raised else horizon,
            [Line("", np.array(found.days, dtype="datetime64[D]"), np.array(found.cusum, dtype=np.float64), ACCENT)],
            high=nan if found.cusum_threshold is None else found.cusum_threshold,
        )
        for horizon, found in known.items()
        if any(value is not None for value in found.cusum)
    ]
    absent = " ".join(f"{horizon}: {found.unavailable}." for horizon, found in known.items() if found.unavailable)
    if not strips:
        return Chart(title, absent or "Nothing was summed.", wide=False)
    note = "Shortfalls of RankIC added up, in its long-run deviations: it climbs while RankIC is lower than it was."
    newest = ", ".join(strip.title for strip in strips)
    svg = strip_stack(strips, label=f"{title}: {newest}.", width=HALF_WIDTH, height=74)
    return Chart(title, " ".join(filter(None, (note, absent))), svg, wide=False)


def _series(history: pl.DataFrame, model: str, metric: str, name: str = "") -> tuple[NDArray[np.datetime64], Array]:
    days, values = daily(history, model, metric, name, SHOWN_DAYS)
    return np.array(days, dtype="datetime64[D]"), np.array(values, dtype=np.float64)


def _full_means(values: Array, window: int) -> Array:
    """Running means of as many days, or of all where there are fewer."""
    means = rolling_means(values, min(window, len(values)))
    means[: min(window, len(values)) - 1] = nan
    return means
