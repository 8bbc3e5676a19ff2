"""The tables of a monitoring: its alarms, and every number that the figures draw."""

from collections.abc import Iterator

from atft_gat_fan.monitoring.charts import SHORT
from atft_gat_fan.monitoring.daily_charts import value_words
from atft_gat_fan.monitoring.result import Alarm, Family, Measured, MonitorResult, ShiftResult
from atft_gat_fan.reporting.numbers import between, compact, fixed, percent
from atft_gat_fan.reporting.page import Row, Table

MOST_NAMES = 100
"""Rows of a family's table: the furthest; all of them are in monitor.json."""
STATISTICS = {
    "psi": "PSI",
    "ks": "Kolmogorov–Smirnov",
    "wasserstein": "Wasserstein",
    "nan_share": "missing values",
    "mean": "mean",
    "cusum": "CUSUM",
    "slope": "growth a day",
}
"""Statistics of alarms in words; those of the short window end in `_short`, others as they are."""


def alarm_table(alarms: tuple[Alarm, ...], title: str) -> Table:
    """What, since when, by which number, and what to do."""
    columns = ("", "what to do", "since", "by", "measured", "threshold")
    rows = tuple(
        (
            _subject(alarm),
            alarm.sentence,
            alarm.since or "–",
            _statistic(alarm.statistic),
            _amount(alarm, alarm.value),
            _amount(alarm, alarm.threshold),
        )
        for alarm in alarms
    )
    return Table(title, "", columns, rows)


def detail_tables(result: MonitorResult) -> Iterator[Table]:
    """Each family, the daily numbers, RankIC and memory."""
    for family in result.families.values():
        if family.shifts:
            yield _family_table(family.title, family.shifts, result)
    yield _stability_table(result)
    yield _rank_ic_table(result)
    yield _memory_table(result)


def _family_table(title: str, shifts: tuple[ShiftResult, ...], result: MonitorResult) -> Table:
    columns = (
        "", "alarm since", "PSI", "KS", "Wasserstein", "PSI, short", "KS, short", "Wasserstein, short", "missing",
        "validation", "alarm above",
    )  # fmt: skip
    rows = tuple(
        (
            shift.name,
            shift.since or "–",
            *(
                _against(measured)
                for window in (shift.long, shift.short)
                for measured in (window.psi, window.ks, window.wasserstein)
            ),
            percent(shift.nan_share, 1),
            percent(shift.reference_nan_share, 1),
            percent(shift.nan_threshold, 1),
        )
        for shift in shifts[:MOST_NAMES]
    )
    rest = len(shifts) - len(rows)
    more = f" The other {rest} are nearer, and in monitor.json." if rest else ""
    note = f"Measured / threshold, of the last {result.long_days} days and (short) {result.short_days}.{more}"
    return Table(title, note, columns, rows)


def _stability_table(result: MonitorResult) -> Table:
    columns = ("", "newest mean", "validation", "bounds", "alarm since", "not known as")
    rows = tuple(
        (
            number.title,
            value_words(number.name, number.value),
            value_words(number.name, number.reference),
            f"{value_words(number.name, number.low)} … {value_words(number.name, number.high)}",
            number.since or "–",
            number.unavailable or "",
        )
        for number in result.stability
    )
    return Table("From day to day", f"Means of the last {result.short_days} days.", columns, rows)


def _rank_ic_table(result: MonitorResult) -> Table:
    columns = (
        "",
        "days",
        "mean",
        "95 % interval",
        "t",
        "validation",
        "CUSUM",
        "threshold",
        "raised",
        "not known as",
    )
    rows: tuple[Row, ...] = tuple(
        (
            horizon,
            str(len(found.days)),
            fixed(found.mean, sign=True),
            between(found.low, found.high, lambda value: fixed(value, sign=True)),
            fixed(found.t, 1),
            fixed(found.reference_mean, sign=True),
            fixed(found.cusum[-1] if found.cusum else None, 2),
            fixed(found.cusum_threshold, 2),
            ", ".join(found.raised) or "–",
            found.unavailable or "",
        )
        for horizon, found in result.rank_ic.items()
    )
    return Table("Realised RankIC", "Days whose labels have matured.", columns, rows)


def _memory_table(result: MonitorResult) -> Table:
    rows = tuple(
        (r.at[:16].replace("T", " "), f"{r.post_step_min_bytes:,}", f"{r.peak_bytes:,}") for r in result.memory.readings
    )
    return Table("Memory by run", "Private bytes; times in UTC.", ("", "after scoring a day, least", "peak"), rows)


def _subject(alarm: Alarm) -> str:
    families: tuple[Family, ...] = ("raw_features", "standardised_features", "predictions")
    for family in families:
        if alarm.what == family:
            return SHORT[family].format(alarm.name)
    return {"rank_ic": f"RankIC@{alarm.name}", "memory": "memory"}.get(alarm.what, alarm.name.replace("_", " "))


def _statistic(name: str) -> str:
    words = STATISTICS.get(name.removesuffix("_short"), name.replace("_", " "))
    return f"{words}, newest days" if name.endswith("_short") else words


def _amount(alarm: Alarm, value: float | None) -> str:
    if value is None:
        return "–"
    if alarm.statistic in ("slope", "nan_share"):
        return percent(value, 2)
    return value_words(alarm.name, value) if alarm.what == "stability" else compact(value)


def _against(measured: Measured) -> str:
    if measured.value is None:
        return "–"
    limit = "–" if measured.threshold is None else compact(float(f"{measured.threshold:.2g}"))
    return f"{compact(float(f'{measured.value:.2g}'))} / {limit}{' ▲' if measured.alarm else ''}"
