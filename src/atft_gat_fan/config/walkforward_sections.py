"""Keys of `atft walkforward`: how its folds lie on the panel's days, and which trainings each is made of."""

from typing import Annotated

from pydantic import Field, field_validator

from atft_gat_fan.config.section import Length, Positive, Section

Span = Length | Annotated[float, Field(gt=0, lt=1)] | Annotated[str, Field(pattern=r"^[1-9][0-9]*[my]$")]
"""Of trading days: their number, their share of the panel's usable days, or months and years as `6m`, `2y` at the
panel's own number of days a year."""


class WalkForwardConfig(Section):
    """The folds of `atft walkforward`. They take the place of the dates and shares under `split`, whose purge and
    embargo hold in each of them. A span is a number of trading days (`252`), a share of all usable days (`0.1`), or
    months or years (`6m`, `2y`); purge and embargo are counted in it."""

    first_train_days: Span = 0.5
    """Span that the first fold trains on; every fold, where they roll."""
    valid_days: Span = 0.1
    """Span between training and test that chooses the weights of each fold."""
    test_days: Span = 0.1
    """Span that each fold is tested on, and by which the next one lies later. What is left at the end is a fold of its
    own from half of this on, and belongs to the last fold below."""
    expanding: bool = True
    """Every fold trains from the first day on; `false`: on a window of `first_train_days` that rolls along."""
    warm_start: bool = False
    """Each fold starts from the weights of the fold before, of the same seed; `false`: from random ones."""
    seeds: Annotated[tuple[Annotated[int, Field(ge=0, lt=2**31)], ...], Field(min_length=1)] | None = None
    """One training of each fold a seed; the fold's scores are the mean of their ranks. Default: `seed` alone."""
    workers: Annotated[Positive, Field(le=1024)] = 1
    """Trainings at once, each with `run.num_threads` threads (by default they share the cores)."""

    @field_validator("seeds")
    @classmethod
    def _distinct(cls, value: tuple[int, ...] | None) -> tuple[int, ...] | None:
        if value is not None and len(set(value)) < len(value):
            raise ValueError(f"expected distinct seeds, got {list(value)}")
        return value
