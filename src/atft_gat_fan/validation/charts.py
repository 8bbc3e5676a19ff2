"""The figures of a validation: forest plots of ΔRankIC, and bars of divergence, memory and time."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from math import nan

from atft_gat_fan.reporting.comparisons import Band, Estimate, Mark, amount_bars, forest_plot, span_of
from atft_gat_fan.reporting.numbers import between, fixed, percent
from atft_gat_fan.reporting.page import Chart
from atft_gat_fan.reporting.theme import ACCENT, GREYS
from atft_gat_fan.validation.headline import ALL, confidence, short
from atft_gat_fan.validation.promises import (
    DIVERGENCE_TARGET,
    MEMORY_TARGET,
    RANK_IC_HOPED,
    RANK_IC_TARGET,
    TIME_TARGET,
)
from atft_gat_fan.validation.result import (
    DeltaRankIC,
    ImprovementResult,
    RatioResult,
    ValidationResult,
    Verdict,
)

WIDTH = 440
"""Narrower than half the page, so that text stays legible where a phone shrinks the figure."""
MARKS: Mapping[Verdict, Mark] = {"helps": "good", "neutral": "plain", "hurts": "bad", "underpowered": "open"}

Results = Mapping[str, ImprovementResult]


def rank_ic_charts(result: ValidationResult) -> list[Chart]:
    """A forest plot a horizon, all on one axis so that lengths can be compared."""
    improvements = result.improvements
    horizons = list(dict.fromkeys(h for each in improvements.values() for h in each.delta_rank_ic))
    level = result.set_up.level
    promises = {h: _promise(improvements, h) for h in horizons}
    limits = span_of(
        [row for h in horizons for row in _delta_rows(improvements, h)],
        [band for h in horizons for band in (*_margin(improvements, h), *promises[h])],
    )
    return [
        delta_chart(
            f"ΔRankIC@{h}, improvement minus baseline",
            improvements,
            h,
            level=None if h == horizons[0] else level,
            promised=promises[h],
            limits=limits,
        )
        for h in horizons
    ]


def delta_chart(
    title: str,
    results: Results,
    horizon: str,
    *,
    level: float | None = None,
    promised: Sequence[Band] = (),
    limits: tuple[float, float] | None = None,
) -> Chart:
    """Forest plot of ΔRankIC at one horizon, with the margin of differences too small to matter.

    Marked by the verdict, which is of the first horizon; for others by the verdict's rule at `level`. `limits` of the
    axis: by default what is shown. A result that was not measured at the horizon has an empty row.
    """
    rows, bands = _delta_rows(results, horizon, level), [*_margin(results, horizon), *promised]
    return _forest(title, rows, bands, span_of(rows, bands) if limits is None else limits)


def contribution_chart(result: ValidationResult) -> Chart | None:
    """Forest plot of what each improvement adds to all the others, first horizon; None where it was not measured."""
    if not result.contributions:
        return None
    horizon = next(iter(next(iter(result.contributions.values())).delta_rank_ic))
    chart = delta_chart(f"ΔRankIC@{horizon}, all minus all but this one", result.contributions, horizon)
    return replace(chart, note="What is lost by switching one off: above zero, the others do not make up for it.")


def cost_charts(result: ValidationResult) -> list[Chart]:
    """Divergence, memory (also CUDA's, where there is one) and time."""
    improvements = result.improvements
    charts = [
        _divergence_chart(improvements, result.set_up.level),
        _ratio_chart("Peak private memory", result, lambda r: r.memory, MEMORY_TARGET, worse=0.0),
    ]
    if any(each.cuda_memory for each in improvements.values()):
        charts.append(_ratio_chart("Peak CUDA memory", result, lambda r: r.cuda_memory, MEMORY_TARGET, worse=0.0))
    time = _ratio_chart("Training time", result, lambda r: r.time, TIME_TARGET, worse=TIME_TARGET)
    return [*charts, time]


def _forest(title: str, rows: Sequence[Estimate], bands: Sequence[Band], limits: tuple[float, float]) -> Chart:
    svg = forest_plot(
        rows,
        label=_in_words(title, rows, lambda v: fixed(v, sign=True)),
        x_label="difference of the mean daily RankIC",
        limits=limits,
        bands=bands,
        width=WIDTH,
    )
    return Chart(title, svg=svg, wide=False)


def _delta_rows(results: Results, horizon: str, level: float | None = None) -> list[Estimate]:
    """Rows marked by the verdict, or by its rule at `level` for horizons that have none."""
    rows = []
    for each in results.values():
        delta = each.delta_rank_ic.get(horizon)
        if delta is None:
            rows.append(Estimate(short(each.title), nan, mark="open", note="–"))
            continue
        mark = MARKS[each.verdict] if level is None else _mark(delta, level)
        parts = tuple(value for value in delta.by_seed if value is not None)
        low, high, value = _number(delta.low), _number(delta.high), _number(delta.mean)
        rows.append(Estimate(short(each.title), value, low, high, mark, fixed(delta.mean, sign=True), parts))
    return rows


def _mark(delta: DeltaRankIC, level: float) -> Mark:
    if delta.p is not None and delta.mean is not None and delta.p <= level:
        return "good" if delta.mean > 0 else "bad"
    return "plain" if delta.p_equivalence is not None and delta.p_equivalence <= level else "open"


def _promise(results: Results, horizon: str) -> list[Band]:
    return [Band(RANK_IC_TARGET, RANK_IC_HOPED, ACCENT)] if horizon == "1d" and ALL in results else []


def _margin(results: Results, horizon: str) -> list[Band]:
    margins = (each.delta_rank_ic[horizon].margin for each in results.values() if horizon in each.delta_rank_ic)
    widest = max((margin for margin in margins if margin is not None), default=None)
    return [] if widest is None else [Band(-widest, widest)]


def _divergence_chart(results: Results, level: float) -> Chart:
    title = "Trainings that diverged on the stress grid"
    measured = [each.divergence for each in results.values() if each.divergence.pairs]
    if not measured:
        return Chart(title, "Not measured: the stress grid was not run.", wide=False)
    first = measured[0]
    rows = [Estimate("Baseline", _number(first.baseline_rate), note=f"{first.baseline} of {first.pairs}")]
    for each in results.values():
        found = each.divergence
        mark: Mark = "plain"
        if found.p is not None and found.p <= level:
            mark = "good" if found.only_baseline > found.only_variant else "bad"
        note = f"{found.variant} of {found.pairs}" if found.pairs else "–"
        rows.append(Estimate(short(each.title), _number(found.rate), mark=mark, note=note))
    rate = first.baseline_rate
    bands = [] if not rate or ALL not in results else [_line(rate * (1 + DIVERGENCE_TARGET))]
    promise = "Dashed: half the baseline's rate, the memo's promise for all improvements together." if bands else ""
    nothing = "No baseline training diverged, so no reduction can be shown." if rate == 0 else ""
    return Chart(
        title,
        f"In colour where pairs differ by more than chance (McNemar, p ≤ {level:g}). {promise}{nothing}",
        amount_bars(
            rows,
            label=_in_words(title, rows, percent),
            x_label="share of trainings",
            form=percent,
            bands=bands,
            width=WIDTH,
            at_least=0.25,
        ),
        wide=False,
    )


def _ratio_chart(
    title: str,
    result: ValidationResult,
    reading: Callable[[ImprovementResult], RatioResult | None],
    promise: float,
    *,
    worse: float,
) -> Chart:
    """Relative changes of paired readings. An interval all above `worse` wears the warning colour."""
    rows = [_change_row(short(each.title), reading(each), worse) for each in result.improvements.values()]
    if all(row.value != row.value for row in rows):
        return Chart(title, "Not measured in this run.", wide=False)
    bands = [_line(promise)] if ALL in result.improvements else []
    dashed = f" Dashed: {percent(promise, sign=True)}, the memo's promise for all together." if bands else ""
    change, level = "change against the baseline", confidence(result.set_up.level)
    return Chart(
        title,
        f"Median ratio of paired readings with its interval ({level}); in colour where all of it is below zero, or "
        f"above {percent(worse, sign=True) if worse else 'it'}.{dashed}",
        amount_bars(
            rows,
            label=_in_words(f"{title}, {change}", rows, _change),
            x_label=change,
            form=lambda value: percent(value, sign=value != 0),
            bands=bands,
            width=WIDTH,
        ),
        wide=False,
    )


def _change_row(title: str, found: RatioResult | None, worse: float) -> Estimate:
    if found is None or found.ratio is None:
        return Estimate(title, nan, note="–")
    value, low, high = found.ratio - 1, _number(found.low) - 1, _number(found.high) - 1
    # A comparison with NaN is false: without an interval nothing is coloured.
    mark: Mark = "good" if high < 0 else "bad" if low > worse else "plain"
    return Estimate(title, value, low, high, mark, _change(value))


def _line(at: float) -> Band:
    return Band(at, at, GREYS[0])


def _change(value: float) -> str:
    return percent(value, 1, sign=True)


def _in_words(title: str, rows: Iterable[Estimate], form: Callable[[float], str]) -> str:
    """A chart for those who do not see it."""
    known = (row for row in rows if row.value == row.value)
    values = (
        f"{row.name} {form(row.value)}"
        + (f" ({between(row.low, row.high, form)})" if row.low == row.low and row.high == row.high else "")
        for row in known
    )
    return f"{title}: {', '.join(values)}. The tables of this page hold the numbers."


def _number(value: float | None) -> float:
    return nan if value is None else value
