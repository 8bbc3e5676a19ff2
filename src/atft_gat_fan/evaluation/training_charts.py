"""The figures of a run's training, from its own record (`events.jsonl`)."""

from collections.abc import Mapping, Sequence
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from atft_gat_fan.config.plan import Group
from atft_gat_fan.evaluation.evaluate import name_of
from atft_gat_fan.reporting import figures
from atft_gat_fan.reporting.numbers import compact, fixed
from atft_gat_fan.reporting.page import Chart
from atft_gat_fan.reporting.theme import ACCENT, DASHES, GREYS, HALF_WIDTH

LOSS_POINTS = 120
LAYER_TYPES = get_args(Group)

Event = Mapping[str, Any]
FloatArray = NDArray[np.float64]


def training_charts(events: Sequence[Event], horizons: Sequence[int]) -> list[Chart]:
    """Losses, validation RankIC with the chosen epoch, predictions, gradients, learning rates, distance of the EMA.

    A record without one of these gives no chart of it.
    """
    train, valid = _latest(events, "train"), _latest(events, "valid")
    if not train and not valid:
        return [Chart("Training", "The run left no record of its training (events.jsonl).")]
    watch = _latest(events, "watch")
    charts = [
        _loss_chart(train, valid, horizons),
        _validation_chart(valid, events),
        _learning_rate_chart(train),
        _prediction_chart(watch, horizons),
        _gradient_chart(train),
        _ema_chart(train or watch),
    ]
    return [chart for chart in charts if chart is not None]


def _loss_chart(train: Sequence[Event], valid: Sequence[Event], horizons: Sequence[int]) -> Chart | None:
    panels = []
    for name in map(name_of, horizons):
        lines = []
        x, y = _column(valid, f"loss_{name}")
        if len(x):
            lines.append(figures.Line("valid", x, y, ACCENT, width=1.8, marker="o"))
        x, y = _binned(*_column(train, f"loss_{name}"))
        if len(x):
            lines.append(figures.Line("train", x, y, GREYS[1], width=1.2))
        if lines:
            panels.append((name, lines))
    if not panels:
        return None
    return Chart(
        "Loss by horizon",
        "Training in grey (averaged over neighbouring records, with dropout), validation in colour, against optimizer "
        "steps. Colour turning up while grey falls is overfitting.",
        figures.small_multiples(panels, label="Training and validation loss by horizon", x_label="step"),
    )


def _validation_chart(valid: Sequence[Event], events: Sequence[Event]) -> Chart | None:
    steps, rank_ic = _column(valid, "rank_ic")
    if not len(steps):
        return None
    epochs = np.array([event["epoch"] for event in valid if event.get("rank_ic") is not None])
    lines = [figures.Line("", epochs, rank_ic, ACCENT, width=1.6, marker="o")]
    smoothed = [event.get("smoothed_rank_ic") for event in valid if event.get("rank_ic") is not None]
    if all(value is not None for value in smoothed):
        lines.append(figures.Line("", epochs, np.array(smoothed, dtype=float), GREYS[1], DASHES[1], width=1.2))
    chosen = _chosen(valid, events)
    note = "Mean over horizons after each epoch"
    mark = None
    if chosen is not None and chosen.get("rank_ic") is not None:
        mark = (float(chosen["epoch"]), float(chosen["rank_ic"]), "chosen")
        note += f"; the weights of epoch {chosen['epoch']} were kept ({fixed(chosen['rank_ic'])})"
    return Chart(
        "Validation RankIC by epoch",
        f"{note}. Dashed: smoothed, which decides." if len(lines) > 1 else f"{note}.",
        figures.line_chart(
            lines,
            label="Validation RankIC by epoch",
            width=HALF_WIDTH,
            height=240,
            x_label="epoch",
            zero=False,
            mark=mark,
        ),
        wide=False,
    )


def _learning_rate_chart(train: Sequence[Event]) -> Chart | None:
    """One line where all layer types share the rate, else one each."""
    steps, rate = _column(train, "lr")
    if not len(steps):
        return None
    note = f"Warm-up, then the schedule; highest {compact(float(rate.max()))}"
    lines = [figures.Line("", steps, rate, ACCENT)]
    by_group = {group: _column(train, f"lr_{group}") for group in LAYER_TYPES}
    rates = {group: column for group, column in by_group.items() if len(column[0])}
    if any(not np.array_equal(values, rate) for _, values in rates.values()):
        note += ". By layer type"
        lines = [
            figures.Line(group, x, y, colour, dash)
            for (group, (x, y)), colour, dash in zip(rates.items(), (ACCENT, *GREYS), DASHES, strict=False)
        ]
    return Chart(
        "Learning rate",
        f"{note}.",
        figures.line_chart(lines, label="Learning rate by step", width=HALF_WIDTH, height=240, x_label="step"),
        wide=False,
    )


def _prediction_chart(watch: Sequence[Event], horizons: Sequence[int]) -> Chart | None:
    """Median and middle 90 % of the scores of one batch after each epoch, also under FreqDropout if it is there."""
    panels, masked = [], False
    for name in map(name_of, horizons):
        lines = [
            figures.Line("", *_column(watch, f"{source}_{statistic}_{name}"), colour, dash, width=1.4, marker=marker)
            for source, colour, dash, marker in (
                ("prediction", ACCENT, "-", "o"),
                ("prediction_freq_dropout", GREYS[1], DASHES[1], ""),
            )
            for statistic in ("p5", "p50", "p95")
        ]
        drawn = [line for line in lines if len(line.x)]
        masked = masked or len(drawn) > len(lines) // 2
        if drawn:
            panels.append((name, drawn))
    if not panels:
        return None
    note = "5 %, 50 % and 95 % quantiles after each epoch, in label units; lines that meet would be a collapse."
    return Chart(
        "Predictions on one fixed validation batch",
        f"{note} Dashed: with FreqDropout switched on." if masked else note,
        figures.small_multiples(panels, label="Quantiles of the predictions by horizon", x_label="step"),
    )


def _gradient_chart(train: Sequence[Event]) -> Chart | None:
    panels = []
    for group in LAYER_TYPES:
        x, y = _binned(*_column(train, f"grad_norm_{group}"))
        if len(x):
            panels.append((group, [figures.Line("", x, y, ACCENT, width=1.4)]))
    if not panels:
        return None
    return Chart(
        "Gradient norm by layer type",
        "Before clipping, averaged over neighbouring records; each panel has its own scale.",
        figures.small_multiples(panels, label="Gradient norm by layer type", x_label="step"),
    )


def _ema_chart(events: Sequence[Event]) -> Chart | None:
    steps, distance = _column(events, "ema_distance")
    if not len(steps):
        return None
    return Chart(
        "Distance of the averaged weights",
        f"EMA minus weights over weights, L2; {compact(float(distance[-1]))} at the end. It shrinks with the "
        "learning rate.",
        figures.line_chart(
            [figures.Line("", steps, distance, ACCENT)],
            label="Distance of the EMA from the weights by step",
            width=HALF_WIDTH,
            height=240,
            x_label="step",
        ),
        wide=False,
    )


def _latest(events: Sequence[Event], kind: str) -> list[Event]:
    """Events of one kind by step; of steps repeated after a resumption, the last record."""
    by_step = {int(event["step"]): event for event in events if event["event"] == kind}
    return [by_step[step] for step in sorted(by_step)]


def _column(events: Sequence[Event], key: str) -> tuple[NDArray[np.int64], FloatArray]:
    found = [(int(event["step"]), float(event[key])) for event in events if event.get(key) is not None]
    steps, values = zip(*found, strict=True) if found else ((), ())
    return np.array(steps, dtype=np.int64), np.array(values, dtype=np.float64)


def _binned(steps: NDArray[np.int64], values: FloatArray) -> tuple[NDArray[np.int64], FloatArray]:
    """Means over runs of neighbouring records: single batches are too noisy to compare with a validation."""
    if len(steps) < 2:
        return steps, values
    pieces = min(LOSS_POINTS, max(8, len(steps) // 4), len(steps))
    return (
        np.array([piece.mean().round() for piece in np.array_split(steps, pieces)], dtype=np.int64),
        np.array([piece.mean() for piece in np.array_split(values, pieces)]),
    )


def _chosen(valid: Sequence[Event], events: Sequence[Event]) -> Event | None:
    """The validation whose weights were kept: the one `finish` names, else the last that was best so far."""
    best_step = next((event.get("best_step") for event in reversed(events) if event["event"] == "finish"), None)
    at_best_step = [event for event in valid if event["step"] == best_step]
    return next(iter(at_best_step or [event for event in reversed(valid) if event.get("best")]), None)
