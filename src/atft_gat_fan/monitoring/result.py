"""The result of a monitoring, as `monitor.json` has it: what was measured, against what, and what alarms.

`MonitorResult.to_json()` is the file, key for key; a number that was not measured is None (null), never a guess. Days
are ISO text. Horizons are keyed `1d`, `2d`, … as in metrics.json. Two windows end on the newest day: the long one
(`monitor.days`) and the short one (`monitor.short_days`), which sees a jump before the long one is full of it.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from atft_gat_fan.errors import StorageError

FORMAT = 1
Family = Literal["raw_features", "standardised_features", "predictions"]
TITLES: Mapping[Family, str] = {
    "raw_features": "Features as they come, before standardising within the day",
    "standardised_features": "Features as the model sees them",
    "predictions": "Predictions",
}


@dataclass(frozen=True)
class Measured:
    """A statistic with the threshold it was calibrated to; `alarm` where it is above."""

    value: float | None
    threshold: float | None
    alarm: bool
    since: str | None = None
    """First day of the unbroken stretch of alarm that ends on the newest day."""


@dataclass(frozen=True)
class WindowShift:
    """How far the days of one window are from the reference."""

    psi: Measured
    """Population stability index over the reference's deciles, natural logarithm; 0: the same."""
    ks: Measured
    """Kolmogorov-Smirnov distance: the largest difference of the two distribution functions, in [0, 1]."""
    wasserstein: Measured
    """Wasserstein-1 distance in standard deviations of the reference."""


@dataclass(frozen=True)
class Distribution:
    """Shares of the values in each bin: B bins of B - 1 `edges`, the outer two open; each sums to 1."""

    edges: tuple[float, ...]
    reference: tuple[float, ...]
    now: tuple[float, ...]


@dataclass(frozen=True)
class ShiftResult:
    """One feature, or the predictions of one horizon (`1d`)."""

    name: str
    long: WindowShift
    short: WindowShift
    nan_share: float | None
    """Missing values of the long window, of the stocks present; those are in no other statistic of this name."""
    reference_nan_share: float | None
    alarm: bool
    since: str | None
    excess: tuple[float | None, ...] = ()
    """Each monitored day: the largest statistic, or the share of missing values, over its threshold; above 1 is an
    alarm."""
    psi: tuple[float | None, ...] = ()
    """Each monitored day: PSI of the long window that ends there, None before it is full."""
    nan_threshold: float | None = None
    """Missing values above this share of the short window are an alarm."""
    distribution: Distribution | None = None
    """The long window beside the reference; of the names that are furthest from it, else None."""


@dataclass(frozen=True)
class FamilyResult:
    """What of one kind is compared with the reference, furthest from it first."""

    title: str
    shifts: tuple[ShiftResult, ...]
    unavailable: str | None = None
    """Why there is nothing to compare, where there is not."""


@dataclass(frozen=True)
class StabilityResult:
    """A number of each day, beside what it was on the reference days; judged by its mean over the short window."""

    name: str
    """`rank_correlation_1d`, `coverage`, `scored_share`, `nan_share`, `graph_degree`."""
    title: str
    daily: tuple[float | None, ...]
    """Of each monitored day."""
    value: float | None
    """Mean over the short window."""
    reference: float | None
    """Mean over the reference days."""
    low: float | None
    """Alarm below; None: low values are no alarm."""
    high: float | None
    """Alarm above; None: high values are no alarm."""
    alarm: bool
    since: str | None
    unavailable: str | None = None


@dataclass(frozen=True)
class RankIcResult:
    """Realised RankIC at one horizon on the days whose labels have matured."""

    days: tuple[str, ...]
    """Matured days, oldest first."""
    daily: tuple[float | None, ...]
    mean: float | None
    standard_error: float | None
    """Newey-West, lags as for the label's overlap."""
    t: float | None
    """Of mean 0."""
    low: float | None
    """Mean ± 1.96 standard errors."""
    high: float | None
    reference_mean: float | None
    reference_deviation: float | None
    """Long-run daily standard deviation on the reference days: the unit of the CUSUM."""
    cusum: tuple[float | None, ...]
    """Lower one-sided CUSUM of each matured day, in `reference_deviation`s; begins anew after each alarm."""
    cusum_threshold: float | None
    raised: tuple[str, ...]
    """Days on which the CUSUM crossed its threshold."""
    alarm: bool
    """Raised within the newest `monitor.short_days` matured days."""
    since: str | None
    unavailable: str | None = None


@dataclass(frozen=True)
class MemoryReading:
    """Private memory of one monitoring process."""

    at: str
    """When, ISO text in UTC."""
    post_step_min_bytes: int
    """Least memory after scoring a day: what stays when the work of a step is freed."""
    peak_bytes: int


@dataclass(frozen=True)
class MemoryResult:
    """Does memory grow from run to run? Theil-Sen slope of the post-step minima, as shares of their median a day."""

    now: MemoryReading
    readings: tuple[MemoryReading, ...]
    """Of the runs the trend is of, oldest first, this one last."""
    slope: float | None
    """Share a day: 0.01 is 1 % a day."""
    low: float | None
    high: float | None
    p: float | None
    """Mann-Kendall, of no upward trend."""
    alarm: bool
    unavailable: str | None = None


@dataclass(frozen=True)
class Alarm:
    """Something to look at."""

    what: str
    """`raw_features`, `standardised_features`, `predictions`, `stability`, `rank_ic` or `memory`."""
    name: str
    """Feature, horizon or number: `ROC_5`, `1d`, `coverage`."""
    statistic: str
    """`psi`, `psi_short`, `ks`, …, `mean`, `cusum`, `slope`."""
    since: str | None
    value: float | None
    threshold: float | None
    sentence: str
    """What it is, in words, with what to do."""


@dataclass(frozen=True)
class GateResult:
    """A condition of `--fail-on`; `failed` where it is true, or where what it asks for was not measured."""

    expression: str
    measured: float | None
    failed: bool


@dataclass(frozen=True)
class ReferencePeriod:
    """What everything is compared with: the run's validation days."""

    first: str
    last: str
    days: int
    stocks: float
    """Mean number scored a day."""


@dataclass(frozen=True)
class MonitorResult:
    """All of `monitor.json`."""

    run: str
    """Name of the run's folder."""
    model: str
    """Fingerprint of the bundle."""
    source: str
    at: str
    """When it was monitored, ISO text in UTC."""
    days: tuple[str, ...]
    """Monitored days, oldest first; every daily series of this file but RankIC's is of these."""
    long_days: int
    """Days of the long window: `monitor.days`, or as many as there are."""
    short_days: int
    stocks: tuple[int, ...]
    """Scored on each day."""
    reference: ReferencePeriod
    psi: float | None
    """Largest PSI of the long window over all names of all families: what `--fail-on 'psi>…'` means."""
    families: Mapping[Family, FamilyResult]
    stability: tuple[StabilityResult, ...]
    rank_ic: Mapping[str, RankIcResult]
    memory: MemoryResult
    alarms: tuple[Alarm, ...]
    """Most pressing first; empty: healthy."""
    rules: tuple[str, ...]
    """How statistics, thresholds and alarms are defined, a sentence or two each: to be printed as it is."""
    command: str = "atft monitor"
    gates: tuple[GateResult, ...] = ()
    warnings: tuple[str, ...] = ()
    format: int = field(default=FORMAT)

    def to_json(self) -> dict[str, Any]:
        """Plain mappings, tuples and numbers; non-finite numbers never occur (None)."""
        return asdict(self)

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> "MonitorResult":
        """The result that `to_json` was called on. Raises StorageError naming the first key that cannot be."""
        if body.get("format") != FORMAT:
            raise StorageError(
                f"monitor.json: expected format {FORMAT}, found {body.get('format')!r:.80}; monitor again"
            )
        try:
            return TypeAdapter(cls).validate_python(dict(body))
        except ValidationError as error:
            entry = error.errors()[0]
            where = ".".join(map(str, entry["loc"]))
            raise StorageError(
                f"monitor.json: {where}: {entry['msg']}, found {entry['input']!r:.80}; monitor again"
            ) from None
