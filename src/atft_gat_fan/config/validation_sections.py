"""Keys of `atft validate`: which trainings are compared, and how closely. The defaults take minutes; they can say
whether everything works and what it costs, and seldom what it is worth."""

from typing import Annotated, Literal

from pydantic import Field, field_validator

from atft_gat_fan.config.section import Length, NonNegative, Positive, PositiveFloat, Probability, Section, Threads

Seed = Annotated[int, Field(ge=0, lt=2**31)]


class StressConfig(Section):
    """Short trainings under bad conditions, in which divergence is counted: every combination, once a seed."""

    lr_factors: tuple[PositiveFloat, ...] = (10.0,)
    """Multipliers of `optimizer.lr`."""
    precisions: tuple[Literal["none", "bf16"], ...] = ("none",)
    """Values of `amp`."""
    spike_shares: tuple[Probability, ...] = (0.0, 0.001)
    """Shares of the training inputs that are replaced by spikes."""
    spike_size: PositiveFloat = 50.0
    """Size of a spike, in standard deviations of its feature."""
    num_seeds: NonNegative = 1
    """The first so many of `validation.seeds`; 0: no stress."""
    max_steps: Annotated[int, Field(ge=120)] = 120
    """Optimizer steps of such a training; divergence is told from 100 in a row."""


class TimingConfig(Section):
    """Optimizer steps of baseline and variant timed by turns, in one process that has the machine to itself."""

    rounds: NonNegative = 10
    """Of turns baseline, variant, variant, baseline; 0: no timing."""
    steps: Positive = 2
    """Optimizer steps a turn."""


class ValidationConfig(Section):
    """What `atft validate` compares. `--full-test` lays `configs/atft/validation/full.yaml` over these."""

    seeds: Annotated[tuple[Seed, ...], Field(min_length=1)] = (1, 2, 3)
    """One training of each arm a seed, with the same initial draws and order of the days in every arm."""
    folds: Positive = 1
    """Consecutive parts of the test days, each trained on what lies before it."""
    overrides: tuple[str, ...] = (
        "model.hidden_size=16",
        "model.variable_size=4",
        "model.num_heads=2",
        "model.gat.num_heads=2",
        "batch_size=32",
        "train.max_steps=100",
        "compile=false",
    )
    """Keys laid over the configuration in every training, so that many of them take minutes; the command's own win."""
    leave_one_out: bool = False
    """Also train with everything but one, for each improvement."""
    workers: Annotated[int, Field(gt=0, le=1024)] | None = None
    """Trainings at once; by default one for each `threads` cores."""
    threads: Threads = 1
    """CPU threads of each."""
    margin: PositiveFloat = 0.003
    """Differences of RankIC smaller than this do not matter: `neutral` is one shown to be smaller."""
    level: Annotated[float, Field(gt=0, lt=0.5)] = 0.05
    """Of the tests; intervals have 1 - level."""
    power: Annotated[float, Field(ge=0.5, lt=1)] = 0.8
    """At which the smallest detectable difference is given."""
    num_resamples: Length = 2000
    """Of the bootstrap."""
    stress: StressConfig = StressConfig()
    timing: TimingConfig = TimingConfig()

    @field_validator("seeds")
    @classmethod
    def _distinct(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(value)) < len(value):
            raise ValueError(f"expected distinct seeds, got {list(value)}")
        return value
