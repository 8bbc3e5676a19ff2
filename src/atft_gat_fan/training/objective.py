"""What training minimises, on the labels it is told to use."""

from dataclasses import replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from atft_gat_fan.losses.label_transform import transform_labels
from atft_gat_fan.losses.multi_horizon import label_counts, multi_horizon_loss, quantile_loss
from atft_gat_fan.training.settings import TrainSettings
from atft_gat_fan.types import DayBatch, Forecast


class Objective:
    """Weighted multi-horizon loss, squared or Huber, in float32 whatever the precision of the forward pass."""

    def __init__(self, settings: TrainSettings, device: torch.device) -> None:
        self._transform = settings.label_transform
        self._weights = torch.tensor(settings.horizon_weights, device=device)
        deltas = settings.huber_deltas
        assert deltas is None or len(deltas) == len(settings.horizons), f"{deltas} for {settings.horizons}"
        self._deltas = None if deltas is None else torch.tensor(deltas, device=device)
        self._quantiles = settings.quantiles
        self._quantile_weight = settings.quantile_weight

    def prepare(self, batch: DayBatch) -> DayBatch:
        """The batch with the labels the loss sees: raw, or transformed within each day."""
        return replace(batch, labels=transform_labels(batch.labels, self._transform))

    def labelled_days(self, batches: list[DayBatch]) -> Int[Tensor, " horizons"]:
        """Labelled days per horizon over all micro-batches of a step, so that their losses add up to the step's."""
        return torch.stack([label_counts(batch.labels) for batch in batches]).sum(dim=0)

    def __call__(
        self, forecast: Forecast, batch: DayBatch, labelled_days: Int[Tensor, " horizons"]
    ) -> tuple[Float[Tensor, ""], Float[Tensor, " horizons"]]:
        """This batch's share of the step's loss, and its unweighted point loss per horizon."""
        point = forecast.point.float()
        total, by_horizon = multi_horizon_loss(point, batch.labels, self._weights, labelled_days, self._deltas)
        if forecast.quantiles is not None:
            pinball, _ = quantile_loss(
                forecast.quantiles.float(), batch.labels, self._quantiles, self._weights, labelled_days
            )
            total = total + self._quantile_weight * pinball
        return total, by_horizon
