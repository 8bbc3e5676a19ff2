"""Whether a training is compiled: decided once, by a rule, and kept for its resumption and its predictions."""

from collections.abc import Callable

import torch

from atft_gat_fan.errors import ConfigError
from atft_gat_fan.models.compiler import compiler_problem
from atft_gat_fan.training.settings import TrainSettings

WORTH_COMPILING = 15_000_000
"""Stock-windows from which on compiling pays: it costs some 40 seconds where nothing is cached and saves about 6
microseconds each (default network, 1,000 stocks, 2 cores), so it is earned back at half of these. Never measured on
the way: equal configurations must give equal bits."""


def decide_compile(
    settings: TrainSettings, planned_steps: int, *, recorded: bool | None, message: Callable[[str], None]
) -> bool:
    """Whether to compile; `recorded` is what the run resumed here was begun with, None where one begins.

    Raises ConfigError where compiling is asked for, or was begun with, and this machine cannot; with `auto` the same is
    a `message`, and the training runs uncompiled.
    """
    if recorded is not None:
        if recorded and (problem := compiler_problem()) is not None:
            raise ConfigError(
                f"expected a working compiler, because this run was begun with torch.compile, found: {problem}; "
                "install g++, or start over with run.fresh=true and compile=false: other code would give other bits"
            )
        return recorded
    if settings.compile is False:
        return False
    if settings.compile == "auto" and not _worth_it(settings, planned_steps):
        return False
    problem = compiler_problem()
    if problem is None:
        return True
    if settings.compile is True:
        raise ConfigError(f"expected a working compiler (compile=true), found: {problem}; install g++, or use auto")
    message(f"not compiled: {problem}; training is slower, and otherwise the same (g++ is what torch.compile needs)")
    return False


def _worth_it(settings: TrainSettings, planned_steps: int) -> bool:
    """By a rule alone. Not on a GPU: what it would gain there has not been measured."""
    on_gpu = settings.device == "cuda" or (settings.device == "auto" and torch.cuda.is_available())
    samples = planned_steps * settings.accumulate * settings.batch_size * settings.num_stocks
    return not on_gpu and samples >= WORTH_COMPILING
