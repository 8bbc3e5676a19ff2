"""What a training is watched by: the numbers of its events `train` and `watch`."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.optim import Optimizer

from atft_gat_fan.layers.freq_dropout import FreqDropout
from atft_gat_fan.models.network import ATFT_GAT_FAN
from atft_gat_fan.training.executor import Executor
from atft_gat_fan.training.history import History
from atft_gat_fan.training.optim import learning_rates
from atft_gat_fan.training.resources import memory_used
from atft_gat_fan.training.runtime import Runtime
from atft_gat_fan.training.settings import TrainSettings
from atft_gat_fan.training.step import StepReport
from atft_gat_fan.training.validation_pass import evaluating
from atft_gat_fan.training.weights import Weights
from atft_gat_fan.types import DayBatch, RandomKey

QUANTILES = {"p5": 0.05, "p50": 0.50, "p95": 0.95}


class Watch:
    """Reads optimizer and weights between steps; changes nothing."""

    def __init__(
        self,
        settings: TrainSettings,
        runtime: Runtime,
        optimizer: Optimizer,
        weights: Weights,
        executor: Executor,
    ) -> None:
        self._settings, self._runtime, self._optimizer, self._weights = settings, runtime, optimizer, weights
        self._executor = executor
        self._probe: DayBatch | None = None
        self._mark = (0, 0.0)

    def start(self, history: History) -> None:
        """Count throughput from here."""
        self._mark = (history.samples, history.train_seconds)

    def seen(self, batch: DayBatch) -> DayBatch:
        """Every validation batch passes through; the first, the same in every epoch, is kept to be looked at again."""
        if self._probe is None:
            self._probe = batch
        return batch

    def step(self, report: StepReport) -> dict[str, float]:
        """Of a step: losses by horizon, gradient norm and learning rate by layer type, distance of the EMA."""
        return {
            "loss": report.loss,
            **self._settings.by_horizon("loss", report.loss_by_horizon),
            **{f"lr_{group}": lr for group, lr in learning_rates(self._optimizer).items()},
            "grad_norm": report.grad_norm,
            **{f"grad_norm_{group}": norm for group, norm in report.grad_norm_by_group.items()},
            **self._ema_distance(),
        }

    def epoch(self, history: History) -> dict[str, float]:
        """After an epoch: distance of the EMA, throughput and memory of the run so far, and the predictions' spread.

        `prediction_{mean,std,p5,p50,p95}_{h}d` are over the present stocks of one fixed batch, in the unit of the
        training labels, by the weights that are evaluated. Where the model has FreqDropout, the same numbers
        beginning with `prediction_freq_dropout_` have its masks, and nothing else of training, switched on.
        """
        assert self._probe is not None, "watched after a validation only"
        key = RandomKey(self._settings.seed, history.step)
        model = self._weights.evaluated
        filters = [module for module in model.modules() if isinstance(module, FreqDropout)]
        predictions = self._predictions("prediction", model, [], key)
        if filters:
            predictions |= self._predictions("prediction_freq_dropout", model, filters, key)
        return {
            **predictions,
            **self._ema_distance(),
            "samples_per_second": history.samples / history.train_seconds,
            **memory_used(self._runtime.fabric.device),
        }

    def throughput(self, history: History) -> dict[str, float]:
        """Speed since the last call, and memory."""
        samples, seconds = self._mark
        self.start(history)
        return {
            "samples_per_second": (history.samples - samples) / (history.train_seconds - seconds),
            **memory_used(self._runtime.fabric.device),
        }

    def _ema_distance(self) -> dict[str, float]:
        ema = self._weights.ema
        return {} if ema is None else {"ema_distance": ema.distance(self._weights.trained)}

    def _predictions(
        self, name: str, model: ATFT_GAT_FAN, in_training: list[FreqDropout], key: RandomKey
    ) -> dict[str, float]:
        assert self._probe is not None
        with evaluating(model):
            for module in in_training:
                module.train()
            point = self._executor.predict(model, self._probe, key)
        present = self._probe.present.to(point.device)
        statistics = torch.stack([_statistics(scores[present]) for scores in point.unbind(-1)]).tolist()
        return {
            f"{name}_{statistic}_{horizon}d": value
            for horizon, row in zip(self._settings.horizons, statistics, strict=True)
            for statistic, value in zip(("mean", "std", *QUANTILES), row, strict=True)
        }


def _statistics(scores: Float[Tensor, " scores"]) -> Float[Tensor, " statistics"]:
    levels = torch.tensor(list(QUANTILES.values()), device=scores.device)
    return torch.cat([torch.stack([scores.mean(), scores.std(correction=0)]), scores.quantile(levels)])
