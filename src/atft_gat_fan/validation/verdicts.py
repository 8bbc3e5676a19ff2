"""From paired outcomes to numbers with intervals, and from those to a verdict whose rule is printed with it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from atft_gat_fan.config.schema import ValidationConfig
from atft_gat_fan.reporting.numbers import fixed
from atft_gat_fan.statistics.contingency import paired_rates
from atft_gat_fan.statistics.hac import diebold_mariano
from atft_gat_fan.statistics.multiplicity import holm
from atft_gat_fan.statistics.paired import equivalence, paired_interval
from atft_gat_fan.statistics.power import minimum_detectable_effect, needed
from atft_gat_fan.statistics.ratios import median_ratio_interval
from atft_gat_fan.validation.arms import BASELINE
from atft_gat_fan.validation.comparison import Outcomes
from atft_gat_fan.validation.plan import KINDS
from atft_gat_fan.validation.result import DeltaRankIC, DivergenceResult, ImprovementResult, RatioResult, Verdict

BOOTSTRAP_SEED = 0


@dataclass(frozen=True)
class Pair:
    """One comparison: results are those of `variant` against `baseline`, reported under `name`."""

    name: str
    title: str
    overrides: tuple[str, ...]
    variant: str
    baseline: str


def compare(
    outcomes: Outcomes,
    pairs: Sequence[Pair],
    horizons: Sequence[int],
    seeds: Sequence[int],
    config: ValidationConfig,
) -> dict[str, ImprovementResult]:
    """The results of a family of comparisons, whose p-values are corrected for one another at each horizon."""
    deltas = {
        horizon: _corrected(
            [_delta(outcomes, pair, horizon, seeds, config, tests=len(pairs)) for pair in pairs],
        )
        for horizon in horizons
    }
    results = {}
    for position, pair in enumerate(pairs):
        of_pair = {f"{horizon}d": deltas[horizon][position] for horizon in horizons}
        verdict, reason = judge(of_pair[f"{horizons[0]}d"], f"{horizons[0]}d", config.level)
        results[pair.name] = ImprovementResult(
            title=pair.title,
            overrides=pair.overrides,
            delta_rank_ic=of_pair,
            divergence=_divergence(outcomes, pair),
            time=_time(outcomes, pair, config.level),
            memory=_memory(outcomes, pair, "peak_private_bytes", config.level),
            cuda_memory=_cuda_memory(outcomes, pair, config.level),
            verdict=verdict,
            reason=reason,
            notes=tuple(_notes(outcomes, pair)),
        )
    return results


def judge(delta: DeltaRankIC, horizon: str, level: float) -> tuple[Verdict, str]:
    """The verdict on a difference, and the rule that gave it with its numbers."""
    if delta.mean is None or delta.p is None or delta.p_equivalence is None:
        return "underpowered", "too few test days with a RankIC in both arms to say anything"
    of_none = f"ΔRankIC@{horizon} = {fixed(delta.mean, sign=True)}, Holm-corrected p = {delta.p:.3f}"
    if delta.p <= level:
        verdict: Verdict = "helps" if delta.mean > 0 else "hurts"
        small = " (and shown to be smaller than the margin)" if delta.p_equivalence <= level else ""
        return verdict, f"{of_none} ≤ {level:g}{small}"
    bound = f"±{delta.margin:g}"
    if delta.p_equivalence <= level:
        return (
            "neutral",
            f"{of_none} > {level:g}; inside {bound}, equivalence p = {delta.p_equivalence:.3f} ≤ {level:g}",
        )
    inside = f"not shown to be inside {bound} (equivalence p = {delta.p_equivalence:.3f})"
    return "underpowered", f"{of_none} > {level:g}, and {inside}{_need(delta)}"


def rules(config: ValidationConfig, tests: int) -> tuple[str, ...]:
    """How the numbers are made, to be printed."""
    level, margin = f"{config.level:g}", f"{config.margin:g}"
    return (
        "ΔRankIC is the variant's daily RankIC minus the baseline's on the same test days, by trainings with the same "
        "seed, fold, initial draws and order of days; averaged over the seeds of a day, then over days.",
        "Intervals and p: studentised stationary bootstrap over blocks of days (mean max(10, 2h) days) with the "
        f"seeds as a random effect. p is corrected by Holm over {tests} tests a horizon; intervals are not.",
        f"helps / hurts: corrected p ≤ {level}. neutral: not so, and two one-sided tests put the difference inside "
        f"±{margin} at level {level}. underpowered: neither could be shown; it says nothing for or against.",
        "Smallest detectable difference: what these days and seeds would find with "
        f"{config.power:.0%} power at the level of Holm's hardest step, {level} / {tests}.",
        "Diebold-Mariano, with the correction of Harvey, Leybourne and Newbold, treats the seeds as fixed.",
        "A training that ended without finite weights ranks nothing: its RankIC counts as 0 on every day.",
        "Time: optimizer steps of baseline and variant in turns (ABBA) in one process that runs alone, with "
        f"{config.threads} CPU thread(s), median ratio of the rounds. "
        "Memory: largest private memory of the training's process (pages of mapped files are not counted), median "
        "ratio of pairs. Their intervals are exact ones of a median, and need six pairs.",
    )


def _need(delta: DeltaRankIC) -> str:
    if delta.minimum_detectable is None:
        return ""
    needs = [
        f"{count} {what}"
        for what, count in (("test days", delta.needed_days), ("seeds", delta.needed_seeds))
        if count is not None
    ]
    more = f"; to find one of the margin's size, about {' or '.join(needs)} would be needed" if needs else ""
    found = (
        f"differences of {fixed(delta.minimum_detectable)} and more" if delta.attainable else "no attainable difference"
    )
    return f"; these days and seeds find {found}{more}"


def _delta(
    outcomes: Outcomes, pair: Pair, horizon: int, seeds: Sequence[int], config: ValidationConfig, tests: int
) -> DeltaRankIC:
    differences = outcomes.differences(pair.variant, pair.baseline, horizon, seeds)
    if not differences.size:
        return DeltaRankIC(None, None, None, None)
    level, resamples = config.level, config.num_resamples
    interval = paired_interval(differences, horizon, BOOTSTRAP_SEED, level=1 - level, num_resamples=resamples)
    if math.isnan(interval.p):
        return DeltaRankIC(number(interval.mean), None, None, None)
    equivalent = equivalence(
        differences, horizon, BOOTSTRAP_SEED, margin=config.margin, level=level, num_resamples=resamples
    )
    hardest = level / tests
    dm = diebold_mariano(differences.mean(axis=0), horizon)
    need = needed(differences, horizon, config.margin, level=hardest, power=config.power)
    detectable = minimum_detectable_effect(differences, horizon, level=hardest, power=config.power)
    met = detectable <= config.margin
    return DeltaRankIC(
        mean=number(interval.mean),
        low=number(interval.low),
        high=number(interval.high),
        p=number(interval.p),
        p_raw=number(interval.p),
        diebold_mariano_t=number(dm.statistic),
        diebold_mariano_p=number(dm.p),
        p_equivalence=number(equivalent.p),
        margin=config.margin,
        minimum_detectable=number(detectable),
        needed_days=None if met else _whole(need.days),
        needed_seeds=None if met else _whole(need.seeds),
        by_seed=tuple(number(float(np.nanmean(row))) for row in differences),
    )


def _corrected(deltas: Sequence[DeltaRankIC]) -> list[DeltaRankIC]:
    raw = np.array([math.nan if delta.p_raw is None else delta.p_raw for delta in deltas])
    return [replace(delta, p=number(p)) for delta, p in zip(deltas, holm(raw).tolist(), strict=True)]


def _divergence(outcomes: Outcomes, pair: Pair) -> DivergenceResult:
    known = [
        (variant.divergence.diverged, baseline.divergence.diverged)
        for variant, baseline in outcomes.pairs(pair.variant, pair.baseline, "stress")
        if variant.divergence is not None and baseline.divergence is not None
    ]
    table = np.array(known, dtype=bool).reshape(-1, 2)
    rates = paired_rates(table[:, 1], table[:, 0])
    return DivergenceResult(
        pairs=rates.pairs,
        baseline=int(table[:, 1].sum()),
        variant=int(table[:, 0].sum()),
        only_baseline=rates.only_baseline,
        only_variant=rates.only_variant,
        baseline_rate=number(rates.baseline),
        rate=number(rates.variant),
        change=rates.variant / rates.baseline - 1 if rates.pairs and rates.baseline > 0 else None,
        p=number(rates.p) if rates.pairs else None,
        reasons={
            "baseline": outcomes.diverged(pair.baseline, "stress"),
            "variant": outcomes.diverged(pair.variant, "stress"),
        },
    )


def _time(outcomes: Outcomes, pair: Pair, level: float) -> RatioResult:
    """Of the one timing of a variant, which holds both sides' turns."""
    (outcome,) = tuple(outcomes.of(pair.variant, "timing").values()) or (None,)
    if outcome is None or pair.baseline != BASELINE:
        return NOT_MEASURED
    # An ABBA round is two turns of each.
    variant, baseline = (
        np.array(seconds).reshape(-1, 2).sum(axis=1) for seconds in (outcome.variant_seconds, outcome.baseline_seconds)
    )
    return _ratio(variant, baseline, level)


def _memory(outcomes: Outcomes, pair: Pair, what: str, level: float) -> RatioResult:
    readings = [
        (getattr(variant, what), getattr(baseline, what))
        for kind in KINDS
        for variant, baseline in outcomes.pairs(pair.variant, pair.baseline, kind)
    ]
    known = np.array([pair for pair in readings if None not in pair], dtype=np.float64).reshape(-1, 2)
    return _ratio(known[:, 0], known[:, 1], level)


def _cuda_memory(outcomes: Outcomes, pair: Pair, level: float) -> RatioResult | None:
    measured = _memory(outcomes, pair, "peak_cuda_bytes", level)
    return measured if measured.pairs else None


NOT_MEASURED = RatioResult(None, None, None, 0, None, None)


def _ratio(variant: NDArray[np.float64], baseline: NDArray[np.float64], level: float) -> RatioResult:
    if not variant.size:
        return NOT_MEASURED
    ratio = median_ratio_interval(variant, baseline, level=1 - level)
    return RatioResult(
        ratio=number(ratio.ratio),
        low=number(ratio.low),
        high=number(ratio.high),
        pairs=ratio.pairs,
        baseline=float(np.median(baseline)),
        variant=float(np.median(variant)),
    )


def _notes(outcomes: Outcomes, pair: Pair) -> list[str]:
    notes = []
    for arm, words in ((pair.variant, "with it"), (pair.baseline, "without it")):
        reasons = outcomes.diverged(arm, "rank_ic")
        if reasons:
            counts = ", ".join(f"{count} × {reason.replace('_', ' ')}" for reason, count in reasons.items())
            total = len(outcomes.of(arm, "rank_ic"))
            notes.append(f"of {total} ordinary trainings {words}, some diverged: {counts}")
    return notes


def number(value: float) -> float | None:
    """A JSON number: NaN and infinities become null."""
    return float(value) if math.isfinite(value) else None


def _whole(value: float) -> int | None:
    return round(value) if math.isfinite(value) else None
