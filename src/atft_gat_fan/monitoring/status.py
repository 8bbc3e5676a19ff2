"""A monitoring in plain words: is the model healthy, what is not, since when, and what to do?"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from atft_gat_fan.monitoring.charts import AREAS, days_words, furthest, short_window
from atft_gat_fan.monitoring.daily_charts import rank_ic_words, trend_words, value_words
from atft_gat_fan.monitoring.result import FamilyResult, MonitorResult
from atft_gat_fan.reporting.numbers import between, compact, fixed, percent
from atft_gat_fan.reporting.page import Fact

Tone = Literal["good", "plain", "bad"]


@dataclass(frozen=True)
class Finding:
    """One thing that is watched: how it is, or why that is not known."""

    tone: Tone
    title: str
    text: str


@dataclass(frozen=True)
class Status:
    """`headline` is one sentence, `advice` what to do about the most pressing alarm and which gates failed."""

    tone: Tone
    headline: str
    advice: tuple[str, ...]
    tiles: tuple[Fact, ...]
    findings: tuple[Finding, ...]


def judge(result: MonitorResult) -> Status:
    """The card at the top of the page. It says nothing that `result` has not measured."""
    findings = (
        *(_family(AREAS[key], family, result) for key, family in result.families.items()),
        _stability(result),
        _ranking(result),
        _memory(result),
    )
    return Status(
        tone="bad" if result.alarms else "plain" if any(gate.failed for gate in result.gates) else "good",
        headline=_headline(result, findings),
        advice=tuple(_advice(result)),
        tiles=(_psi(result), _rank_ic(result), *_numbers(result), _growth(result)),
        findings=findings,
    )


def _headline(result: MonitorResult, findings: tuple[Finding, ...]) -> str:
    if not result.alarms:
        unknown = [finding.title for finding in findings if finding.tone == "plain"]
        if unknown:
            titles = ", ".join([unknown[0], *(title[:1].lower() + title[1:] for title in unknown[1:])])
            return f"No alarms. Not judged yet: {titles[:1].lower()}{titles[1:]}."
        return "Healthy: nothing is further from the validation days than on a healthy day."
    first = min((alarm.since for alarm in result.alarms if alarm.since), default=None)
    if len(result.alarms) == 1:
        return f"One alarm{'' if first is None else f', since {first}'}."
    return f"{len(result.alarms)} alarms{'' if first is None else f', the oldest since {first}'}."


def _advice(result: MonitorResult) -> Iterator[str]:
    if result.alarms:
        yield result.alarms[0].sentence
    for gate in result.gates:
        if gate.failed:
            found = "nothing was measured" if gate.measured is None else f"measured {compact(gate.measured)}"
            yield f"--fail-on {gate.expression}: {found}."


def _psi(result: MonitorResult) -> Fact:
    if result.psi is None:
        return Fact("Largest PSI", "–", "no full window yet")
    name, psi = max(
        ((each.name, each.shift.long.psi) for each in furthest(result)), key=lambda pair: pair[1].value or 0.0
    )
    threshold = "" if psi.threshold is None else f"; threshold {fixed(psi.threshold, 3)}"
    return Fact("Largest PSI", fixed(result.psi, 3), f"{name}, last {days_words(result.long_days)}{threshold}")


def _rank_ic(result: MonitorResult) -> Fact:
    horizon, found = next(iter(result.rank_ic.items()), ("1d", None))
    if found is None or found.mean is None:
        return Fact(f"RankIC@{horizon}", "–", "no matured label")
    t = "" if found.t is None else f", t = {fixed(found.t, 1)}"
    return Fact(f"RankIC@{horizon}", fixed(found.mean, sign=True), f"{len(found.days)} days{t}")


def _numbers(result: MonitorResult) -> Iterator[Fact]:
    """The first rank correlation, and coverage."""
    titles = {"rank_correlation": "Like the day before", "coverage": "Stocks scored"}
    for prefix, title in titles.items():
        number = next((number for number in result.stability if number.name.startswith(prefix)), None)
        if number is not None:
            usual = "" if number.reference is None else f"validation {value_words(number.name, number.reference)}"
            yield Fact(title, value_words(number.name, number.value), usual)


def _growth(result: MonitorResult) -> Fact:
    memory = result.memory
    if memory.slope is None:
        return Fact("Memory a day", "–", "no trend yet")
    interval = between(memory.low, memory.high, lambda value: percent(value, 1, sign=True))
    return Fact("Memory a day", percent(memory.slope, 1, sign=True), interval)


def _family(title: str, family: FamilyResult, result: MonitorResult) -> Finding:
    if family.unavailable is not None:
        return Finding("plain", title, f"Not judged: {family.unavailable}.")
    named = [each for each in furthest(result) if each.shift in family.shifts]
    known = [(each, each.shift.excess[-1]) for each in named if each.shift.excess and each.shift.excess[-1] is not None]
    if not known:
        return Finding("plain", title, f"Not judged: no window of {days_words(short_window(result))} is full.")
    worst, excess = known[0]
    assert excess is not None
    far = f"furthest {worst.name}, at {compact(float(f'{excess:.2g}'))} × its threshold"
    alarms = [each.shift for each in named if each.shift.alarm]
    if not alarms:
        return Finding("good", title, f"{len(known)} of {len(known)} as on the validation days; {far}.")
    since = min(shift.since for shift in alarms if shift.since is not None)
    return Finding("bad", title, f"{len(alarms)} of {len(known)} moved, the first since {since}; {far}.")


def _stability(result: MonitorResult) -> Finding:
    title = "From day to day"
    judged = [number for number in result.stability if number.unavailable is None]
    unknown = [number for number in result.stability if number.unavailable is not None]
    missing = (
        f"{len(unknown)} not judged: {'; '.join(sorted({str(n.unavailable) for n in unknown}))}." if unknown else ""
    )
    alarms = [
        f"{number.title} {value_words(number.name, number.value)}, since {number.since}"
        for number in judged
        if number.alarm
    ]
    if alarms:
        return Finding("bad", title, f"Out of bounds: {'; '.join(alarms)}. {missing}".strip())
    if not judged:
        return Finding("plain", title, missing or "Nothing was measured.")
    return Finding("good", title, f"{len(judged)} numbers are within their bounds. {missing}".strip())


def _ranking(result: MonitorResult) -> Finding:
    title = "Realised RankIC"
    alarms = [f"{horizon} since {found.since}" for horizon, found in result.rank_ic.items() if found.alarm]
    horizon, found = next(iter(result.rank_ic.items()), ("", None))
    if found is None:
        return Finding("plain", title, "Not judged: there are no labels.")
    if found.mean is None and not alarms:
        return Finding("plain", title, f"Not judged: {found.unavailable or 'no RankIC is known'}.")
    words = f"{horizon} {rank_ic_words(found)}"
    if alarms:
        return Finding("bad", title, f"Below the validation's by CUSUM: {', '.join(alarms)}. {words}")
    if found.unavailable is not None:
        return Finding("plain", title, f"{words} {found.unavailable[:1].upper()}{found.unavailable[1:]}.")
    return Finding("good", title, f"No CUSUM alarms. {words}")


def _memory(result: MonitorResult) -> Finding:
    memory = result.memory
    tone: Tone = "bad" if memory.alarm else "plain" if memory.slope is None else "good"
    return Finding(tone, "Memory", trend_words(memory))
