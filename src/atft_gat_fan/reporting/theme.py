"""How our pages look: colours by role, and matplotlib figures as inline SVG that follows the page's theme.

A figure is drawn in placeholder colours, one a role, which are then replaced by CSS variables of the page;
so one file serves light, dark and print. Text stays text, in the page's own font.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from html import escape
from io import StringIO
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

PIXELS_PER_INCH = 72
FULL_WIDTH = 1040
HALF_WIDTH = 505
"""Widths in CSS pixels at which figures are drawn, so that their text has the size of the page's small print."""

INK = "#01a0b0"
MUTED = "#02a0b0"
LINE = "#03a0b0"
SURFACE = "#04a0b0"
ACCENT = "#05a0b0"
ACCENT_SOFT = "#06a0b0"
BAD = "#07a0b0"
GREYS = ("#08a0b0", "#09a0b0", "#0aa0b0", "#0ba0b0")
"""Placeholder colours, one a role; they never reach the page."""

_VARIABLES = {
    INK: "--ink",
    MUTED: "--muted",
    LINE: "--line",
    SURFACE: "--surface",
    ACCENT: "--accent",
    ACCENT_SOFT: "--accent-soft",
    BAD: "--bad",
    **{grey: f"--grey-{i}" for i, grey in enumerate(GREYS, 1)},
}
DASHES: tuple[str | tuple[int, tuple[float, ...]], ...] = ("-", (0, (6, 2.5)), (0, (1.5, 2)), (0, (6, 2, 1.5, 2)))
"""Line styles that tell the greys apart, also on paper."""

_STYLE: dict[Any, Any] = {
    "text.parse_math": False,  # a column may be called `$x$`
    "svg.fonttype": "none",
    "svg.hashsalt": "atft",
    "font.family": "DejaVu Sans",
    "font.size": 11,
    "axes.unicode_minus": True,
    "path.simplify_threshold": 0.5,
}


@contextmanager
def new_figure(
    width: int, height: int, rows: int = 1, columns: int = 1, **grid: object
) -> Iterator[tuple[Figure, list[Axes]]]:
    """A figure of `width` x `height` CSS pixels with styled axes, row by row; settings end with the block."""
    with mpl.rc_context():
        mpl.rcdefaults()  # whatever style the user's own matplotlibrc sets
        mpl.rcParams.update(_STYLE)
        figure = Figure(figsize=(width / PIXELS_PER_INCH, height / PIXELS_PER_INCH), layout="constrained")
        FigureCanvasSVG(figure)
        axes = list(figure.subplots(rows, columns, squeeze=False, gridspec_kw=grid).ravel())
        for ax in axes:
            _style_axes(ax)
        yield figure, axes


def to_svg(figure: Figure, label: str) -> str:
    """The figure as one `<svg>` element without metadata or addresses; `label` is read by screen readers."""
    buffer = StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    body = re.search(r"<svg[^>]*>(.*)</svg>", buffer.getvalue(), re.DOTALL)
    assert body is not None
    content = re.sub(r"<(metadata|style).*?</\1>", "", body.group(1), flags=re.DOTALL)
    content = re.sub(r"<[^>]*>", lambda tag: _themed(tag.group()), content)
    width, height = (round(inches * PIXELS_PER_INCH) for inches in figure.get_size_inches())
    return f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(label)}">{content}</svg>'


def _themed(tag: str) -> str:
    """One tag in the page's colours and font, coordinates to a hundredth of a pixel, text between tags untouched."""
    tag = re.sub(r' id="(?![mp][0-9a-f]{10}")[^"]*"', "", tag)
    tag = tag.replace("xlink:href", "href").replace("\n", "")
    tag = re.sub(r"'DejaVu Sans'(, [^;\"]*)?", "var(--sans)", tag)
    tag = re.sub(r"(\d+\.\d{2})\d+", r"\1", tag)
    for colour, variable in _VARIABLES.items():
        tag = tag.replace(colour, f"var({variable})")
    return tag


def _style_axes(ax: Axes) -> None:
    for side in ("top", "right", "left"):
        ax.spines[side].set_visible(False)
    ax.spines["bottom"].set_color(LINE)
    ax.tick_params(colors=MUTED, length=0, pad=5, labelsize=11)
    ax.xaxis.label.set_color(MUTED)
    ax.yaxis.label.set_color(MUTED)
    ax.grid(axis="y", color=LINE, linewidth=0.8)
    ax.set_axisbelow(True)
    ax.patch.set_alpha(0)
