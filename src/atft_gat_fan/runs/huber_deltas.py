"""Where the Huber loss of a run turns from square to linear, in the unit of the labels it is trained on."""

import numpy as np
import torch

from atft_gat_fan.data.running_moments import RunningMoments
from atft_gat_fan.errors import DataError, Problem
from atft_gat_fan.losses.label_transform import transform_labels
from atft_gat_fan.runs.assembly import Assembly

AUTO_SHARE = 0.55
"""Standard deviations: errors of the ordinary size are still squared, the tails are not."""
DAYS_AT_A_TIME = 64


def huber_deltas(assembly: Assembly) -> tuple[float, ...] | None:
    """One delta a horizon, in label units after `labels.transform`; None where the loss is the squared error.

    `auto` is 0.55 population standard deviations of the horizon's known labels on the training days, in float64.
    Raises DataError where a horizon has no two different labels there.
    """
    delta = assembly.plan.loss.delta
    if delta is None or isinstance(delta, tuple):
        return delta
    if delta != "auto":
        return (delta,) * len(assembly.store.horizons)
    moments = _label_moments(assembly)
    flat = [horizon for horizon, constant in zip(assembly.store.horizons, moments.constant, strict=True) if constant]
    if flat:
        raise DataError(
            Problem(
                f"expected different training labels to scale loss.huber_delta=auto by, found none at horizons {flat}",
                mend="give loss.huber_delta numbers, or a longer training period",
            )
        )
    return tuple((AUTO_SHARE * moments.std).tolist())


def _label_moments(assembly: Assembly) -> RunningMoments:
    """Of the training labels as the loss sees them, per horizon; a stretch of days at a time."""
    store, days = assembly.store, assembly.split.train
    kind = assembly.config.labels.transform
    moments = RunningMoments.of(np.empty((0, len(store.horizons)), np.float32))
    for start in range(0, len(days), DAYS_AT_A_TIME):
        chosen = days[start : start + DAYS_AT_A_TIME]
        labels = store.column("labels", slice(int(chosen[0]), int(chosen[-1]) + 1))[chosen - chosen[0]]
        transformed = transform_labels(torch.from_numpy(labels), kind)
        moments = moments.merge(RunningMoments.of(transformed.flatten(0, 1).numpy()))
    return moments
