"""Charts of something watched day after day: what it is now, what it was allowed to be, and when it left that."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isfinite, nan

import numpy as np
from jaxtyping import Float, Shaped
from matplotlib.axes import Axes
from matplotlib.patches import PathPatch
from matplotlib.path import Path
from matplotlib.ticker import FuncFormatter, MaxNLocator
from numpy.typing import NDArray

from atft_gat_fan.reporting.figures import MONTHS, Line, date_limits, draw_lines, finish_axes, name_ends, shorten
from atft_gat_fan.reporting.numbers import compact, percent
from atft_gat_fan.reporting.theme import (
    ACCENT,
    BAD,
    FULL_WIDTH,
    GREYS,
    HALF_WIDTH,
    INK,
    LINE,
    MUTED,
    new_figure,
    to_svg,
)

Days = Shaped[NDArray[np.datetime64], " days"]

NAME_LENGTH = 34
STEPS = ((0.5, ACCENT, 0.10), (0.8, ACCENT, 0.28), (1.0, ACCENT, 0.55), (1.5, BAD, 0.50), (2.5, BAD, 0.75))
"""Up to which share of its threshold a cell wears which colour, how strongly; above the last, the strongest."""
STRONGEST = (BAD, 1.0)
UNKNOWN = (GREYS[3], 0.22)
ROW = 19
"""Height of a row of cells in pixels."""


@dataclass(frozen=True)
class Strip:
    """One row of a stack: lines over days, with the range they should stay in; NaN where a side has no bound."""

    title: str
    lines: Sequence[Line]
    low: float = nan
    high: float = nan
    form: Callable[[float], str] = compact


@dataclass(frozen=True)
class Gauge:
    """One bar with the threshold it must stay under (NaN: none)."""

    name: str
    value: float
    threshold: float
    note: str = ""


@dataclass(frozen=True)
class Shares:
    """Shares of B bins now and in the reference, over B - 1 inner edges."""

    title: str
    edges: Sequence[float]
    reference: Sequence[float]
    now: Sequence[float]
    alarm: bool = False


def heat_strip(
    names: Sequence[str],
    days: Days,
    shares: Float[NDArray[np.floating], "names days"],
    *,
    label: str,
    width: int = FULL_WIDTH,
) -> str:
    """A row a name, a column a day, coloured by the share of its threshold that was reached.

    Up to the threshold in the accent colour, above it in the warning colour, the stronger the farther; NaN
    (not known on that day) is grey.
    """
    with new_figure(width, 34 + ROW * len(names)) as (figure, (ax,)):
        steps = np.searchsorted([limit for limit, _, _ in STEPS], shares, side="left")
        steps[~np.isfinite(shares)] = -1
        styles = [(colour, alpha) for _, colour, alpha in STEPS] + [STRONGEST, UNKNOWN]
        for step, (colour, alpha) in enumerate(styles):
            cells = _runs(steps == (step if step <= len(STEPS) else -1))
            if cells:
                path = Path.make_compound_path(*(_box(row, first, end) for row, first, end in cells))
                ax.add_patch(PathPatch(path, facecolor=colour, alpha=alpha, linewidth=0))
        ax.set_xlim(-0.5, max(len(days), 2) - 0.5)
        ax.set_ylim(len(names) - 0.5, -0.5)
        ax.set_yticks(range(len(names)), [shorten(name, NAME_LENGTH) for name in names], color=INK, fontsize=10)
        every = max(1, -(-len(days) // (10 if width >= FULL_WIDTH else 5)))
        at = range(len(days) - 1, -1, -every)  # the newest day is always named
        ax.set_xticks(list(at), [_day(days[i]) for i in at])
        ax.grid(False)
        ax.spines["bottom"].set_visible(False)
        return to_svg(figure, label)


def gauge_bars(
    rows: Sequence[Gauge],
    *,
    label: str,
    x_label: str = "",
    width: int = HALF_WIDTH,
    form: Callable[[float], str] = compact,
) -> str:
    """Horizontal bars, the first on top, each with its own threshold as a stroke; in the warning colour where above."""
    with new_figure(width, 46 + 24 * len(rows)) as (figure, (ax,)):
        most = max([0.0, *(v for row in rows for v in (row.value, row.threshold) if isfinite(v))]) or 1.0
        for y, row in zip(range(len(rows) - 1, -1, -1), rows, strict=True):
            above = row.value > row.threshold
            if isfinite(row.value):
                ax.barh([y], [row.value], height=0.58, color=BAD if above else ACCENT, alpha=0.85, linewidth=0)
            if isfinite(row.threshold):
                ax.plot([row.threshold] * 2, [y - 0.42, y + 0.42], color=INK, linewidth=1.6, solid_capstyle="butt")
            words = row.note or (form(row.value) if isfinite(row.value) else "–")
            ax.annotate(
                words,
                (1, y),
                (6, 0),
                xycoords=("axes fraction", "data"),
                textcoords="offset points",
                va="center",
                fontsize=10,
                color=BAD if above else MUTED,
                annotation_clip=False,
            )
        ax.set_xlim(0, most * 1.04)
        ax.set_ylim(-0.6, len(rows) - 0.4)
        ax.set_yticks(np.arange(len(rows))[::-1], [shorten(row.name, NAME_LENGTH - 8) for row in rows], color=INK)
        ax.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
        ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: form(value)))
        ax.grid(False)
        ax.xaxis.grid(True, color=LINE, linewidth=0.8)
        ax.set_xlabel(x_label)
        return to_svg(figure, label)


def strip_stack(strips: Sequence[Strip], *, label: str, width: int = FULL_WIDTH, height: int = 120) -> str:
    """Charts one under another on one time axis, each on its own scale, titled at its left.

    Bounds are dashed, and points of a strip's first line that are beyond one are ringed in the warning colour.
    """
    days = np.concatenate([line.x for strip in strips for line in strip.lines])
    limits = date_limits(np.sort(days))
    with new_figure(width, 26 + height * len(strips), len(strips), 1) as (figure, axes):
        for ax, strip in zip(axes, strips, strict=True):
            _draw_strip(ax, strip)
            finish_axes(ax, days, zero=False, ticks=3, date_ticks=9 if width >= FULL_WIDTH else 5)
            ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _, form=strip.form: form(round(value, 12))))
            ax.margins(y=0.14)
            ax.set_xlim(*limits)
            name_ends(ax, strip.lines, height)
            ax.tick_params(labelbottom=ax is axes[-1])
        return to_svg(figure, label)


def share_multiples(panels: Sequence[Shares], *, label: str, x_label: str = "", height: int = 170) -> str:
    """One small chart a panel, side by side: the bars are now, the outline is the reference.

    Bins are drawn equally wide, whatever their edges, for the outer two have no end.
    """
    columns = min(max(len(panels), 3), 5)
    rows = -(-len(panels) // columns)
    with new_figure(FULL_WIDTH, height * rows, rows, columns) as (figure, axes):
        for ax, panel in zip(axes, panels, strict=False):
            bounds = np.arange(len(panel.now) + 1)
            colour = BAD if panel.alarm else ACCENT
            ax.bar(bounds[:-1] + 0.5, panel.now, width=0.8, color=colour, alpha=0.8, linewidth=0)
            ax.stairs(panel.reference, bounds, color=INK, linewidth=1.3, baseline=None)
            ax.set_title(shorten(panel.title, 24), fontsize=11, color=INK, loc="left")
            inner = np.unique(np.linspace(1, len(panel.edges), min(3, len(panel.edges))).round().astype(int))
            ax.set_xticks(inner, [compact(float(f"{panel.edges[i - 1]:.2g}")) for i in inner])
            ax.yaxis.set_major_locator(MaxNLocator(3))
            ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: percent(value)))
            ax.set_xlabel(x_label)
            ax.set_ylim(bottom=0)
        for ax in axes[len(panels) :]:
            ax.set_visible(False)
        return to_svg(figure, label)


def _runs(chosen: NDArray[np.bool_]) -> list[tuple[int, int, int]]:
    """Chosen cells as (row, first, end) of neighbours in a row: far fewer shapes than cells."""
    padded = np.pad(chosen, ((0, 0), (1, 1))).astype(np.int8)
    edges = np.diff(padded, axis=1)
    rows, firsts = np.nonzero(edges == 1)
    _, ends = np.nonzero(edges == -1)
    return [(int(row), int(first), int(end)) for row, first, end in zip(rows, firsts, ends, strict=True)]


def _day(day: np.datetime64) -> str:
    _, month, number = str(day.astype("datetime64[D]")).split("-")
    return f"{int(number)} {MONTHS[int(month) - 1]}"


def _box(row: int, first: int, end: int) -> Path:
    left, right, top, bottom = first - 0.5, end - 0.5, row - 0.42, row + 0.42
    return Path([(left, top), (right, top), (right, bottom), (left, bottom), (left, top)], closed=True)


def _draw_strip(ax: Axes, strip: Strip) -> None:
    for bound in (strip.low, strip.high):
        if isfinite(bound):
            ax.axhline(bound, color=BAD, linewidth=1.1, linestyle=(0, (4, 3)))
    draw_lines(ax, strip.lines)
    first = strip.lines[0]
    beyond = (first.y < strip.low) | (first.y > strip.high)  # a comparison with NaN is false
    ax.plot(first.x[beyond], first.y[beyond], "o", color=BAD, markersize=5, markerfacecolor="none", zorder=4)
    if np.isfinite(first.y).sum() == 1:  # a line of one point is not seen
        ax.plot(first.x, first.y, "o", color=first.colour, markersize=4)
    ax.set_title(strip.title, fontsize=11, color=INK, loc="left", pad=5)
