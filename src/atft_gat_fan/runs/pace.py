"""How long trainings will take: a few steps and scored days are timed, and the rest is arithmetic."""

import time
from dataclasses import dataclass
from datetime import timedelta

from atft_gat_fan.inference.predictor import predict_days
from atft_gat_fan.runs.assembly import Assembly
from atft_gat_fan.runs.process import device_of
from atft_gat_fan.runs.stages import Stages
from atft_gat_fan.runs.stepping import Stepping
from atft_gat_fan.training.training_data import planned_steps

START_UP = 8.0
"""Seconds that a process takes to import and to open its data."""
PROBE_STEPS, PROBE_DAYS = 3, 20
FORWARD_SHARE = 1 / 3
"""Of a step: validation needs no backward pass."""


@dataclass(frozen=True)
class Pace:
    """Seconds of one optimizer step and of scoring one day, on the machine and data they were measured on."""

    step: float
    day: float
    batch_size: int
    """Days a step."""
    planned_steps: int
    """Of the training that was measured."""
    steps_per_epoch: float

    def training(self, steps: int, valid_days: int) -> float:
        """Seconds of `steps` with a validation after each epoch."""
        return steps * self.step + self.validating(valid_days) * max(1.0, steps / self.steps_per_epoch)

    def validating(self, days: int) -> float:
        """Seconds of one validation."""
        return days / self.batch_size * self.step * FORWARD_SHARE

    def scoring(self, days: int) -> float:
        return days * self.day


def measure_pace(assembly: Assembly, stages: Stages) -> Pace:
    """Time a few steps of the training that `assembly` would make, and a few of its validation days."""
    stepping = Stepping(assembly, message=lambda text: None, planned=0)
    stepping.step(stepping.batch(0), 0)
    began = time.perf_counter()
    for number in range(1, 1 + PROBE_STEPS):
        stages("time a few steps", number / PROBE_STEPS)
        stepping.step(stepping.batch(number), number)
    step = (time.perf_counter() - began) / PROBE_STEPS
    days = assembly.split.valid[:PROBE_DAYS]
    began = time.perf_counter()
    predict_days(stepping.model, assembly.batches, days, device=device_of(assembly.config))
    config = assembly.config
    return Pace(
        step=step,
        day=(time.perf_counter() - began) / len(days),
        batch_size=config.batch_size,
        planned_steps=planned_steps(assembly, stepping.settings),
        steps_per_epoch=len(assembly.blocks(0)) / config.accumulate_grad_batches,
    )


def duration(seconds: float) -> str:
    """`0:03:20`."""
    return str(timedelta(seconds=round(seconds)))
