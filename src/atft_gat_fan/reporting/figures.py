"""The charts of our pages: arrays in, one inline SVG out. Nothing here knows what a model is."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter, DayLocator, date2num
from matplotlib.ticker import FuncFormatter, MaxNLocator
from numpy.typing import NDArray

from atft_gat_fan.reporting.numbers import compact, fixed
from atft_gat_fan.reporting.theme import (
    ACCENT,
    BAD,
    FULL_WIDTH,
    HALF_WIDTH,
    INK,
    LINE,
    MUTED,
    new_figure,
    to_svg,
)

MAX_POINTS = 700
"""A line is thinned to about as many points as it has pixels."""
DATE_FORMATS = ["%Y", "%b %Y", "%d %b", "%d %b", "%d %b", "%d %b"]
"""Tick labels by years, months, days (nothing here is finer)."""
FEW_DAYS = np.timedelta64(7, "D")
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

Array = NDArray[np.floating]


@dataclass(frozen=True)
class Line:
    """One line of a chart; `x` are dates or numbers, NaN in `y` leaves a gap. An empty label is not written."""

    label: str
    x: NDArray[np.generic]
    y: Array
    colour: str = ACCENT
    dash: str | tuple[int, tuple[float, ...]] = "-"
    width: float = 1.4
    marker: str = ""


def line_chart(
    lines: Sequence[Line],
    *,
    label: str,
    width: int = FULL_WIDTH,
    height: int = 280,
    y_label: str = "",
    x_label: str = "",
    zero: bool = True,
    mark: tuple[float, float, str] | None = None,
    breaks: Sequence[np.datetime64] = (),
) -> str:
    """Lines named at their right ends. `mark` rings one point (x, y) and names it; `breaks` are dashed verticals."""
    with new_figure(width, height) as (figure, (ax,)):
        draw_lines(ax, lines)
        for position in breaks:
            ax.axvline(position, color=MUTED, linewidth=0.9, linestyle=(0, (3, 3)), zorder=1)  # type: ignore[arg-type]
        if mark is not None:
            _draw_mark(ax, mark)
        date_ticks = 9 if width >= FULL_WIDTH else 5
        finish_axes(ax, lines[0].x, y_label=y_label, x_label=x_label, zero=zero, date_ticks=date_ticks)
        name_ends(ax, lines, height)
        return to_svg(figure, label)


def small_multiples(
    panels: Sequence[tuple[str, Sequence[Line]]], *, label: str, height: int = 190, x_label: str = ""
) -> str:
    """One small chart a panel, side by side, each on its own scale; lines are told apart by colour alone."""
    columns = min(len(panels), 5)
    rows = -(-len(panels) // columns)
    with new_figure(FULL_WIDTH, height * rows, rows, columns) as (figure, axes):
        for ax, (title, lines) in zip(axes, panels, strict=False):
            draw_lines(ax, lines)
            ax.set_title(title, fontsize=11, color=INK, loc="left")
            finish_axes(ax, lines[0].x, x_label=x_label, zero=False, ticks=4)
        for ax in axes[len(panels) :]:
            ax.set_visible(False)
        return to_svg(figure, label)


def paths_with_drawdown(days: NDArray[np.datetime64], lines: Sequence[Line], drawdown: Array, *, label: str) -> str:
    """Cumulative returns above, the drawdown of one of them below, on one time axis."""
    height = 380
    with new_figure(FULL_WIDTH, height, 2, 1, height_ratios=(3, 1)) as (figure, (top, bottom)):
        draw_lines(top, lines)
        finish_axes(top, days, y_label="cumulative return (fraction)", zero=True)
        name_ends(top, lines, 0.7 * height)
        top.set_xlim(*date_limits(days))
        top.tick_params(labelbottom=False)
        x, y = _thin(days, drawdown)
        bottom.fill_between(x, y, 0.0, color=BAD, alpha=0.35, linewidth=0)
        finish_axes(bottom, days, y_label="drawdown", zero=True, ticks=3)
        bottom.set_xlim(*date_limits(days))
        return to_svg(figure, label)


def bar_chart(
    names: Sequence[str],
    values: Array,
    *,
    label: str,
    errors: Array | None = None,
    width: int = HALF_WIDTH,
    height: int = 260,
    y_label: str = "",
    x_label: str = "",
) -> str:
    """Vertical bars, negative ones in the warning colour, with optional symmetric error bars."""
    with new_figure(width, height) as (figure, (ax,)):
        position = np.arange(len(names))
        colours = [ACCENT if value >= 0 else BAD for value in values]
        ax.bar(position, values, width=0.72, color=colours, alpha=0.85, linewidth=0)
        if errors is not None:
            ax.errorbar(position, values, yerr=errors, fmt="none", ecolor=INK, elinewidth=1, capsize=0, alpha=0.6)
        every = -(-len(names) // 24)
        ax.set_xticks(position[::every], [names[i] for i in range(0, len(names), every)])
        _number_axis(ax, 5)
        ax.set_xlabel(x_label)
        ax.set_ylabel(y_label)
        ax.axhline(0.0, color=MUTED, linewidth=0.8)
        ax.set_xlim(-0.6, len(names) - 0.4)
        return to_svg(figure, label)


def horizontal_bars(
    names: Sequence[str],
    values: Array,
    *,
    label: str,
    width: int = HALF_WIDTH,
    x_label: str = "",
    reference: float | None = None,
) -> str:
    """Horizontal bars, the first on top, each with its value; `reference` is a dashed line to compare with."""
    with new_figure(width, 40 + 24 * len(names)) as (figure, (ax,)):
        position = np.arange(len(names))[::-1]
        ax.barh(position, values, height=0.66, color=ACCENT, alpha=0.85, linewidth=0)
        for y, value in zip(position, values, strict=True):
            place = (1, y)
            ax.annotate(
                compact(value),
                place,
                xycoords=("axes fraction", "data"),
                ha="right",
                va="center",
                fontsize=10,
                color=MUTED,
            )
        if reference is not None:
            ax.axvline(reference, color=MUTED, linewidth=1, linestyle=(0, (4, 3)), zorder=0)
        ax.set_yticks(position, [shorten(name, 26) for name in names], color=INK)
        ax.grid(False)
        ax.spines["bottom"].set_visible(False)
        ax.set_xticks([])
        ax.set_xlabel(x_label)
        ax.set_ylim(-0.6, len(names) - 0.4)
        ax.margins(x=0.16)
        return to_svg(figure, label)


def month_grid(days: NDArray[np.datetime64], values: Array, *, label: str, width: int = FULL_WIDTH) -> str:
    """Mean of `values` in each month, years down and months across; the stronger the colour, the farther from 0."""
    known = np.isfinite(values)
    months = days[known].astype("datetime64[M]").astype(int)
    years = np.arange(months.min() // 12, months.max() // 12 + 1)
    sums = np.zeros((len(years), 12))
    counts = np.zeros((len(years), 12))
    np.add.at(sums, (months // 12 - years[0], months % 12), values[known])
    np.add.at(counts, (months // 12 - years[0], months % 12), 1)
    largest = np.abs(sums[counts > 0] / counts[counts > 0]).max(initial=1e-12)
    with new_figure(width, 34 + 30 * len(years)) as (figure, (ax,)):
        for row, column in np.argwhere(counts > 0):
            mean = sums[row, column] / counts[row, column]
            strength = 0.08 + 0.72 * abs(mean) / largest
            ax.fill_between(
                [column - 0.47, column + 0.47],
                row - 0.44,
                row + 0.44,
                color=ACCENT if mean >= 0 else BAD,
                alpha=strength,
                lw=0,
            )
            ax.text(column, row, fixed(mean, 3, sign=True), ha="center", va="center", fontsize=10.5, color=INK)
        ax.set_xticks(range(12), MONTHS)
        ax.set_yticks(range(len(years)), [str(1970 + year) for year in years])
        ax.xaxis.tick_top()
        ax.grid(False)
        ax.spines["bottom"].set_visible(False)
        ax.set_xlim(-0.5, 11.5)
        ax.set_ylim(len(years) - 0.5, -0.5)
        return to_svg(figure, label)


def shorten(name: str, length: int) -> str:
    """A name cut in the middle to at most `length` characters."""
    if len(name) <= length:
        return name
    half = (length - 1) // 2
    return f"{name[: length - 1 - half]}…{name[-half:]}"


def draw_lines(ax: Axes, lines: Sequence[Line]) -> None:
    """Lines thinned to what can be seen, the first on top."""
    # The last of the list is drawn first, so that the first (ours) lies on top.
    for order, line in enumerate(lines):
        x, y = _thin(line.x, line.y)
        ax.plot(
            x,
            y,
            color=line.colour,
            linestyle=line.dash,
            linewidth=line.width,
            marker=line.marker,
            markersize=4,
            zorder=3 - 0.01 * order,
            clip_on=False,
        )


def _draw_mark(ax: Axes, mark: tuple[float, float, str]) -> None:
    x, y, text = mark
    ax.plot([x], [y], color=INK, marker="o", markersize=10, markerfacecolor="none", markeredgewidth=1.3)
    ax.annotate(text, (x, y), (0, 11), textcoords="offset points", ha="center", fontsize=11, color=INK)
    ax.margins(y=0.22)


def _thin(x: NDArray[np.generic], y: Array) -> tuple[NDArray[np.generic], Array]:
    if len(x) <= MAX_POINTS:
        return x, y
    chosen = np.unique(np.linspace(0, len(x) - 1, MAX_POINTS).round().astype(int))
    return x[chosen], y[chosen]


def finish_axes(
    ax: Axes,
    x: NDArray[np.generic],
    *,
    y_label: str = "",
    x_label: str = "",
    zero: bool,
    ticks: int = 5,
    date_ticks: int = 9,
) -> None:
    """Ticks, labels and grid as all our charts have them; `zero` draws a line there."""
    if np.issubdtype(x.dtype, np.datetime64):
        # The automatic one would name the hours of a few days.
        few = np.ptp(x) <= FEW_DAYS
        locator = DayLocator() if few else AutoDateLocator(minticks=3, maxticks=date_ticks)  # type: ignore[no-untyped-call]
        ax.xaxis.set_major_locator(locator)
        formatter = ConciseDateFormatter(  # type: ignore[no-untyped-call]
            locator, formats=DATE_FORMATS, zero_formats=DATE_FORMATS, show_offset=False
        )
        ax.xaxis.set_major_formatter(formatter)
    else:
        whole = np.issubdtype(x.dtype, np.integer)
        ax.xaxis.set_major_locator(MaxNLocator(ticks + 1, integer=whole))
        ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}" if whole else compact(value)))
    _number_axis(ax, ticks)
    if zero:
        ax.axhline(0.0, color=MUTED, linewidth=0.8, zorder=1)
    ax.set_xlabel(x_label)
    ax.set_ylabel(y_label)
    ax.margins(x=0.01)


def _number_axis(ax: Axes, ticks: int) -> None:
    ax.yaxis.set_major_locator(MaxNLocator(ticks))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: compact(round(value, 15))))
    ax.yaxis.grid(True, color=LINE, linewidth=0.8)


def date_limits(days: NDArray[np.datetime64]) -> tuple[float, float]:
    """Ends of a time axis, in matplotlib's days, with a small margin."""
    first, last = (float(position) for position in date2num(days[[0, -1]]))  # type: ignore[no-untyped-call]
    margin = max(1.0, (last - first) / 100)
    return first - margin, last + margin


def name_ends(ax: Axes, lines: Sequence[Line], height: float) -> None:
    """Write each line's name beside its last point, moved apart where they would overlap."""
    named = [(line, line.y[np.isfinite(line.y)]) for line in lines if line.label]
    ends = sorted(((float(y[-1]), line) for line, y in named if y.size), key=lambda end: end[0])
    if not ends:
        return
    low, high = ax.get_ylim()
    gap = 15 * (high - low) / max(height - 50, 1)
    places = [end for end, _ in ends]
    for i in range(1, len(places)):
        places[i] = max(places[i], places[i - 1] + gap)
    overshoot = places[-1] - high
    if overshoot > 0:
        places[-1] = high
        for i in range(len(places) - 2, -1, -1):
            places[i] = min(places[i], places[i + 1] - gap)
    for place, (_, line) in zip(places, ends, strict=True):
        ax.annotate(
            line.label,
            (1, place),
            (6, 0),
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            va="center",
            fontsize=11,
            color=line.colour,
            annotation_clip=False,
        )
