"""Many series over time in one figure: a row a series, the colour the stronger the larger the value."""

from collections.abc import Sequence

import numpy as np
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_rgba
from numpy.typing import NDArray

from atft_gat_fan.reporting.figures import shorten
from atft_gat_fan.reporting.numbers import compact
from atft_gat_fan.reporting.theme import ACCENT, FULL_WIDTH, INK, MUTED, new_figure, to_svg

MAX_COLUMNS = 60
NAME_LENGTH = 26
ROW = 19
FAINTEST, STRONGEST = 0.04, 0.92
NUM_DATES = 6

Array = NDArray[np.floating]


def heat_map(
    names: Sequence[str],
    days: NDArray[np.datetime64],
    values: Array,
    *,
    label: str,
    width: int = FULL_WIDTH,
    row_height: int = ROW,
) -> str:
    """`values` [rows, days], the first row on top, with the mean of each row at its right end.

    More days than fit are averaged over neighbouring ones; NaN leaves a gap. The colours go from the smallest value of
    the figure to its largest, as the note beside it should say.
    """
    stretches = np.array_split(np.arange(len(days)), min(len(days), MAX_COLUMNS))
    cells = np.stack([_means(values[:, stretch]) for stretch in stretches], axis=1)
    low, high = np.nanmin(cells), np.nanmax(cells)
    strength = (cells - low) / (high - low) if high > low else np.full_like(cells, 0.5)
    with new_figure(width, 34 + row_height * len(names)) as (figure, (ax,)):
        shown = np.argwhere(np.isfinite(cells))
        ax.add_collection(
            PolyCollection(
                [_cell(len(names) - 1 - row, column) for row, column in shown],
                facecolors=[
                    to_rgba(ACCENT, FAINTEST + (STRONGEST - FAINTEST) * strength[row, column]) for row, column in shown
                ],
                linewidths=0,
            )
        )
        for row, mean in enumerate(_means(values)):
            ax.annotate(
                compact(float(mean)) if np.isfinite(mean) else "–",
                (1, len(names) - 1 - row),
                (6, 0),
                xycoords=("axes fraction", "data"),
                textcoords="offset points",
                va="center",
                fontsize=10,
                color=MUTED,
                annotation_clip=False,
            )
        ax.set_yticks(np.arange(len(names))[::-1], [shorten(name, NAME_LENGTH) for name in names], color=INK)
        ticks = np.unique(np.linspace(0, len(stretches) - 1, NUM_DATES).round().astype(int))
        ax.set_xticks(ticks, [str(days[stretches[tick][0]].astype("datetime64[D]")) for tick in ticks])
        ax.set_xlim(-0.5, len(stretches) - 0.5)
        ax.set_ylim(-0.5, len(names) - 0.5)
        ax.grid(False)
        ax.spines["bottom"].set_visible(False)
        return to_svg(figure, label)


def _cell(y: int, x: int) -> list[tuple[float, float]]:
    return [(x - 0.5, y - 0.45), (x + 0.5, y - 0.45), (x + 0.5, y + 0.45), (x - 0.5, y + 0.45)]


def _means(values: Array) -> Array:
    """Over the last axis, of what is known; NaN where nothing is."""
    known = np.isfinite(values)
    total = np.where(known, values, 0.0).sum(axis=-1)
    means: Array = np.divide(total, known.sum(axis=-1), out=np.full(total.shape, np.nan), where=known.any(axis=-1))
    return means
