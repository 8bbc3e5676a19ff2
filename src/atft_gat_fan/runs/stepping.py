"""A training as `atft train` sets it up, stepped by hand: to time its steps, and nothing else."""

from collections.abc import Callable

from atft_gat_fan.runs.assembly import Assembly, build_model
from atft_gat_fan.runs.train_settings import train_settings
from atft_gat_fan.training.compilation import decide_compile
from atft_gat_fan.training.executor import make_executor
from atft_gat_fan.training.objective import Objective
from atft_gat_fan.training.optim import build_optimizer
from atft_gat_fan.training.runtime import make_runtime
from atft_gat_fan.training.step import TrainStep
from atft_gat_fan.training.training_data import planned_steps
from atft_gat_fan.training.weights import Weights
from atft_gat_fan.types import DayBatch


class Stepping:
    """The batches and optimizer steps of a training. `compile=auto` decides by the steps of the whole training, or by
    the number `planned`."""

    def __init__(self, assembly: Assembly, *, message: Callable[[str], None], planned: int | None = None) -> None:
        self.assembly = assembly
        config = assembly.config
        self.settings = settings = train_settings(assembly)
        steps = planned_steps(assembly, settings) if planned is None else planned
        self.model, runtime = build_model(assembly).train(), make_runtime(settings)
        self.model.compiled = decide_compile(settings, steps, recorded=None, message=message)
        runtime.fabric.setup_module(self.model)
        weights = Weights(self.model, settings.ema)
        train_step = TrainStep(
            runtime,
            self.model,
            build_optimizer(self.model, settings),
            Objective(settings, runtime.fabric.device),
            clip_norm=settings.clip_norm,
            seed=settings.seed,
            to_device=assembly.to_device,
            applied=weights.stepped,
        )
        self._executor = make_executor(settings, train_step, ema=weights.ema)
        self.blocks = [block for block in assembly.blocks(epoch=0) if block[1] == config.batch_size]
        """Those of the first epoch that are of full size: (first day, number of days)."""

    def batch(self, number: int) -> DayBatch:
        """The batch of step `number`."""
        return self.assembly.batch(*self.blocks[number % len(self.blocks)])

    def step(self, batch: DayBatch, number: int) -> int:
        """Forward, loss, backward, clipping, AdamW, and with an EMA its update. Returns the stock-windows trained."""
        report = self._executor.train([batch], number)
        assert report.outcome == "applied", report
        return report.samples
