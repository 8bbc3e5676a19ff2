"""Stretches of time under one another: a row for each thing that has some."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter, date2num
from matplotlib.patches import Patch

from atft_gat_fan.reporting.figures import DATE_FORMATS
from atft_gat_fan.reporting.theme import FULL_WIDTH, INK, LINE, MUTED, new_figure, to_svg

ROW = 24
"""Height of a row in pixels."""


@dataclass(frozen=True)
class Stretch:
    """From the day `first` to the day `last`, both included; `kind` is a key of the legend."""

    kind: str
    first: np.datetime64
    last: np.datetime64


def timeline(
    rows: Sequence[tuple[str, Sequence[Stretch]]],
    legend: Sequence[tuple[str, str]],
    *,
    label: str,
    width: int = FULL_WIDTH,
) -> str:
    """A bar a stretch, the first row on top; `legend` gives each kind its colour, and is written above the rows."""
    colours = dict(legend)
    with new_figure(width, 74 + ROW * len(rows)) as (figure, (ax,)):
        for y, (_, stretches) in zip(range(len(rows) - 1, -1, -1), rows, strict=True):
            for stretch in stretches:
                left, right = (
                    float(number)
                    for number in date2num([stretch.first, stretch.last + np.timedelta64(1, "D")])  # type: ignore[no-untyped-call]
                )
                ax.barh([y], [right - left], left=left, height=0.62, color=colours[stretch.kind], linewidth=0)
        locator = AutoDateLocator(minticks=3, maxticks=9)  # type: ignore[no-untyped-call]
        ax.xaxis.set_major_locator(locator)
        ax.xaxis.set_major_formatter(
            ConciseDateFormatter(locator, formats=DATE_FORMATS, zero_formats=DATE_FORMATS, show_offset=False)  # type: ignore[no-untyped-call]
        )
        ax.set_yticks(np.arange(len(rows))[::-1], [name for name, _ in rows], color=INK)
        ax.set_ylim(-0.6, len(rows) - 0.4)
        ax.margins(x=0.005)
        ax.grid(False)
        ax.xaxis.grid(True, color=LINE, linewidth=0.8)
        ax.legend(
            handles=[Patch(color=colour, label=name, linewidth=0) for name, colour in legend],
            loc="lower left",
            bbox_to_anchor=(0, 1),
            ncols=len(legend),
            frameon=False,
            labelcolor=MUTED,
            fontsize=11,
            borderaxespad=0,
            handlelength=1.2,
            handleheight=0.9,
        )
        return to_svg(figure, label)
