"""Which trainings a validation is made of: arms × seeds × folds, a stress grid, and timings by turns."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from typing import Any, Literal

import numpy as np
from jaxtyping import Shaped
from numpy.typing import NDArray

from atft_gat_fan.config.load import overridden
from atft_gat_fan.config.schema import Config
from atft_gat_fan.data.folds import Fold
from atft_gat_fan.data.splits import Split, cut
from atft_gat_fan.errors import ConfigError
from atft_gat_fan.validation.arms import BASELINE, Arm, Arms

Kind = Literal["rank_ic", "stress", "timing"]
KINDS: tuple[Kind, ...] = ("rank_ic", "stress", "timing")
MIN_TEST_DAYS = 20
"""Fewer in a fold say nothing."""


@dataclass(frozen=True)
class Stress:
    """A point of the stress grid. Spikes replace a share of the training inputs by ± `spike_size` deviations."""

    lr_factor: float
    precision: str
    spike_share: float
    spike_size: float

    @property
    def name(self) -> str:
        spikes = f"-spikes{self.spike_share:g}" if self.spike_share else ""
        return f"lr{self.lr_factor:g}-{'fp32' if self.precision == 'none' else self.precision}{spikes}"


@dataclass(frozen=True)
class Timing:
    """Baseline and variant in turns; `baseline` are the other side's overrides."""

    baseline: tuple[str, ...]
    rounds: int
    steps: int


@dataclass(frozen=True)
class Trial:
    """One process: a training and what is read off it, or a timing. Equal seed and fold: equal draws and order of days.

    `overrides` are laid over the configuration under validation.
    """

    name: str
    arm: str
    seed: int
    fold: int
    kind: Kind
    overrides: tuple[str, ...]
    test_start: str
    test_end: str
    stress: Stress | None = None
    timing: Timing | None = None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "Trial":
        """Raises TypeError or KeyError for something else."""
        stress, timing = values["stress"], values["timing"]
        return cls(
            **{
                **values,
                "overrides": tuple(values["overrides"]),
                "stress": None if stress is None else Stress(**stress),
                "timing": None if timing is None else Timing(**{**timing, "baseline": tuple(timing["baseline"])}),
            }
        )


def laid_over(config: Config) -> tuple[str, ...]:
    """The `validation.overrides` that are in effect: the command's own keys win over them."""
    return tuple(each for each in config.validation.overrides if overridden(config, [each]) == config)


def make_folds(days: Shaped[NDArray[np.datetime64], " days"], split: Split, count: int) -> tuple[Fold, ...]:
    """The test days of `split` in `count` consecutive parts, each with training days up to as many before its own.

    Every fold validates on as many days as `split` does; training days expand. Raises ConfigError where a part would
    have fewer than 20 days.
    """
    if len(split.test) < count * MIN_TEST_DAYS:
        raise ConfigError(
            f"validation.folds={count}: expected at least {MIN_TEST_DAYS} test days a fold, found {len(split.test)} "
            "test days in all; use fewer folds, or an earlier split.valid_end"
        )
    valid_length = int(split.test[0]) - int(split.valid[0])
    parts = [(int(part[0]), int(part[-1]) + 1) for part in np.array_split(split.test, count)]
    splits = (
        cut(int(split.train[0]), start - valid_length, start, stop, split.purge, split.embargo) for start, stop in parts
    )
    return tuple(Fold.of(days, each) for each in splits)


def make_trials(config: Config, arms: Arms, folds: Sequence[Fold]) -> tuple[Trial, ...]:
    """Every trial, those of one seed and fold side by side, timings last."""
    return (*_rank_ic(config, arms, folds), *_stress(config, arms, folds), *_timings(config, arms, folds))


def _rank_ic(config: Config, arms: Arms, folds: Sequence[Fold]) -> Iterator[Trial]:
    for seed, fold, arm in product(config.validation.seeds, range(len(folds)), _all_arms(arms)):
        yield _trial(f"{arm.name}-seed{seed}-fold{fold + 1}", "rank_ic", arms, arm, seed, fold, folds)


def _stress(config: Config, arms: Arms, folds: Sequence[Fold]) -> Iterator[Trial]:
    stress = config.validation.stress
    grid = [
        Stress(factor, precision, share, stress.spike_size)
        for factor, precision, share in product(stress.lr_factors, stress.precisions, stress.spike_shares)
    ]
    last = len(folds) - 1
    for seed, point, arm in product(config.validation.seeds[: stress.num_seeds], grid, (_baseline(), *arms.variants)):
        overrides = (
            f"optimizer.lr={config.optimizer.lr * point.lr_factor!r}",
            f"amp={point.precision}",
            f"train.max_steps={stress.max_steps}",
            f"train.max_epochs={stress.max_steps}",
            "early_stopping.enabled=false",
            "recovery.max_rollbacks=0",  # a training that saves itself from diverging has diverged all the same
        )
        name = f"{arm.name}-{point.name}-seed{seed}"
        yield _trial(name, "stress", arms, arm, seed, last, folds, overrides, stress=point)


def _timings(config: Config, arms: Arms, folds: Sequence[Fold]) -> Iterator[Trial]:
    timing = config.validation.timing
    if not timing.rounds:
        return
    seed, last = config.validation.seeds[0], len(folds) - 1
    for arm in arms.variants:
        by_turns = Timing((*_split(seed, folds[last]), *arms.baseline), timing.rounds, timing.steps)
        yield _trial(f"{arm.name}-timing", "timing", arms, arm, seed, last, folds, timing=by_turns)


def _trial(
    name: str,
    kind: Kind,
    arms: Arms,
    arm: Arm,
    seed: int,
    fold: int,
    folds: Sequence[Fold],
    overrides: tuple[str, ...] = (),
    *,
    stress: Stress | None = None,
    timing: Timing | None = None,
) -> Trial:
    where = folds[fold]
    every = (*_split(seed, where), *arms.baseline, *arm.overrides, *overrides)
    return Trial(name, arm.name, seed, fold, kind, every, where.test_start, where.test_end, stress, timing)


def _split(seed: int, fold: Fold) -> tuple[str, ...]:
    return (f"seed={seed}", *fold.overrides)


def _baseline() -> Arm:
    return Arm(BASELINE, "baseline", ())


def _all_arms(arms: Arms) -> tuple[Arm, ...]:
    return (_baseline(), *arms.variants, *arms.without)
