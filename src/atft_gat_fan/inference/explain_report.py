"""`explain.html`: one self-contained page about what a model looks at."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from atft_gat_fan.inference.blend_charts import blend_charts
from atft_gat_fan.inference.explain_charts import (
    attends,
    attention_charts,
    frequency_charts,
    graph_charts,
    permutation_chart,
    stock_charts,
    variable_charts,
)
from atft_gat_fan.inference.explanation_files import Explained, neighbours_of
from atft_gat_fan.reporting.numbers import compact, fixed, percent
from atft_gat_fan.reporting.page import Fact, render

TEMPLATE = "explain.html.j2"


def build_page(explained: Explained, command: str) -> str:
    """The page as HTML text, without scripts or addresses. The same explanation gives the same text."""
    over_time = explained.over_time
    return render(
        TEMPLATE,
        run=explained.run,
        source=explained.source,
        date=str(explained.date),
        first=str(over_time.days[0]),
        num_days=len(over_time.days),
        num_stocks=f"{len(explained.day.stocks):,}",
        model=explained.model,
        tiles=_tiles(explained),
        stock=_stock(explained),
        permutation=permutation_chart(explained),
        variables=[*variable_charts(explained), *blend_charts(explained)],
        attention=attention_charts(explained),
        frequencies=frequency_charts(explained),
        graph=graph_charts(explained),
        command=command,
        blended=explained.blend is not None,
    )


def _tiles(explained: Explained) -> list[Fact]:
    over_time, names = explained.over_time, explained.names
    weights = over_time.variable_weights.mean.mean(axis=0)
    heaviest = int(weights.argmax())
    tiles = [Fact("Heaviest variable", names.features[heaviest], f"weight {compact(float(weights[heaviest]))}")]
    if attends(explained):
        attention = over_time.attention.mean.mean(axis=0)
        mean_lag = float((attention * np.arange(names.window)[::-1]).sum())
        tiles.append(Fact("Mean lag of the attention", f"{fixed(mean_lag, 1)} days", f"of a window of {names.window}"))
    if over_time.removed is not None and over_time.taken is not None:
        share = float(over_time.removed.mean.sum(axis=1).mean())
        level = float(over_time.taken.mean[:, 0].mean())
        tiles.append(Fact("Energy FAN takes out", percent(share), f"the level in {percent(level)} of channels"))
    if over_time.graph is not None:
        _, own, effective, _ = over_time.graph.mean.mean(axis=0)
        tiles.append(
            Fact("Effective neighbours", fixed(float(effective), 1), f"weight on itself {percent(float(own))}")
        )
    return tiles


def _stock(explained: Explained) -> Mapping[str, Any] | None:
    """The part of the page about one stock; None where none was asked for."""
    position, about = explained.stock, explained.about
    if position is None or about is None:
        return None
    scores, ranks = explained.day.scores[position], explained.ranks[position]
    alone = about.without_neighbours
    rows = [
        ("Score", [_score(float(value)) for value in scores]),
        (f"Rank of {len(explained.day.stocks):,}", [f"{rank:,}" for rank in ranks]),
    ]
    if alone is not None:
        rows += [
            ("Score without neighbours", [_score(float(value)) for value in alone]),
            ("What neighbours add", [_score(float(value)) for value in about.score - alone]),
        ]
    return {
        "code": explained.code(position),
        "horizons": explained.names.horizon_names,
        "rows": rows,
        "charts": stock_charts(explained),
        "neighbours": [
            (
                neighbour["code"],
                percent(neighbour["weight"], 1),
                fixed(neighbour["correlation"], 2),
                "yes" if neighbour["same_sector"] else "no",
                [_score(value) for value in neighbour["score"].values()],
            )
            for neighbour in neighbours_of(explained, position)
        ],
    }


def _score(value: float) -> str:
    text = compact(value)
    return f"+{text}" if value > 0 else text
