"""All of `validation.json` from the outcomes of the trials."""

from collections.abc import Mapping, Sequence

import numpy as np

from atft_gat_fan.config.conditions import Condition
from atft_gat_fan.config.schema import Config, ValidationConfig
from atft_gat_fan.statistics.bootstrap import mean_block_length, mean_interval
from atft_gat_fan.validation.arms import ALL, BASELINE, WITHOUT, Arms
from atft_gat_fan.validation.comparison import Outcomes
from atft_gat_fan.validation.divergence import DEFINITION
from atft_gat_fan.validation.gates import check_gate
from atft_gat_fan.validation.plan import laid_over
from atft_gat_fan.validation.promises import DIVERGENCE_TARGET, MEMORY_TARGET, RANK_IC_TARGET, TIME_TARGET
from atft_gat_fan.validation.result import (
    BaselineResult,
    ImprovementResult,
    RatioResult,
    SetUp,
    TargetResult,
    ValidationResult,
)
from atft_gat_fan.validation.verdicts import BOOTSTRAP_SEED, Pair, compare, number, rules

FEW_SEEDS, FEW_DAYS = 3, 250


def summarise(
    config: Config, arms: Arms, outcomes: Outcomes, set_up: SetUp, gates: Sequence[Condition] = ()
) -> ValidationResult:
    """Every comparison, verdict and gate. `config` is the one that every arm is laid over."""
    horizons, validation = config.data.horizons, config.validation
    pairs = [Pair(arm.name, arm.title, arm.overrides, arm.name, BASELINE) for arm in arms.variants]
    everything = tuple(pair.overrides for pair in pairs if pair.name == ALL)
    within_all = [
        Pair(name, arm.title, arm.overrides, ALL, f"{WITHOUT}{name}")
        for arm in arms.variants
        if (name := arm.name) != ALL and any(each.name == f"{WITHOUT}{name}" for each in arms.without)
    ]
    improvements = compare(outcomes, pairs, horizons, validation.seeds, validation)
    contributions = compare(outcomes, within_all, horizons, validation.seeds, validation) if everything else {}
    days = outcomes.num_days()
    can, cannot = reach(validation, improvements, arms, days, laid_over(config), set_up)
    return ValidationResult(
        improvements=improvements,
        contributions=contributions,
        targets=targets(improvements, f"{horizons[0]}d", validation.level),
        baseline=_baseline(config, outcomes, improvements),
        seeds=validation.seeds,
        days=days,
        set_up=set_up,
        rules=(*rules(validation, len(pairs)), DEFINITION, _stress_rule(validation)),
        can_conclude=can,
        cannot_conclude=cannot,
        gates=tuple(check_gate(gate, improvements) for gate in gates),
    )


def targets(improvements: Mapping[str, ImprovementResult], horizon: str, level: float) -> dict[str, TargetResult]:
    """The memo's promises beside what `all` measured, or the one improvement that was compared."""
    result = improvements.get(ALL) or (next(iter(improvements.values())) if len(improvements) == 1 else None)
    return {
        f"rank_ic_{horizon}": _rank_ic_target(result, horizon),
        "divergence": _divergence_target(result, level),
        "memory": _ratio_target(
            "peak memory", "−15 % or less", None if result is None else result.memory, MEMORY_TARGET
        ),
        "time": _ratio_target("training time", "+10 % at most", None if result is None else result.time, TIME_TARGET),
    }


def reach(
    config: ValidationConfig,
    improvements: Mapping[str, ImprovementResult],
    arms: Arms,
    days: int,
    changes: Sequence[str],
    set_up: SetUp,
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What this validation can and cannot say, in sentences. `changes` are keys laid over every training."""
    first = {result.title: next(iter(result.delta_rank_ic.values())) for result in improvements.values()}
    known = {title: delta.minimum_detectable for title, delta in first.items() if delta.minimum_detectable is not None}
    detectable = [value for title, value in known.items() if first[title].attainable]
    can = [f"what each improvement does to trainings like these, on {days} test days with {len(config.seeds)} seed(s)"]
    if detectable:
        can.append(
            f"differences of RankIC of {min(detectable):.4f} to {max(detectable):.4f} and more, depending on the "
            f"improvement, are found with {config.power:.0%} power"
        )
    cannot = []
    if hopeless := [title for title in known if not first[title].attainable]:
        cannot.append(f"whether these change the RankIC at all: {', '.join(hopeless)}")
    if detectable and max(detectable) > RANK_IC_TARGET:
        cannot.append(
            f"an improvement of the memo's +{RANK_IC_TARGET:g} may well go unseen where more is needed to find one"
        )
    if len(config.seeds) < FEW_SEEDS:
        cannot.append(f"how much is luck of the initial draw: {len(config.seeds)} seed(s) tell little of others")
    if days < FEW_DAYS:
        cannot.append(f"other market phases: {days} test days are less than a year")
    elif len(set_up.folds) == 1:
        cannot.append(f"other periods: everything was trained before {set_up.folds[0].split()[0]} and tested after it")
    if changes:
        cannot.append(
            f"the configured training itself: these ran with {', '.join(changes)}; --full-test leaves it as it is"
        )
    undecided = [result.title for result in improvements.values() if result.verdict == "underpowered"]
    if undecided := [title for title in undecided if title not in hopeless]:
        cannot.append(f"whether these help, hurt or do nothing: {', '.join(undecided)}")
    if not config.stress.num_seeds:
        cannot.append("divergence: the stress grid was not run")
    elif not any(result.divergence.baseline for result in improvements.values()):
        cannot.append("whether trainings diverge less: none without improvements diverged on the stress grid")
    if not config.timing.rounds:
        cannot.append("training time: no timing was run")
    cannot.extend(f"{name}, which was left out: {why}" for name, why in arms.left_out.items())
    if set_up.failed_trials:
        cannot.append(f"anything of the {len(set_up.failed_trials)} trials that failed")
    return tuple(can), tuple(cannot)


def _baseline(config: Config, outcomes: Outcomes, improvements: Mapping[str, ImprovementResult]) -> BaselineResult:
    rank_ic, intervals = {}, {}
    for horizon in config.data.horizons:
        daily = outcomes.rank_ic(BASELINE, horizon, config.validation.seeds)
        known = daily[np.isfinite(daily).any(axis=1)]
        mean = known.mean(axis=0) if len(known) else np.empty(0)
        interval = mean_interval(mean, block_length=mean_block_length(horizon), seed=BOOTSTRAP_SEED)
        rank_ic[f"{horizon}d"] = number(interval.mean)
        intervals[f"{horizon}d"] = (number(interval.low), number(interval.high))
    trained = list(outcomes.of(BASELINE, "rank_ic").values())
    rates = [result.divergence.baseline_rate for result in improvements.values()]
    return BaselineResult(
        loss="mse",
        label_transform=config.labels.transform,
        improvements=dict(override.split("=", 1) for override in _everything_off(outcomes)),
        rank_ic=rank_ic,
        rank_ic_interval=intervals,
        seconds=_median([outcome.seconds for outcome in trained]),
        samples_per_second=_median([outcome.samples_per_second for outcome in trained]),
        peak_private_bytes=_median([outcome.peak_private_bytes for outcome in trained]),
        divergence_rate=next((rate for rate in rates if rate is not None), None),
    )


def _everything_off(outcomes: Outcomes) -> list[str]:
    of_baseline = [trial for trial in outcomes.trials if trial.arm == BASELINE]
    return [each for each in of_baseline[0].overrides if each.startswith("improvements.")] if of_baseline else []


def _median(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.median(known)) if known else None


def _rank_ic_target(result: ImprovementResult | None, horizon: str) -> TargetResult:
    title, promise = f"RankIC@{horizon}", "+0.01 … +0.02"
    delta = None if result is None else result.delta_rank_ic[horizon]
    if delta is None or delta.low is None or delta.high is None:
        return TargetResult(title, promise, None if delta is None else delta.mean, None, None, None, "rank_ic")
    reached = _both(delta.low >= RANK_IC_TARGET, delta.high < RANK_IC_TARGET)
    return TargetResult(title, promise, delta.mean, delta.low, delta.high, reached, "rank_ic")


def _divergence_target(result: ImprovementResult | None, level: float) -> TargetResult:
    title, promise = "diverged trainings", "−50 % or less"
    divergence = None if result is None else result.divergence
    if divergence is None or divergence.change is None or divergence.p is None:
        return TargetResult(title, promise, None, None, None, None, "share")
    as_promised = divergence.change <= DIVERGENCE_TARGET
    # Without an interval of the change itself: reached only where a change is shown at all.
    reached = (divergence.p <= level or None) if as_promised else False
    return TargetResult(title, promise, divergence.change, None, None, reached, "share")


def _ratio_target(title: str, promise: str, ratio: RatioResult | None, limit: float) -> TargetResult:
    if ratio is None or ratio.ratio is None:
        return TargetResult(title, promise, None, None, None, None, "share")
    low, high = (None if bound is None else bound - 1 for bound in (ratio.low, ratio.high))
    reached = None if low is None or high is None else _both(high <= limit, low > limit)
    return TargetResult(title, promise, ratio.ratio - 1, low, high, reached, "share")


def _both(yes: bool, no: bool) -> bool | None:
    """None where neither is sure."""
    return True if yes else False if no else None


def _stress_rule(config: ValidationConfig) -> str:
    stress = config.stress
    if not stress.num_seeds:
        return "Divergence was not measured (validation.stress.num_seeds=0)."
    factors = ", ".join(f"{factor:g}" for factor in stress.lr_factors)
    precisions = ", ".join("fp32" if name == "none" else name for name in stress.precisions)
    spikes = ", ".join(f"{share:.1%}" for share in stress.spike_shares)
    return (
        f"Stress grid: learning rate × {{{factors}}}, {precisions}, {spikes} of the training inputs replaced by "
        f"± {stress.spike_size:g} σ, {stress.num_seeds} seed(s), {stress.max_steps} steps; compared pair by pair "
        "(McNemar, exact, two-sided, not corrected for the number of improvements)."
    )
