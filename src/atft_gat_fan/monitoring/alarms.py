"""What to look at, in words, the most pressing first."""

from collections.abc import Iterator, Mapping

from atft_gat_fan.monitoring.result import (
    Alarm,
    Family,
    FamilyResult,
    Measured,
    MemoryResult,
    RankIcResult,
    ShiftResult,
    StabilityResult,
)

ORDER = ("rank_ic", "stability", "predictions", "raw_features", "standardised_features", "memory")
STATISTICS = {"psi": "PSI", "ks": "Kolmogorov-Smirnov distance", "wasserstein": "Wasserstein distance"}
MENDS: Mapping[str, str] = {
    "raw_features": "look at the source first (units, splits, a vendor's change); if the market itself moved, retrain",
    "standardised_features": "look at the source first; if stocks now differ in other ways, retrain",
    "predictions": "see which feature moved with them; do not trade on these scores before that is understood",
    "rank_ic": "the model ranks worse than on its validation days: retrain, and compare with the baselines",
    "stability": "look at what was delivered on these days",
    "memory": "find what is kept from run to run before the machine is full",
}


def alarms_of(
    families: Mapping[Family, FamilyResult],
    stability: tuple[StabilityResult, ...],
    rank_ic: Mapping[str, RankIcResult],
    memory: MemoryResult,
) -> tuple[Alarm, ...]:
    """One alarm a name, by the statistic that is furthest above its threshold."""
    alarms = [
        *(alarm for family, result in families.items() for alarm in _shifts(family, result)),
        *(_unstable(number) for number in stability if number.alarm),
        *(_worse(horizon, result) for horizon, result in rank_ic.items() if result.alarm),
        *([_grows(memory)] if memory.alarm else []),
    ]
    return tuple(sorted(alarms, key=lambda alarm: (ORDER.index(alarm.what), -_excess(alarm))))


def _excess(alarm: Alarm) -> float:
    return alarm.value / alarm.threshold if alarm.value is not None and alarm.threshold else 0.0


def _shifts(family: Family, result: FamilyResult) -> Iterator[Alarm]:
    for shift in result.shifts:
        if not shift.alarm:
            continue
        statistic, worst = _worst(shift)
        if worst is None:
            sentence = (
                f"{shift.name}: {_percent(shift.nan_share)} of its values are missing, "
                f"{_percent(shift.reference_nan_share)} were on the reference days; {MENDS[family]}."
            )
            yield Alarm(family, shift.name, statistic, shift.since, shift.nan_share, shift.nan_threshold, sentence)
            continue
        name = statistic.removesuffix("_short")
        window = "newest days" if statistic.endswith("_short") else "long window"
        of = f"Predictions at {shift.name}" if family == "predictions" else shift.name
        sentence = (
            f"{of}: {STATISTICS[name]} {worst.value:.3g} in the {window}, above {worst.threshold:.3g}; {MENDS[family]}."
        )
        yield Alarm(family, shift.name, statistic, shift.since, worst.value, worst.threshold, sentence)


def _worst(shift: ShiftResult) -> tuple[str, Measured | None]:
    """The statistic in alarm that is furthest above its threshold; None: what is in alarm are missing values."""
    found: dict[str, Measured] = {}
    for suffix, window in (("", shift.long), ("_short", shift.short)):
        found |= {f"{name}{suffix}": getattr(window, name) for name in STATISTICS if getattr(window, name).alarm}
    if not found:
        return "nan_share", None
    name = max(found, key=lambda name: (found[name].value or 0.0) / (found[name].threshold or 1.0))
    return name, found[name]


def _unstable(number: StabilityResult) -> Alarm:
    below = number.low is not None and number.value is not None and number.value < number.low
    threshold = number.low if below else number.high
    sentence = (
        f"{number.title}: {number.value:.3g} in the newest days, {'below' if below else 'above'} {threshold:.3g} "
        f"(reference {number.reference:.3g}); {MENDS['stability']}."
    )
    return Alarm("stability", number.name, "mean", number.since, number.value, threshold, sentence)


def _worse(horizon: str, result: RankIcResult) -> Alarm:
    value = max((value for value in result.cusum if value is not None), default=None)
    sentence = (
        f"RankIC@{horizon} has fallen: {_fixed(result.mean)} over {len(result.days)} matured days, "
        f"{_fixed(result.reference_mean)} on the reference days; {MENDS['rank_ic']}."
    )
    return Alarm("rank_ic", horizon, "cusum", result.since, value, result.cusum_threshold, sentence)


def _grows(memory: MemoryResult) -> Alarm:
    assert memory.slope is not None
    sentence = f"Memory grows by {memory.slope:.1%} a day over {len(memory.readings)} runs; {MENDS['memory']}."
    return Alarm(
        "memory", "post_step_min_bytes", "slope", memory.readings[0].at[:10], memory.slope, memory.low, sentence
    )


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{share:.0%}"


def _fixed(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"
