"""Optimizer steps of two configurations in turns, in one process, on the same days."""

import time
from dataclasses import replace

from atft_gat_fan.config.improvements import resolve
from atft_gat_fan.config.load import overridden
from atft_gat_fan.config.schema import Config
from atft_gat_fan.runs.assembly import Assembly, assemble
from atft_gat_fan.runs.stages import Stages
from atft_gat_fan.runs.stepping import Stepping
from atft_gat_fan.validation.plan import Timing

WARM_UP = 2
"""Turns of each side that are not counted: caches, allocator and compiler settle."""


def time_by_turns(config: Config, timing: Timing, stages: Stages) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Seconds of each turn of baseline and of variant (`config`), two of each a round: A B B A.

    Reading the batch and bringing it to its device are counted.
    """
    without = overridden(config, timing.baseline)
    baseline = assemble(without, stages)
    variant = _assembled_alike(config, baseline, stages)
    sides = (Stepping(baseline, message=print), Stepping(variant, message=print))
    for turn in range(WARM_UP):
        for side in sides:
            _turn(side, turn * timing.steps, timing.steps)
    seconds: tuple[list[float], list[float]] = ([], [])
    for number in range(timing.rounds):
        stages("steps in turns", number / timing.rounds)
        for position, which in enumerate((0, 1, 1, 0)):
            # Each side's turns of a round are on the same days.
            first = (WARM_UP + 2 * number + position // 2) * timing.steps
            seconds[which].append(_turn(sides[which], first, timing.steps))
    return tuple(seconds[0]), tuple(seconds[1])


def _assembled_alike(config: Config, other: Assembly, stages: Stages) -> Assembly:
    """What `other` read, where the improvements leave that alone."""
    plan = resolve(config)
    if plan.normalizer == other.plan.normalizer:
        return replace(other, config=config, plan=plan)
    return assemble(config, stages)


def _turn(side: Stepping, first: int, steps: int) -> float:
    began = time.perf_counter()
    for number in range(first, first + steps):
        side.step(side.batch(number), number)
    return time.perf_counter() - began
