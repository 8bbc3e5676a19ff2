"""How statistics, thresholds and alarms are defined, in sentences that are printed as they are."""

from atft_gat_fan.config.schema import MonitorConfig
from atft_gat_fan.monitoring import realised, shift, stability
from atft_gat_fan.monitoring.result import ReferencePeriod


def rules(config: MonitorConfig, reference: ReferencePeriod, long_days: int) -> tuple[str, ...]:
    """Of this monitoring: with its numbers."""
    rate = config.false_alarm_rate
    of_features, of_predictions = (share * rate for _, share in shift.TOGETHER)
    return (
        f"Reference: the {reference.days} validation days from {reference.first} to {reference.last}, with their "
        "scores. Nothing of the training days, which the model has learned by heart, and nothing of later ones.",
        f"Shift: the newest {long_days} days together, and the newest {min(config.short_days, long_days)}, against the "
        "reference. PSI over the reference's deciles, half a count added to each; Kolmogorov-Smirnov distance; "
        "Wasserstein-1 distance in standard deviations of the reference. Missing values are counted apart.",
        f"Thresholds: reference days are resampled in blocks of {config.block_days} days on average, "
        f"{config.num_resamples} times, because the stocks of a day move together. They hold for all features, "
        f"statistics and both windows together, on all but {of_features:.2%} of healthy days, and for the predictions "
        f"on all but {of_predictions:.2%}. Shifts below PSI 0.01, distance 0.02 or 0.05 standard deviations are never "
        "an alarm, and one of three standard deviations always is.",
        f"Stability: means of the newest {min(config.short_days, long_days)} days against those of the reference, all "
        f"numbers together on all but {stability.SHARE_OF_RATE * rate:.2%} of healthy days.",
        f"RankIC: of days after the reference whose labels have matured. CUSUM (Page 1954) from the reference's mean, "
        f"in its long-run standard deviations, allowance {config.rank_ic_drop / 2:g}; its threshold raises an alarm, "
        f"at any horizon, on {realised.SHARE_OF_RATE * rate:.2%} of healthy days. t: Newey-West.",
        f"Memory: Theil-Sen slope of the least memory after a step over the newest {config.memory_runs} monitorings; "
        f"an alarm where Sen's interval lies above {config.memory_growth:.1%} a day and Mann-Kendall agrees.",
        f"False alarms: {rate:.1%} of healthy days at most, all of the above together; what their shares leave over is "
        "room for a reference that is short. Healthy means: as the validation days were. A market that is not is no "
        "false alarm.",
    )
