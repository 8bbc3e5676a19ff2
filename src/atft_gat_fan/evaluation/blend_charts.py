"""The figures of a report about a blend: what its parts weigh, and what each is worth alone."""

from collections.abc import Mapping
from math import nan
from typing import Any

import numpy as np

from atft_gat_fan.evaluation.blend import SECTION, TITLES, part_series
from atft_gat_fan.evaluation.evaluate import MODEL, Evaluation, name_of
from atft_gat_fan.metrics.portfolio import cumulative
from atft_gat_fan.reporting import figures
from atft_gat_fan.reporting.comparisons import Band, Estimate, Mark, forest_plot, span_of
from atft_gat_fan.reporting.numbers import between, fixed
from atft_gat_fan.reporting.page import Chart
from atft_gat_fan.reporting.theme import ACCENT, DASHES, GREYS

MARKS: Mapping[str | None, Mark] = {"beats": "good", "loses": "bad"}
EQUAL = 0.5

Json = Mapping[str, Any]


def blend_charts(blend: Json, evaluation: Evaluation) -> list[Chart]:
    """Weights and how they were chosen; the blend minus its parts; all three over time.

    `blend` is the section of metrics.json, `evaluation` that of the judged days, with the parts' series.
    """
    return [
        _weights(blend["weights"]),
        _differences(evaluation.metrics[SECTION]["versus"]),
        _curves(blend),
        _over_time(evaluation),
    ]


def _weights(weights: Json) -> Chart:
    rows = [
        Estimate(
            horizon,
            weight["network"],
            _number(weight["low"]),
            _number(weight["high"]),
            note=f"{fixed(weight['network'], 2)} ({between(weight['low'], weight['high'], lambda v: fixed(v, 2))})",
        )
        for horizon, weight in weights.items()
    ]
    told = ", ".join(f"{row.name} {row.note}" for row in rows)
    return Chart(
        "Weight of the network",
        "The rest is LightGBM's. Dashed: ½, left only where the validation days speak against it; bars: the middle "
        "95 % of the weights that the same rule chooses on resampled validation days.",
        forest_plot(
            rows,
            label=f"Weight of the network at each horizon: {told}",
            x_label="weight of the network",
            limits=(0.0, 1.0),
            bands=[Band(EQUAL, EQUAL, GREYS[2])],
        ),
        wide=False,
    )


def _differences(versus: Json) -> Chart:
    title = "The blend minus each part alone"
    rows = [
        Estimate(
            f"{TITLES[part]}, {horizon}",
            _number(found["mean"]),
            _number(found["low"]),
            _number(found["high"]),
            mark=MARKS.get(found["verdict"], "open"),
            note=fixed(found["mean"], sign=True),
        )
        for part, comparison in versus.items()
        for horizon, found in comparison.items()
    ]
    if all(row.value != row.value for row in rows):
        return Chart(title, "No day has known returns.", wide=False)
    told = ", ".join(f"{row.name} {row.note}" for row in rows)
    return Chart(
        title,
        "RankIC, paired day by day, with 95 % intervals.",
        forest_plot(
            rows, label=f"{title}: {told}", x_label="difference of the mean daily RankIC", limits=span_of(rows)
        ),
        wide=False,
    )


def _curves(blend: Json) -> Chart:
    """RankIC on the validation days by weight, a panel a horizon; dashed the chosen weight."""
    title = "RankIC on the validation days by weight"
    grid = np.array(blend["grid"])
    panels = []
    for horizon, weight in blend["weights"].items():
        means = np.array([_number(value) for value in weight["rank_ic"]])
        if np.isfinite(means).all():
            at = np.full(2, weight["network"])
            span = np.array([means.min(), means.max()])
            lines = [figures.Line("", grid, means, ACCENT), figures.Line("", at, span, GREYS[1], DASHES[1], width=1.2)]
            panels.append((horizon, lines))
    if not panels:
        return Chart(title, "Not drawn: the weights are equal, or the validation days have too few known returns.")
    return Chart(
        title,
        "From LightGBM alone (0) to the network alone (1); dashed: the weight that was taken. Flat curves say that any "
        "weight would do.",
        figures.small_multiples(panels, label=f"{title}, a panel a horizon", x_label="weight of the network"),
    )


def _over_time(evaluation: Evaluation) -> Chart:
    horizon = name_of(evaluation.horizons[0])
    title = f"Cumulative RankIC@{horizon} of the blend and its parts"
    daily = {"the blend": evaluation.series[MODEL].rank_ic[:, 0]}
    daily |= {TITLES[part]: series.rank_ic[:, 0] for part, series in part_series(evaluation).items()}
    if np.isfinite(daily["the blend"]).sum() < 2:
        return Chart(title, "Fewer than two days have known returns, so there is no path to draw.")
    sums = {name: cumulative(values) for name, values in daily.items()}
    looks = [(ACCENT, "-", 2.0), (GREYS[0], "-", 1.2), (GREYS[1], DASHES[1], 1.2)]
    lines = [
        figures.Line(name, evaluation.days, values, colour, dash, width)
        for (name, values), (colour, dash, width) in zip(sums.items(), looks, strict=True)
    ]
    ends = ", ".join(f"{name} {fixed(float(values[-1]), 1, sign=True)}" for name, values in sums.items())
    return Chart(title, f"At the end: {ends}.", figures.line_chart(lines, label=f"{title}: {ends}"))


def _number(value: float | None) -> float:
    return nan if value is None else value
