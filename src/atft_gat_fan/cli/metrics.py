"""The metrics of a run as people read them on a terminal."""

from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table

SECTIONS = {"rank_ic": "RankIC", "rank_ic_skip1": "RankIC skip-1", "rank_ic_liquid": "RankIC liquid", "icir": "ICIR"}


def metrics_tables(metrics: Mapping[str, Any]) -> RenderableType:
    """The splits of a `metrics.json` as tables: a row for the model and every baseline, a column a horizon."""
    return Group(*(_table(split, metrics[split]) for split in ("valid", "test") if split in metrics))


def _table(split: str, metrics: Mapping[str, Any]) -> Table:
    horizons = list(metrics["rank_ic"])
    table = Table(title=f"{split}, {metrics['days']} days", box=None, padding=(0, 2, 0, 0))
    table.title_justify = table.caption_justify = "left"
    for header in ("", "", *horizons):
        table.add_column(header, justify="right" if header else "left")
    for key, label in SECTIONS.items():
        if metrics[key] is None:
            table.caption = f"{label}: {metrics[f'{key}_reason']}"
            continue
        parts = {f"  its {name}": metrics["blend"][name] for name in ("network", "lightgbm") if "blend" in metrics}
        for name, scorer in {"model": metrics, **parts, **metrics["baselines"]}.items():
            cells = (_cell(scorer.get(key), horizon) for horizon in horizons)
            table.add_row(label if name == "model" else "", name, *cells, end_section=True)
    return table


def _cell(values: Mapping[str, float | None] | None, horizon: str) -> str:
    value = values.get(horizon) if values is not None else None
    return "-" if value is None else f"{value:+.4f}"
