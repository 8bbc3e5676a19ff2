"""Losses of each optimizer step beside those of a constant predictor on the same days, to tell whether it learns."""

import math
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from atft_gat_fan.data.liquidity import liquid_half
from atft_gat_fan.losses.label_transform import transform_labels
from atft_gat_fan.losses.point_loss import liquidity_weights
from atft_gat_fan.runs.assembly import Assembly
from atft_gat_fan.runs.run_files import read_events
from atft_gat_fan.training.objective import point_loss
from atft_gat_fan.training.settings import TrainSettings
from atft_gat_fan.training.training_data import step_groups


def training_losses(events: Path, settings: TrainSettings) -> Float[NDArray[np.float64], " steps"]:
    """The weighted point loss of each step from the record of a training that logged all of them.

    NaN where it was not finite. Pinball losses of quantiles are left out, as a constant has none.
    """
    by_step: dict[int, float] = {}
    for event in read_events(events.parent):
        if event["event"] == "train":
            values = settings.by_horizon("loss", [0.0] * len(settings.horizons))
            by_horizon = [event.get(name) for name in values]
            parts = [math.nan if loss is None else float(loss) for loss in by_horizon]
            by_step[int(event["step"])] = float(np.dot(settings.horizon_weights, parts))
    last = max(by_step, default=0)
    return np.array([by_step.get(step, math.nan) for step in range(1, last + 1)])


def constant_losses(
    assembly: Assembly, settings: TrainSettings, num_steps: int
) -> Float[NDArray[np.float64], " steps"]:
    """The loss, on the days of each step, of predicting the mean training label of each horizon for everything.

    0 for a step without labelled days.
    """
    by_day = _by_day(assembly, settings)
    first = int(assembly.split.train[0])
    losses: list[float] = []
    epoch = 0
    while len(losses) < num_steps:
        for blocks in step_groups(assembly, settings, epoch):
            days = np.concatenate([np.arange(start, start + count) for start, count in blocks]) - first
            known = np.isfinite(by_day[days])
            means = np.where(known, by_day[days], 0.0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
            losses.append(float(means @ np.array(settings.horizon_weights)))
        epoch += 1
    return np.array(losses[:num_steps])


def _by_day(assembly: Assembly, settings: TrainSettings) -> Float[NDArray[np.float64], "days horizons"]:
    """Loss of the constant on each training day and horizon, NaN on a day without labels."""
    days = assembly.split.train
    period = slice(int(days[0]), int(days[-1]) + 1)
    loss = point_loss(settings, torch.device("cpu"), torch.float64)
    raw = torch.from_numpy(assembly.store.column("labels", period))
    labels = loss.learnable(transform_labels(raw, settings.label_transform).double())
    constant = labels.flatten(0, 1).nanmean(dim=0)
    weights = _stock_weights(assembly, settings, period)
    ones = torch.ones(len(settings.horizons), dtype=torch.float64)
    one_day = torch.ones(len(settings.horizons), dtype=torch.int64)
    losses = []
    for day in range(len(labels)):
        only = slice(day, day + 1)
        own = None if weights is None else weights[only]
        losses.append(loss(constant.expand_as(labels[only]), labels[only], ones, one_day, own)[1])
    unlabelled = labels.isnan().all(dim=1)
    by_day: NDArray[np.float64] = torch.stack(losses).masked_fill(unlabelled, float("nan")).numpy()
    return by_day


def _stock_weights(assembly: Assembly, settings: TrainSettings, period: slice) -> Float[Tensor, "days stocks"] | None:
    if settings.liquidity_weight == 1.0:
        return None
    volume, present = (assembly.store.column(name, period) for name in ("dollar_volume", "present"))
    return liquidity_weights(torch.from_numpy(liquid_half(volume, present)), settings.liquidity_weight).double()
