"""Keys of `atft monitor`: what is compared with the reference, and when that is an alarm."""

from typing import Annotated

from pydantic import Field, model_validator

from atft_gat_fan.config.section import Length, Positive, PositiveFloat, Section


class MonitorConfig(Section):
    """What `atft monitor` looks at. Thresholds follow from the run's validation days and these."""

    days: Annotated[int, Field(ge=2, le=10_000)] = 60
    """Newest trading days that are compared with the reference together: the long window."""
    short_days: Annotated[int, Field(ge=1, le=10_000)] = 5
    """The same for the short window, which sees a jump within days."""
    rank_ic_days: Length = 120
    """Newest trading days whose realised RankIC is looked at, once their labels have matured."""
    rank_ic_drop: PositiveFloat = 0.5
    """Drop of the mean RankIC to be quick for, in its daily standard deviations: the CUSUM allows for half of it."""
    false_alarm_rate: Annotated[float, Field(gt=0, le=0.2)] = 0.01
    """Share of healthy days on which any alarm may be raised."""
    block_days: Positive = 20
    """Mean length of the blocks of reference days that are resampled to calibrate the thresholds."""
    num_resamples: Annotated[int, Field(ge=100, le=100_000)] = 1000
    """Of the reference days, to calibrate the thresholds."""
    memory_runs: Annotated[int, Field(ge=5, le=10_000)] = 30
    """Newest monitorings over which the memory's trend is taken."""
    memory_growth: PositiveFloat = 0.003
    """Growth of the memory a day, as a share, that the trend must surely exceed to be an alarm."""

    @model_validator(mode="after")
    def _ordered(self) -> "MonitorConfig":
        if self.short_days > self.days:
            raise ValueError(f"expected short_days <= days, got {self.short_days} > {self.days}")
        return self
