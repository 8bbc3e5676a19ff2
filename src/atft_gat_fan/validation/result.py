"""The result of a validation, as `validation.json` has it: what was measured, and what follows from it.

`ValidationResult.to_json()` is the file, key for key; a number that was not measured is None (null), never a guess.
Horizons are keyed `1d`, `2d`, … as in metrics.json. Everything of one improvement is variant against baseline.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Verdict = Literal["helps", "neutral", "hurts", "underpowered"]


@dataclass(frozen=True)
class DeltaRankIC:
    """Mean daily RankIC of the variant minus the baseline's, averaged over seeds, at one horizon; unitless."""

    mean: float | None
    low: float | None
    """95 % stationary-bootstrap interval over day-blocks × seeds."""
    high: float | None
    p: float | None
    """Two-sided, of no difference, corrected for the number of improvements (Holm) at this horizon."""
    p_raw: float | None = None
    """The same before correction."""
    diebold_mariano_t: float | None = None
    """Diebold-Mariano statistic with the Harvey-Leybourne-Newbold correction, on the days alone: seeds held fixed."""
    diebold_mariano_p: float | None = None
    p_equivalence: float | None = None
    """Of a difference outside ±margin: below 0.05 the two are equivalent."""
    margin: float | None = None
    """Differences smaller than this do not matter."""
    minimum_detectable: float | None = None
    """Smallest true difference that these days and seeds would have found with 80 % power at Holm's hardest step."""
    needed_days: int | None = None
    """Days, with as many seeds, to detect a difference as large as the margin; None where that is met."""
    needed_seeds: int | None = None
    """Seeds, with as many days, for the same; None where that is met, or where no number of seeds is enough."""
    by_seed: tuple[float | None, ...] = ()
    """The mean difference of each seed, in the order of `seeds`."""

    @property
    def attainable(self) -> bool:
        """Whether these days and seeds would find a difference that an improvement can make: at most a RankIC of 1."""
        return self.minimum_detectable is not None and self.minimum_detectable <= 1


@dataclass(frozen=True)
class DivergenceResult:
    """Trainings of the stress grid that diverged, pair by pair; None rates where the grid was not run."""

    pairs: int
    """Trainings of each arm: grid points × seeds."""
    baseline: int
    """Baseline trainings that diverged."""
    variant: int
    """Variant trainings that diverged."""
    only_baseline: int
    """Pairs of which only the baseline diverged (McNemar's b)."""
    only_variant: int
    """Pairs of which only the variant diverged (McNemar's c)."""
    baseline_rate: float | None
    rate: float | None
    change: float | None
    """rate / baseline_rate − 1; None where no baseline training diverged: then no reduction can be shown."""
    p: float | None
    """McNemar, exact, two-sided."""
    reasons: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """Arm ("baseline", "variant") → reason ("non_finite", "spike", "worse_than_constant", "collapse") → trainings."""


@dataclass(frozen=True)
class RatioResult:
    """Variant over baseline of paired readings, median of the ratios; None where nothing was measured."""

    ratio: float | None
    low: float | None
    high: float | None
    pairs: int
    baseline: float | None
    """Median reading of the baseline: seconds of a training, or bytes."""
    variant: float | None


@dataclass(frozen=True)
class ImprovementResult:
    """One improvement (or all of them), compared with the baseline."""

    title: str
    """In words: "GAT temperature (4.3)"."""
    overrides: tuple[str, ...]
    """What was changed against the baseline, as command-line arguments."""
    delta_rank_ic: Mapping[str, DeltaRankIC]
    divergence: DivergenceResult
    time: RatioResult
    memory: RatioResult
    """Peak private memory of the training process."""
    cuda_memory: RatioResult | None
    """Peak CUDA memory; None without CUDA."""
    verdict: Verdict
    """On RankIC at the first horizon."""
    reason: str
    """The rule that gave the verdict, with its numbers."""
    notes: tuple[str, ...] = ()
    """What a reader must know besides: a memo key without effect in this configuration, divergence found, …"""

    def to_json(self) -> dict[str, Any]:
        """SPEC keys (`memory_ratio`, `time_ratio` are numbers), each with its details beside it."""
        return asdict(self) | {"memory_ratio": self.memory.ratio, "time_ratio": self.time.ratio}


@dataclass(frozen=True)
class TargetResult:
    """A promise of the memo beside what `all` measured."""

    title: str
    promise: str
    """The memo's words: "+0.01 … +0.02"."""
    measured: float | None
    low: float | None
    high: float | None
    reached: bool | None
    """None where it was not measured, or where the interval allows both."""
    unit: Literal["rank_ic", "share"]
    """`rank_ic`: a difference of RankIC; `share`: a relative change (−0.15 is 15 % less)."""


@dataclass(frozen=True)
class BaselineResult:
    """The arm that everything is compared with, declared."""

    loss: str
    """For instance "mse": what Huber is compared with."""
    label_transform: str
    improvements: Mapping[str, Any]
    """The switches of the baseline."""
    rank_ic: Mapping[str, float | None]
    rank_ic_interval: Mapping[str, tuple[float | None, float | None]]
    seconds: float | None
    """Median of a training, wall clock."""
    samples_per_second: float | None
    peak_private_bytes: float | None
    divergence_rate: float | None


@dataclass(frozen=True)
class GateResult:
    """A condition that was asked for (`--gate`)."""

    expression: str
    measured: float | None
    held: bool
    """False also where nothing was measured."""


@dataclass(frozen=True)
class SetUp:
    """What was run, so that it can be repeated and its reach judged."""

    command: str
    data: str
    """Source and span in words: "sample, 20 stocks, 1990-01-02 to 2022-12-28"."""
    stocks: float
    """Mean number a test day."""
    horizons: tuple[int, ...]
    folds: tuple[str, ...]
    """Each fold's test days: "2018-01-02 to 2019-06-28"."""
    epochs: int
    parameters: int | None
    trials: Mapping[str, int]
    """Kind ("rank_ic", "stress", "timing") → trainings."""
    failed_trials: tuple[str, ...]
    """Trials without an outcome, each with the reason."""
    seconds: float
    """Of all trials together, wall clock of each added up."""
    machine: str
    """"2 cores, Linux x86_64, Python 3.11, torch 2.13"; with the GPU where it was used."""
    full: bool
    level: float = 0.05
    """Of all tests (`validation.level`); all intervals have 1 - level."""


@dataclass(frozen=True)
class ValidationResult:
    """All of `validation.json`."""

    improvements: Mapping[str, ImprovementResult]
    """Keyed by the switch (`huber_loss`, …) and `all`, in the order of the memo."""
    contributions: Mapping[str, ImprovementResult]
    """`--full-test`: what each adds to the others, `all` against `all-minus-<name>`; else empty."""
    targets: Mapping[str, TargetResult]
    """`rank_ic_1d`, `divergence`, `memory`, `time`."""
    baseline: BaselineResult
    seeds: tuple[int, ...]
    days: int
    """Test days, all folds together."""
    set_up: SetUp
    rules: tuple[str, ...]
    """How verdicts, divergence, intervals and p-values are defined, a sentence or two each: to be printed as it is."""
    can_conclude: tuple[str, ...]
    cannot_conclude: tuple[str, ...]
    gates: tuple[GateResult, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain mappings, lists and numbers; non-finite numbers never occur (None)."""
        plain = asdict(self)
        for group in ("improvements", "contributions"):
            results: Mapping[str, ImprovementResult] = getattr(self, group)
            plain[group] = {name: result.to_json() for name, result in results.items()}
        return plain
