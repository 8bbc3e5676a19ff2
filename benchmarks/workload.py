"""A training as `atft train` sets it up, stepped by hand: store, split, normaliser, graph, network, optimizer."""

from collections.abc import Sequence

from atft_gat_fan.config.load import load_config
from atft_gat_fan.runs.assembly import assemble, build_model
from atft_gat_fan.runs.huber_deltas import huber_deltas
from atft_gat_fan.runs.process import prepare_process
from atft_gat_fan.training.compilation import decide_compile
from atft_gat_fan.training.executor import make_executor
from atft_gat_fan.training.objective import Objective
from atft_gat_fan.training.optim import build_optimizer
from atft_gat_fan.training.runtime import make_runtime
from atft_gat_fan.training.settings import TrainSettings
from atft_gat_fan.training.step import TrainStep
from atft_gat_fan.training.weights import Weights
from atft_gat_fan.types import DayBatch


class Training:
    """The batches and optimizer steps of a training under `overrides` (Hydra's grammar).

    No number of steps is planned, so it is compiled where `compile=true` says so, and not by `auto`.
    """

    def __init__(self, overrides: Sequence[str]) -> None:
        config = load_config(overrides)
        prepare_process(config.run.num_threads)
        self.assembly = assembly = assemble(config, lambda stage, share: None)
        settings = TrainSettings.from_config(config, assembly.plan, huber_deltas(assembly))
        self.model, runtime = build_model(assembly).train(), make_runtime(settings)
        self.model.compiled = decide_compile(settings, 0, recorded=None, message=print)
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
