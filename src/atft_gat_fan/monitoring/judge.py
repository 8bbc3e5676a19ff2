"""Newer days beside the reference: all of `monitor.json` but the gates."""

from dataclasses import dataclass

from atft_gat_fan.config.schema import MonitorConfig
from atft_gat_fan.monitoring.alarms import alarms_of
from atft_gat_fan.monitoring.observations import Observations
from atft_gat_fan.monitoring.realised import judge_rank_ic
from atft_gat_fan.monitoring.result import MemoryResult, MonitorResult, ReferencePeriod
from atft_gat_fan.monitoring.rules import rules
from atft_gat_fan.monitoring.shift import judge_shift, largest_psi
from atft_gat_fan.monitoring.stability import judge_stability


@dataclass(frozen=True)
class Occasion:
    """What was monitored, and when."""

    run: str
    model: str
    source: str
    at: str
    command: str = "atft monitor"
    warnings: tuple[str, ...] = ()
    """What should be known of the panel."""


def judge(
    occasion: Occasion, reference: Observations, now: Observations, memory: MemoryResult, config: MonitorConfig
) -> MonitorResult:
    """Compare; nothing here is drawn but by a fixed seed: the same days give the same result."""
    families = judge_shift(reference, now, config)
    stability, rank_ic = judge_stability(reference, now, config), judge_rank_ic(reference, now, config)
    long_days = min(config.days, len(now.days))
    first, last = reference.days[0], reference.days[-1]
    period = ReferencePeriod(first, last, len(reference.days), float(reference.stocks.mean()))
    return MonitorResult(
        run=occasion.run,
        model=occasion.model,
        source=occasion.source,
        at=occasion.at,
        days=now.days,
        long_days=long_days,
        short_days=min(config.short_days, long_days),
        stocks=tuple(now.stocks.tolist()),
        reference=period,
        psi=largest_psi(families),
        families=families,
        stability=stability,
        rank_ic=rank_ic,
        memory=memory,
        alarms=alarms_of(families, stability, rank_ic, memory),
        rules=rules(config, period, long_days),
        command=occasion.command,
        warnings=(*occasion.warnings, *_warnings(reference, now, config, long_days)),
    )


def _warnings(reference: Observations, now: Observations, config: MonitorConfig, long_days: int) -> tuple[str, ...]:
    warnings = []
    if long_days < config.days:
        warnings.append(
            f"the panel has {long_days} days that can be scored: the long window is as many, not {config.days}"
        )
    if len(reference.days) < 2 * long_days:
        warnings.append(
            f"the reference has {len(reference.days)} days, fewer than two long windows: thresholds are wide, and say "
            "little of slow features; a longer validation period (split.valid_fraction) makes them closer"
        )
    old = sum(day <= reference.days[-1] for day in now.days[-long_days:])
    if old:
        warnings.append(
            f"{old} of the newest {long_days} days are not after the reference ({reference.days[-1]}): a shift since "
            "then is diluted by them"
        )
    return tuple(warnings)
