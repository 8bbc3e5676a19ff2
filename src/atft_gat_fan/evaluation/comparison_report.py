"""`compare.html`: one self-contained page about runs side by side, each against the first."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from atft_gat_fan.evaluation.comparison import LEVEL, ComparedRun, Comparison, DeltaRankIC, Pair
from atft_gat_fan.evaluation.comparison_charts import cumulative_chart, forest_charts
from atft_gat_fan.evaluation.differing import Differing
from atft_gat_fan.evaluation.evaluate import name_of
from atft_gat_fan.evaluation.verdict import Finding, Tone, title_of
from atft_gat_fan.reporting.numbers import MEBIBYTE, THIN_SPACE, between, fixed, probability
from atft_gat_fan.reporting.page import Fact, render

TEMPLATE = "compare.html.j2"
CONFIDENCE = f"{100 * (1 - LEVEL):g}{THIN_SPACE}%"
METRICS = {
    "rank_ic": ("RankIC", "mean daily Spearman correlation with the realised return", 4),
    "rank_ic_t": ("t-statistic", "of RankIC, Newey–West with at least h − 1 lags", 1),
    "icir": ("ICIR", "daily mean over standard deviation, not annualised", 2),
    "rank_ic_skip1": ("Skip-1 RankIC", "the first day left out of the label: no bid–ask bounce", 4),
    "rank_ic_liquid": ("Liquid RankIC", "upper half of each day's stocks by 20-day median dollar volume", 4),
}
"""Of metrics.json, by key: title, what it is, decimals."""

Row = tuple[str, ...]
Json = Mapping[str, Any]


@dataclass(frozen=True)
class Table:
    """`columns` name the cells of each row, the first of which names the row; `ours` are names that stand out."""

    title: str
    note: str
    columns: Row
    rows: tuple[Row, ...]
    ours: tuple[str, ...] = ()


def build_page(comparison: Comparison, page: str) -> str:
    """The page as HTML text, without scripts or addresses; `page` is the file that it will be in.

    The same comparison gives the same text. What was not measured or cannot be compared is said to be so.
    """
    runs = comparison.runs
    return render(
        TEMPLATE,
        names=[run.name for run in runs],
        periods=[Fact(run.name, _period(run)) for run in runs],
        headline=headline(comparison),
        tone=_tone(comparison),
        tiles=[_tile(run, name_of(comparison.horizon)) for run in runs],
        findings=[_finding(comparison, pair) for pair in comparison.pairs],
        metrics=[table for key in METRICS if (table := metric_table(comparison, key)) is not None],
        cumulative=cumulative_chart(comparison),
        forests=forest_charts(comparison),
        paired=paired_table(comparison),
        confidence=CONFIDENCE,
        training=training_table(comparison),
        numerics=numerics_note(comparison),
        differing=differing_tables(comparison),
        command=f"atft compare {' '.join(run.folder for run in runs)} --out {page}",
    )


def headline(comparison: Comparison) -> str:
    """One sentence on who ranks better than the first run at the page's horizon."""
    name, first = name_of(comparison.horizon), comparison.reference.name
    groups: dict[str, list[str]] = {"better": [], "worse": [], "": []}
    for pair in comparison.pairs:
        delta = pair.delta_rank_ic.get(name)
        if delta is not None:
            groups[word_of(delta)].append(pair.run)
    if not any(groups.values()):
        return "These runs cannot be compared day by day."
    verbs = {"better": "better than", "worse": "worse than", "": "no clear difference from"}
    told = [f"{verbs[word]} {first}: {_listed(group)}" for word, group in groups.items() if group]
    return f"At {name}, {'; '.join(told)}."


def word_of(delta: DeltaRankIC) -> str:
    """`better` or `worse` than the first run where that is more than chance, else nothing."""
    if delta.p is None or delta.mean is None or delta.p > LEVEL:
        return ""
    return "better" if delta.mean > 0 else "worse"


def metric_table(comparison: Comparison, key: str) -> Table | None:
    """A row a run and a baseline, a column a horizon; None where no run has the metric `key` of `METRICS`."""
    title, note, digits = METRICS[key]
    horizons = [name_of(horizon) for horizon in comparison.horizons]
    rows = [
        (run.name, *(fixed(values.get(horizon), digits) for horizon in horizons))
        for run in comparison.runs
        if (values := run.test.get(key)) is not None
    ]
    if not rows:
        return None
    own = tuple(row[0] for row in rows)
    baselines = [
        (name, *(fixed(values.get(horizon), digits) for horizon in horizons))
        for name, values in _baselines(comparison.runs, key)
    ]
    return Table(title, note, ("", *horizons), (*rows, *baselines), own)


def paired_table(comparison: Comparison) -> Table:
    """Every paired difference with its interval."""
    rows = [
        (
            pair.run,
            horizon,
            fixed(delta.mean, sign=True),
            between(delta.low, delta.high, lambda value: fixed(value, sign=True)),
            probability(delta.p),
            probability(delta.p_raw),
            f"{delta.days:,}",
        )
        for pair in comparison.pairs
        for horizon, delta in pair.delta_rank_ic.items()
    ]
    compared = sum(bool(pair.delta_rank_ic) for pair in comparison.pairs)
    corrected = f"; (Holm): corrected for the {compared} runs compared with it, each horizon by itself"
    note = (
        f"RankIC of each day minus that of {comparison.reference.name} on the same day. p is of no difference"
        f"{corrected if compared > 1 else ''}."
    )
    columns = ("", "horizon", "ΔRankIC", f"{CONFIDENCE} interval", "p (Holm)", "p", "days")
    return Table("Every difference", note, columns, tuple(rows))


def training_table(comparison: Comparison) -> Table:
    """What each run cost, and the network it trained."""
    columns: tuple[tuple[str, str, Callable[[Any], str]], ...] = (
        ("time", "seconds", _duration),
        ("stock-days a second", "samples_per_second", lambda v: f"{v:,.0f}"),
        ("parameters", "parameters", lambda v: f"{v:,}"),
        ("epochs", "epochs", str),
        ("steps", "steps", lambda v: f"{v:,}"),
        ("peak memory, MiB", "peak_rss_bytes", lambda v: f"{v / MEBIBYTE:,.0f}"),
        ("stopped", "stopped", lambda v: str(v).replace("_", " ")),
    )
    rows = tuple(
        (run.name, *("–" if run.train.get(key) is None else form(run.train[key]) for _, key, form in columns))
        for run in comparison.runs
    )
    return Table("Training", "", ("", *(title for title, _, _ in columns)), rows)


def differing_tables(comparison: Comparison) -> tuple[Table, Table]:
    """Switches and keys that are not the same in all runs, a column a run."""
    return (
        _differing_table(comparison, "Switches", comparison.plan, absent="–"),
        _differing_table(comparison, "Configuration", comparison.config, absent="null"),
    )


def numerics_note(comparison: Comparison) -> str:
    """What times of these runs cannot be compared by; empty: they were trained under the same conditions."""
    numerics = [{key: run.train["numerics"].get(key) for key in _CONDITIONS} for run in comparison.runs]
    unlike = [key for key in _CONDITIONS if any(each[key] != numerics[0][key] for each in numerics)]
    if not unlike:
        return ""
    found = "; ".join(
        f"{run.name}: {', '.join(f'{key} {_value(each[key])}' for key in unlike)}"
        for run, each in zip(comparison.runs, numerics, strict=True)
    )
    return f"Times and last digits are not comparable: {found}."


_CONDITIONS = ("torch", "threads", "machine", "cpu", "compiled")
"""Of the numerics stamp."""


def _period(run: ComparedRun) -> str:
    if run.judged is None or not len(run.judged.days):
        return f"{run.test['days']:,} test days"
    return f"{run.test['days']:,} test days, {run.judged.days[0]} to {run.judged.days[-1]}"


def _tone(comparison: Comparison) -> Tone:
    name = name_of(comparison.horizon)
    words = {word_of(pair.delta_rank_ic[name]) for pair in comparison.pairs if name in pair.delta_rank_ic}
    if words == {"better"}:
        return "good"
    return "bad" if words == {"worse"} else "plain"


def _tile(run: ComparedRun, horizon: str) -> Fact:
    low, high = run.test.get("rank_ic_interval", {}).get(horizon, (None, None))
    interval = "no interval" if low is None else f"95{THIN_SPACE}%: {between(low, high, fixed)}"
    return Fact(f"RankIC@{horizon}, {run.name}", fixed(run.test["rank_ic"].get(horizon)), interval)


def _finding(comparison: Comparison, pair: Pair) -> Finding:
    name = name_of(comparison.horizon)
    if pair.reason:
        return Finding("plain", pair.run, f"Not compared with {comparison.reference.name}: {pair.reason}.")
    notes = "".join(f" {note[:1].upper()}{note[1:]}." for note in pair.notes)
    delta = pair.delta_rank_ic.get(name)
    if delta is None:
        return Finding("plain", pair.run, f"Has no {name}.{notes}")
    if delta.p is None:
        return Finding("plain", pair.run, f"{fixed(delta.mean, sign=True)} RankIC on too few days for a test.{notes}")
    word = word_of(delta)
    tone: Tone = "good" if word == "better" else "bad" if word == "worse" else "plain"
    interval = between(delta.low, delta.high, lambda value: fixed(value, sign=True))
    text = (
        f"{fixed(delta.mean, sign=True)} RankIC on {delta.days:,} days ({CONFIDENCE}: {interval}; p = "
        f"{probability(delta.p)}): {word or 'no clear difference'}.{notes}"
    )
    return Finding(tone, pair.run, text)


def _baselines(runs: Sequence[ComparedRun], key: str) -> Iterator[tuple[str, Json]]:
    """Each baseline once for all runs on which it has the same numbers."""
    for name in dict.fromkeys(name for run in runs for name in run.test["baselines"]):
        found: list[tuple[Json, list[str]]] = []
        for run in runs:
            values = run.test["baselines"].get(name, {}).get(key)
            if values is None:
                continue
            names = next((names for known, names in found if known == values), None)
            if names is None:
                found.append((values, names := []))
            names.append(run.name)
        for values, names in found:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            yield title_of(name) if len(found) == 1 else f"{title_of(name)} of {names[0]}{more}", values


def _differing_table(comparison: Comparison, title: str, found: Sequence[Differing], absent: str) -> Table:
    rows = tuple((each.key, *(_value(value, absent) for value in each.values)) for each in found)
    return Table(title, "", ("", *(run.name for run in comparison.runs)), rows)


def _value(value: Any, absent: str = "–") -> str:
    if value is None:
        return absent
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _duration(seconds: float) -> str:
    return f"{seconds / 60:,.1f} min" if seconds >= 120 else f"{seconds:,.1f} s"


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
