"""`monitor.html`: one self-contained page that answers whether the model is still healthy, in pictures first."""

from datetime import datetime

import polars as pl

from atft_gat_fan.monitoring.charts import days_words, distribution_charts, drift_charts, gauge_charts, short_window
from atft_gat_fan.monitoring.daily_charts import memory_chart, rank_ic_charts, stability_charts
from atft_gat_fan.monitoring.result import MonitorResult
from atft_gat_fan.monitoring.status import judge
from atft_gat_fan.monitoring.tables import alarm_table, detail_tables
from atft_gat_fan.reporting.numbers import compact
from atft_gat_fan.reporting.page import Fact, render

TEMPLATE = "monitor.html.j2"
MOST_ALARMS = 10
"""Alarms that stand open on the page, the most pressing; the others are one click away."""


def build_dashboard(result: MonitorResult, history: pl.DataFrame) -> str:
    """The page as HTML text, of a result and the history that holds it (`append_history`).

    No scripts, no addresses; the same input gives the same text. What was not measured is said to be so, with the
    reason.
    """
    at = datetime.fromisoformat(result.at)
    return render(
        TEMPLATE,
        run=result.run,
        period=_period(result),
        num_days=len(result.days),
        num_stocks=f"{result.stocks[-1]:,}",
        at=f"{at:%Y-%m-%d %H:%M} UTC",
        reference=f"{result.reference.first} to {result.reference.last}",
        status=judge(result),
        alarms=alarm_table(result.alarms[:MOST_ALARMS], "Alarms"),
        more_alarms=alarm_table(result.alarms[MOST_ALARMS:], "Further alarms"),
        drift=drift_charts(result, history),
        distributions=distribution_charts(result),
        gauges=gauge_charts(result),
        absent=[(f.title, f.unavailable) for f in result.families.values() if f.unavailable is not None],
        stability=stability_charts(result, history),
        rank_ic=rank_ic_charts(result, history),
        memory=memory_chart(result.memory),
        rules=result.rules,
        set_up=_facts(result),
        gates=[
            (gate.expression, "–" if gate.measured is None else compact(gate.measured), gate.failed)
            for gate in result.gates
        ],
        warnings=result.warnings,
        details=list(detail_tables(result)),
        command=result.command,
    )


def _facts(result: MonitorResult) -> list[Fact]:
    reference, short = result.reference, short_window(result)
    days = f"{result.source}: {len(result.days):,} trading day{'' if len(result.days) == 1 else 's'}, {_period(result)}"
    windows = days_words(result.long_days)
    return [
        Fact("Run", result.run),
        Fact("Model", result.model),
        Fact("Monitored", days),
        Fact("Windows", windows if short == result.long_days else f"long {windows}, short {days_words(short)}"),
        Fact(
            "Compared with",
            f"the validation days {reference.first} to {reference.last}: {reference.days:,} days, "
            f"{reference.stocks:,.0f} stocks on an average one",
        ),
    ]


def _period(result: MonitorResult) -> str:
    return result.days[0] if len(result.days) == 1 else f"{result.days[0]} to {result.days[-1]}"
