"""A run's report: one self-contained HTML page that a quant can judge the run by."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from atft_gat_fan.evaluation.blend import SECTION, without_parts
from atft_gat_fan.evaluation.blend_charts import blend_charts
from atft_gat_fan.evaluation.charts import (
    VariablesOverTime,
    attention_chart,
    dispersion_chart,
    importance_chart,
    portfolio_charts,
    ranking_charts,
    variables_over_time_chart,
)
from atft_gat_fan.evaluation.evaluate import MODEL, Evaluation, name_of
from atft_gat_fan.evaluation.training_charts import training_charts
from atft_gat_fan.evaluation.verdict import basis_points, judge, title_of
from atft_gat_fan.reporting.numbers import fixed, percent
from atft_gat_fan.reporting.page import Chart, Fact, render

TEMPLATE = "report.html.j2"

Json = Mapping[str, Any]


@dataclass(frozen=True)
class ReportInputs:
    """What a report is made from; what a run does not have stays empty and is said so on the page.

    `evaluation` must hold the scores named `model`. `attention` [window] is the mean weight of each day of the
    window, the predicted day last.
    """

    name: str
    """The run's name."""
    evaluation: Evaluation
    split: str = "test"
    events: Sequence[Json] = ()
    """Records of events.jsonl, oldest first."""
    train: Json = field(default_factory=dict)
    """The `train` part of metrics.json: seconds, samples_per_second, peak_rss_bytes, parameters, epochs, …"""
    data: Json = field(default_factory=dict)
    """Facts of the data in words, printed in this order: source, days, stocks, split dates, fingerprint, …"""
    dropped_columns: Sequence[str] = ()
    warnings: Sequence[str] = ()
    config: Json = field(default_factory=dict)
    """The resolved configuration."""
    variable_weights: Mapping[str, float] = field(default_factory=dict)
    """Mean selection weight by feature name."""
    variables_over_time: VariablesOverTime | None = None
    """Of the same features in the same order."""
    attention: Float[NDArray[np.floating], " window"] | None = None
    blend: Json | None = None
    """The `blend` part of metrics.json: weights, and how they were chosen; None where the network scores alone."""
    commands: Sequence[str] = ()
    """Commands that make this run again."""


@dataclass(frozen=True)
class Matrix:
    """One metric: a row a scorer, a column a horizon.

    `rows` are (name, is the model, cells); where there are none, `note` says why.
    """

    title: str
    note: str
    rows: tuple[tuple[str, bool, tuple[str, ...]], ...]


@dataclass(frozen=True)
class BlendPart:
    """What the page says of a blend: where its weights are from, figures, and each metric of it beside its parts."""

    note: str
    charts: list[Chart]
    matrices: list[Matrix]


def build_report(inputs: ReportInputs) -> str:
    """The page as HTML text, without scripts or addresses. The same inputs give the same text."""
    evaluation, metrics = without_parts(inputs.evaluation), inputs.evaluation.metrics
    days = evaluation.days
    return render(
        TEMPLATE,
        name=inputs.name,
        split=inputs.split,
        period=f"{days[0]} to {days[-1]}" if len(days) else "no days",
        num_days=len(days),
        num_stocks=f"{metrics['stocks']:,.0f}",
        verdict=judge(metrics),
        tiles=tiles(metrics, name_of(evaluation.horizons[0])),
        horizons=[name_of(horizon) for horizon in evaluation.horizons],
        matrices=matrices(metrics),
        blend=None if inputs.blend is None else _blend_part(inputs.blend, inputs.evaluation),
        absent=[(title_of(name), values["unavailable"]) for name, values in _absent(metrics)],
        ranking=ranking_charts(evaluation),
        portfolio=portfolio_charts(evaluation),
        training=training_charts(inputs.events, evaluation.horizons),
        importance=importance_chart(inputs.variable_weights),
        over_time=variables_over_time_chart(list(inputs.variable_weights), inputs.variables_over_time),
        inside=[attention_chart(inputs.attention), dispersion_chart(evaluation)],
        data_facts=[Fact(name, readable(value)) for name, value in inputs.data.items()],
        missing_labels=[(name, percent(share, 1)) for name, share in metrics["label_missing_share"].items()],
        dropped=list(inputs.dropped_columns),
        warnings=_warnings(inputs),
        train_facts=_train_facts(inputs.train),
        config=config_facts(inputs.config),
        commands=list(inputs.commands),
    )


def tiles(metrics: Json, horizon: str) -> list[Fact]:
    """The numbers one looks at first."""
    low, high = metrics["rank_ic_interval"][horizon]
    liquid, book = metrics["rank_ic_liquid"], metrics["portfolio"]
    between = "no interval" if low is None else f"95 %: {fixed(low)} to {fixed(high)}"
    tiles = [
        Fact(f"RankIC@{horizon}", fixed(metrics["rank_ic"][horizon]), between),
        Fact("ICIR", fixed(metrics["icir"][horizon], 2), f"t = {fixed(metrics['rank_ic_t'][horizon], 1)}"),
        Fact("Skip-1 RankIC", fixed(metrics["rank_ic_skip1"][horizon]), "first day left out"),
        Fact("Liquid RankIC", "–", "no volume")
        if liquid is None
        else Fact("Liquid RankIC", fixed(liquid[horizon]), "upper half by volume"),
    ]
    if book is not None:
        gross = f"gross {basis_points(book['mean_return_gross'])}"
        tiles.append(Fact("Long–short net, bp a day", basis_points(book["mean_return_net"]), gross))
    return tiles


def matrices(metrics: Json) -> list[Matrix]:
    """RankIC with its t-statistic, ICIR, skip-1 and liquid RankIC of every scorer that could run."""
    matrices = [
        _matrix(metrics, "rank_ic", "RankIC", "mean daily Spearman correlation with the realised return", 4),
        _matrix(metrics, "rank_ic_t", "t-statistic", "of RankIC, Newey–West with at least h − 1 lags", 1),
        _matrix(metrics, "icir", "ICIR", "daily mean over standard deviation, not annualised", 2),
        _matrix(metrics, "rank_ic_skip1", "Skip-1 RankIC", "the first day left out of the label: no bid–ask bounce", 4),
    ]
    if metrics["rank_ic_liquid"] is None:
        matrices.append(Matrix("Liquid RankIC", f"Unknown: {metrics['rank_ic_liquid_reason']}.", ()))
    else:
        liquid = "upper half of each day's stocks by 20-day median dollar volume"
        matrices.append(_matrix(metrics, "rank_ic_liquid", "Liquid RankIC", liquid, 4))
    return [*matrices, _advantage(metrics, "Model minus baseline")]


def _blend_part(blend: Json, evaluation: Evaluation) -> BlendPart:
    section = evaluation.metrics[SECTION]
    versus = section["versus"]
    # As baselines stand beside the model.
    beside = {**evaluation.metrics, "baselines": {part: section[part] for part in versus}, "versus": versus}
    tables = [*matrices(beside)[:-1], _advantage(beside, "Blend minus each part alone")]
    chosen = any(weight["days"] for weight in blend["weights"].values())
    return BlendPart(
        "The weights were chosen on the validation days, which the network's early stopping has seen too."
        if chosen
        else "Both weigh the same.",
        blend_charts(blend, evaluation),
        [replace(table, rows=tuple(_as_blend(*row) for row in table.rows)) for table in tables],
    )


def _as_blend(scorer: str, ours: bool, cells: tuple[str, ...]) -> tuple[str, bool, tuple[str, ...]]:
    return ("the blend" if ours else scorer), ours, cells


def _matrix(metrics: Json, key: str, title: str, note: str, digits: int) -> Matrix:
    scorers = [(MODEL, metrics), *((n, v) for n, v in metrics["baselines"].items() if "unavailable" not in v)]
    rows = tuple(
        (title_of(name), name == MODEL, tuple(fixed(value, digits) for value in values[key].values()))
        for name, values in scorers
    )
    return Matrix(title, note, rows)


def _advantage(metrics: Json, title: str) -> Matrix:
    """The model minus the others, marked where the paired interval excludes zero."""
    if not metrics["versus"]:
        return Matrix(title, "No baseline ran on these days.", ())
    mark = {"beats": " ▲", "loses": " ▼"}
    rows = tuple(
        (
            title_of(name),
            False,
            tuple(f"{fixed(c['mean'], 3, sign=True)}{mark.get(c['verdict'], '')}" for c in comparison.values()),
        )
        for name, comparison in metrics["versus"].items()
    )
    return Matrix(title, "RankIC; ▲ ▼ where the paired 95 % interval excludes zero", rows)


def _absent(metrics: Json) -> Iterator[tuple[str, Json]]:
    return ((name, values) for name, values in metrics["baselines"].items() if "unavailable" in values)


def _warnings(inputs: ReportInputs) -> list[str]:
    """Warnings of the data and of the training, each once."""
    recorded = [str(event.get("message", "")) for event in inputs.events if event["event"] == "warning"]
    return list(dict.fromkeys([*inputs.warnings, *recorded]))


def _train_facts(train: Json) -> list[Fact]:
    """Known keys with units, the rest as they are."""
    words: dict[str, tuple[str, Callable[[Any], str]]] = {
        "seconds": ("Training time", lambda v: f"{v / 60:,.1f} min" if v >= 120 else f"{v:,.1f} s"),
        "samples_per_second": ("Speed", lambda v: f"{v:,.0f} stock-days a second"),
        "peak_rss_bytes": ("Peak memory", lambda v: f"{v / 2**20:,.0f} MiB"),
        "parameters": ("Parameters", lambda v: f"{v:,}"),
        "epochs": ("Epochs", str),
    }
    facts = []
    for key, value in train.items():
        name, form = words.get(key, (key.replace("_", " ").capitalize(), readable))
        facts.append(Fact(name, "–" if value is None else form(value)))
    return facts


def config_facts(config: Json) -> list[Fact]:
    """Every key of a resolved configuration as `a.b.c`, with its value in one line."""
    return [Fact(key, readable(value)) for key, value in _flatten(config)]


def _flatten(config: Json, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Nested keys as `a.b.c`."""
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def readable(value: Any) -> str:
    """A value as one line of text."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool) or value is None:
        return json.dumps(value)
    if isinstance(value, int):
        return f"{value:,}" if abs(value) >= 10_000 else str(value)
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {readable(entry)}" for key, entry in value.items())
    if isinstance(value, Sequence):
        return ", ".join(map(readable, value)) or "none"
    return str(value)
