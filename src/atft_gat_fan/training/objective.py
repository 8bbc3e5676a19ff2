"""What training minimises, on the labels it is told to use."""

from dataclasses import replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from atft_gat_fan.losses.label_transform import transform_labels
from atft_gat_fan.losses.multi_horizon import label_counts, quantile_loss
from atft_gat_fan.losses.point_loss import PointLoss, liquidity_weights
from atft_gat_fan.training.settings import TrainSettings
from atft_gat_fan.types import DayBatch, Forecast


class Objective:
    """Weighted multi-horizon loss of the kind the settings name, in float32 whatever the forward pass's precision."""

    def __init__(self, settings: TrainSettings, device: torch.device) -> None:
        self._transform = settings.label_transform
        self._weights = torch.tensor(settings.horizon_weights, device=device)
        self._point_loss = point_loss(settings, device, torch.float32)
        self._liquidity_weight = settings.liquidity_weight
        self._quantiles = settings.quantiles
        self._quantile_weight = settings.quantile_weight

    def prepare(self, batch: DayBatch) -> DayBatch:
        """The batch with the labels the loss sees: raw, or transformed within each day; NaN where it learns nothing."""
        labels = transform_labels(batch.labels, self._transform)
        return replace(batch, labels=self._point_loss.learnable(labels))

    def labelled_days(self, batches: list[DayBatch]) -> Int[Tensor, " horizons"]:
        """Labelled days per horizon over all micro-batches of a step, so that their losses add up to the step's."""
        return torch.stack([label_counts(batch.labels) for batch in batches]).sum(dim=0)

    def __call__(
        self, forecast: Forecast, batch: DayBatch, labelled_days: Int[Tensor, " horizons"]
    ) -> tuple[Float[Tensor, ""], Float[Tensor, " horizons"]]:
        """This batch's share of the step's loss, and its unweighted point loss per horizon."""
        point, stocks = forecast.point.float(), self._stock_weights(batch)
        total, by_horizon = self._point_loss(point, batch.labels, self._weights, labelled_days, stocks)
        if forecast.quantiles is not None:
            pinball, _ = quantile_loss(
                forecast.quantiles.float(), batch.labels, self._quantiles, self._weights, labelled_days, stocks
            )
            total = total + self._quantile_weight * pinball
        return total, by_horizon

    def _stock_weights(self, batch: DayBatch) -> Float[Tensor, "days stocks"] | None:
        if self._liquidity_weight == 1.0:
            return None
        assert batch.liquid is not None, "batches of a training weighted by liquidity say which stocks are liquid"
        return liquidity_weights(batch.liquid, self._liquidity_weight)


def point_loss(settings: TrainSettings, device: torch.device, dtype: torch.dtype) -> PointLoss:
    """The loss of the point forecasts alone."""
    deltas = settings.huber_deltas
    assert deltas is None or len(deltas) == len(settings.horizons), f"{deltas} for {settings.horizons}"
    tensor = None if deltas is None else torch.tensor(deltas, device=device, dtype=dtype)
    return PointLoss(tensor, settings.ranking_loss, settings.mse_weight)
