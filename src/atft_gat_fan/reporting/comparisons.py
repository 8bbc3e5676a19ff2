"""Charts that compare: estimates with intervals, and measured amounts beside what was promised."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import isfinite, nan
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator

from atft_gat_fan.reporting.figures import shorten
from atft_gat_fan.reporting.numbers import compact
from atft_gat_fan.reporting.theme import ACCENT, BAD, GREYS, HALF_WIDTH, INK, LINE, MUTED, SURFACE, new_figure, to_svg

Mark = Literal["good", "bad", "plain", "open"]
"""How a row is drawn: its colour, and its shape for those who do not see the colour."""
STYLES: dict[Mark, tuple[str, str]] = {
    "good": (ACCENT, "o"),
    "bad": (BAD, "v"),
    "plain": (INK, "s"),
    "open": (MUTED, "o"),
}
ROW = 27
"""Height of a row in pixels."""
NAME_LENGTH = 26


@dataclass(frozen=True)
class Estimate:
    """One row: a value with its interval, and a few words at its right end. NaN stands for what is not known."""

    name: str
    value: float
    low: float = nan
    high: float = nan
    mark: Mark = "plain"
    note: str = ""
    parts: tuple[float, ...] = ()
    """What the value is the mean of, drawn faintly under it."""


@dataclass(frozen=True)
class Band:
    """A stretch of the value axis shaded over all rows; one with `low == high` is a dashed line."""

    low: float
    high: float
    colour: str = GREYS[3]


def forest_plot(
    rows: Sequence[Estimate],
    *,
    label: str,
    x_label: str,
    limits: tuple[float, float],
    bands: Sequence[Band] = (),
    width: int = HALF_WIDTH,
) -> str:
    """Point and interval of each row on one axis, the first row on top, over a line at zero.

    Full and hollow markers say by `mark` what the row amounts to; a row without a value is an empty line.
    """
    with new_figure(width, 46 + ROW * len(rows)) as (figure, (ax,)):
        _draw_bands(ax, bands)
        ax.axvline(0.0, color=MUTED, linewidth=1)
        for y, row in _from_the_top(rows):
            colour, shape = STYLES[row.mark]
            ax.plot(row.parts, [y] * len(row.parts), "|", color=MUTED, markersize=9, alpha=0.6)
            if isfinite(row.low) and isfinite(row.high):
                ax.plot([row.low, row.high], [y, y], color=colour, linewidth=2, solid_capstyle="butt")
            if isfinite(row.value):
                fill = SURFACE if row.mark == "open" else colour
                ax.plot([row.value], [y], marker=shape, markersize=7, color=colour, markerfacecolor=fill, zorder=4)
        _finish(ax, rows, limits, x_label, lambda value: compact(round(value, 12)))
        return to_svg(figure, label)


def amount_bars(
    rows: Sequence[Estimate],
    *,
    label: str,
    x_label: str,
    form: Callable[[float], str],
    bands: Sequence[Band] = (),
    width: int = HALF_WIDTH,
    at_least: float = 0.0,
) -> str:
    """Horizontal bars from zero with their intervals as whiskers, the first row on top; `form` writes the ticks.

    The axis reaches to `at_least`, also where no bar does.
    """
    with new_figure(width, 46 + ROW * len(rows)) as (figure, (ax,)):
        _draw_bands(ax, bands)
        ax.axvline(0.0, color=MUTED, linewidth=1)
        for y, row in _from_the_top(rows):
            colour = GREYS[2] if row.mark == "plain" else STYLES[row.mark][0]
            if isfinite(row.value):
                ax.barh([y], [row.value], height=0.5, color=colour, alpha=0.85, linewidth=0)
            if isfinite(row.low) and isfinite(row.high):
                ax.plot([row.low, row.high], [y, y], color=INK, linewidth=1.4, alpha=0.75, solid_capstyle="butt")
        low, high = span_of(rows, bands)
        _finish(ax, rows, (low, max(high, at_least)), x_label, form)
        return to_svg(figure, label)


def span_of(rows: Iterable[Estimate], bands: Iterable[Band] = ()) -> tuple[float, float]:
    """Ends of an axis that holds zero, every finite value, part and bound, and the bands, with a margin."""
    numbers = [number for row in rows for number in (row.value, row.low, row.high, *row.parts)]
    numbers += [number for band in bands for number in (band.low, band.high)]
    known = [0.0, *(number for number in numbers if isfinite(number))]
    low, high = min(known), max(known)
    if low == high:  # nothing but zeros
        return -0.01, 0.01
    margin = 0.06 * (high - low)
    return (low - margin if low < 0 else low), (high + margin if high > 0 else high)


def _from_the_top(rows: Sequence[Estimate]) -> Iterable[tuple[int, Estimate]]:
    return zip(range(len(rows) - 1, -1, -1), rows, strict=True)


def _draw_bands(ax: Axes, bands: Sequence[Band]) -> None:
    for band in bands:
        if band.low == band.high:
            ax.axvline(band.low, color=band.colour, linewidth=1.6, linestyle=(0, (4, 3)))
        else:
            ax.axvspan(band.low, band.high, color=band.colour, alpha=0.2, linewidth=0)


def _finish(
    ax: Axes, rows: Sequence[Estimate], limits: tuple[float, float], x_label: str, form: Callable[[float], str]
) -> None:
    ax.set_xlim(*limits)
    ax.set_ylim(-0.6, len(rows) - 0.4)
    ax.set_yticks(np.arange(len(rows))[::-1], [shorten(row.name, NAME_LENGTH) for row in rows], color=INK)
    ax.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: form(value)))
    ax.grid(False)
    ax.xaxis.grid(True, color=LINE, linewidth=0.8)
    ax.set_xlabel(x_label)
    for y, row in _from_the_top(rows):
        ax.annotate(
            row.note,
            (1, y),
            (8, 0),
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            va="center",
            fontsize=11,
            color=STYLES[row.mark][0],
            annotation_clip=False,
        )
