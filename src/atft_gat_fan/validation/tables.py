"""The tables of a validation: the verdicts, the memo's promises, and every number that the figures draw."""

from collections.abc import Callable, Iterator, Mapping

from atft_gat_fan.reporting.numbers import MEBIBYTE, between, compact, fixed, percent, probability
from atft_gat_fan.reporting.page import Row, Table
from atft_gat_fan.validation.headline import measured, outcome, promised, short
from atft_gat_fan.validation.result import DeltaRankIC, ImprovementResult, RatioResult, TargetResult, ValidationResult

REASONS = {
    "non_finite": "non-finite",
    "spike": "loss spike",
    "worse_than_constant": "worse than a constant",
    "collapse": "collapse",
}
"""Ways to diverge, in words; others as they are."""


def verdict_table(result: ValidationResult) -> Table:
    """One line an improvement: what a reader needs to agree or disagree with the verdict."""
    horizon = next((h for each in result.improvements.values() for h in each.delta_rank_ic), "1d")
    columns = (
        "", "verdict", f"ΔRankIC@{horizon}", "interval", "p (Holm)", "smallest detectable",
        "days needed", "or seeds", "diverged", "memory", "time",
    )  # fmt: skip
    rows = tuple(
        (short(each.title), each.verdict, *_decisive(each.delta_rank_ic.get(horizon)), *_costs(each))
        for each in result.improvements.values()
    )
    note = (
        "p is of no difference, corrected for the number of improvements. Smallest detectable: the true difference "
        "that these days and seeds can be expected to find, by the rules below. Needed to find one as large as the "
        "margin, where any number is enough: days with these seeds, or seeds with these days. "
        "Diverged: baseline → variant."
    )
    return Table("Verdicts", note, columns, rows)


def _decisive(delta: DeltaRankIC | None) -> Row:
    if delta is None:
        return ("–",) * 6
    return (
        fixed(delta.mean, sign=True),
        _interval(delta.low, delta.high),
        probability(delta.p),
        _smallest_detectable(delta),
        *_needed(delta),
    )


def _smallest_detectable(delta: DeltaRankIC) -> str:
    found = delta.minimum_detectable
    return fixed(found) if found is None or delta.attainable else "none attainable"


def _needed(delta: DeltaRankIC) -> tuple[str, str]:
    """Days, or seeds; without a detectable difference nothing is known of either."""
    if delta.minimum_detectable is None:
        return "–", "–"
    if delta.margin is not None and delta.minimum_detectable <= delta.margin:
        return "enough", "enough"
    days, seeds = ("no number" if n is None else f"{n:,}" for n in (delta.needed_days, delta.needed_seeds))
    return days, seeds


def _costs(each: ImprovementResult) -> Row:
    found = each.divergence
    diverged = f"{fixed(100 * (found.baseline_rate or 0), 0)} → {percent(found.rate)}" if found.pairs else "–"
    return diverged, _change(each.memory), _change(each.time)


def _change(found: RatioResult) -> str:
    return "–" if found.ratio is None else percent(found.ratio - 1, 1, sign=True)


def promise_table(result: ValidationResult) -> Table:
    rows = []
    for target in result.targets.values():

        def form(value: float, target: TargetResult = target) -> str:
            return measured(target, value)

        value = "–" if target.measured is None else form(target.measured)
        rows.append(
            (short(target.title), promised(target), value, between(target.low, target.high, form), outcome(target))
        )
    columns = ("", "promised", "measured", "interval", "outcome")
    note = "The outcome is open where the interval allows both."
    return Table("The memo's promises", note, columns, tuple(rows))


def detail_tables(result: ValidationResult) -> Iterator[Table]:
    """Every number of the figures."""
    groups = {"": result.improvements, ", all minus all but this one": result.contributions}
    for suffix, results in groups.items():
        for horizon in dict.fromkeys(h for each in results.values() for h in each.delta_rank_ic):
            yield _delta_table(f"ΔRankIC@{horizon}{suffix}", results, horizon, result.seeds)
        if results:
            yield _divergence_table(f"Divergence{suffix}", results)
            yield _ratio_table(f"Time, seconds{suffix}", results, lambda r: r.time, compact)
            yield _ratio_table(f"Peak private memory, MiB{suffix}", results, lambda r: r.memory, _mebibytes)
            if any(each.cuda_memory for each in results.values()):
                yield _ratio_table(f"Peak CUDA memory, MiB{suffix}", results, lambda r: r.cuda_memory, _mebibytes)


def _delta_table(title: str, results: Mapping[str, ImprovementResult], horizon: str, seeds: tuple[int, ...]) -> Table:
    columns = (
        "", "mean", "interval", "p (Holm)", "p", "t (DM)", "p (DM)", "p (equivalence)", "smallest detectable",
        *(f"seed {seed}" for seed in seeds),
    )  # fmt: skip
    rows = tuple(
        (
            short(each.title),
            fixed(delta.mean, sign=True),
            _interval(delta.low, delta.high),
            probability(delta.p),
            probability(delta.p_raw),
            fixed(delta.diebold_mariano_t, 2, sign=True),
            probability(delta.diebold_mariano_p),
            probability(delta.p_equivalence),
            _smallest_detectable(delta),
            *(fixed(value, sign=True) for value in delta.by_seed),
            *("–",) * (len(seeds) - len(delta.by_seed)),
        )
        for each in results.values()
        if (delta := each.delta_rank_ic.get(horizon)) is not None
    )
    note = "Variant minus baseline; DM: Diebold–Mariano on the daily differences, seeds held fixed."
    return Table(title, note, columns, rows)


def _divergence_table(title: str, results: Mapping[str, ImprovementResult]) -> Table:
    columns = ("", "pairs", "baseline", "variant", "only baseline", "only variant", "change", "p (McNemar)", "how")
    rows = tuple(
        (
            short(each.title),
            str(found.pairs),
            str(found.baseline),
            str(found.variant),
            str(found.only_baseline),
            str(found.only_variant),
            percent(found.change, sign=True),
            probability(found.p),
            "; ".join(f"{arm}: {_reasons(counts)}" for arm, counts in found.reasons.items() if any(counts.values()))
            or "–",
        )
        for each in results.values()
        if (found := each.divergence).pairs
    )
    note = "" if rows else "Not measured: the stress grid was not run."
    return Table(title, note, columns, rows)


def _reasons(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{REASONS.get(reason, reason)} {count}" for reason, count in counts.items() if count)


def _ratio_table(
    title: str,
    results: Mapping[str, ImprovementResult],
    reading: Callable[[ImprovementResult], RatioResult | None],
    form: Callable[[float], str],
) -> Table:
    columns = ("", "ratio", "interval", "pairs", "baseline", "variant")
    rows = tuple(
        (
            short(each.title),
            fixed(found.ratio, 3),
            between(found.low, found.high, lambda value: fixed(value, 3)),
            str(found.pairs),
            "–" if found.baseline is None else form(found.baseline),
            "–" if found.variant is None else form(found.variant),
        )
        for each in results.values()
        if (found := reading(each)) is not None
    )
    return Table(title, "Median ratio of paired readings; the two last columns are medians.", columns, rows)


def _mebibytes(value: float) -> str:
    return f"{value / MEBIBYTE:,.0f}"


def _interval(low: float | None, high: float | None) -> str:
    return between(low, high, lambda value: fixed(value, sign=True))
