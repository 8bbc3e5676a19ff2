"""Keys of the training: loss, optimizer, stopping, records."""

import re
from typing import Annotated, Literal

from pydantic import Field, field_validator

from atft_gat_fan.config.section import NonNegative, NonNegativeFloat, Positive, PositiveFloat, Probability, Section


class LossConfig(Section):
    type: Literal["mse", "huber", "ic", "rank"] = "mse"
    """What a day's scores cost: `mse`, squared error; `huber`, the same as `improvements.huber_loss: true`; `ic`, 1
    minus their correlation with the labels over the day's stocks; `rank`, logistic loss of pairs in the wrong order
    (RankNet). The last two leave out days with fewer than two different labels, and make scores of any unit."""
    mse_weight: NonNegativeFloat = 0.0
    """Weight of a squared error beside `ic` or `rank`: it keeps scores in the unit of the labels."""
    liquidity_weight: PositiveFloat = 1.0
    """How much a stock of the day's upper half by 20-day median dollar volume counts against one of the lower half."""
    huber_delta: PositiveFloat | tuple[PositiveFloat, ...] | Literal["auto"] = 0.01
    """Where Huber turns from square to linear, in label units (`labels.transform`): one number, a list with one a
    horizon, or `auto`, 0.55 standard deviations of each horizon's training labels. At 1 on raw returns no error ever
    reaches it, and Huber is exactly half the squared error."""
    multi_horizon_weights: tuple[NonNegativeFloat, ...] | None = None
    """One weight per horizon; default 1, .8, .7, .5, .3 at 1, 2, 3, 5, 10 days, interpolated between."""
    quantile_weight: NonNegativeFloat = 1.0
    """Weight of the pinball loss where `model.quantiles` are forecast."""


class EmaConfig(Section):
    """Exponential moving average of the weights."""

    enabled: bool = False
    """Evaluate and export the average; `true` is the same as `improvements.use_ema: true`."""
    decay: Annotated[float, Field(gt=0, lt=1)] = 0.999
    """Share of the average that stays at each optimizer step."""
    warmup: bool = True
    """Use min(decay, (1 + n) / (10 + n)) after n updates, so that a short run does not export its first weights."""


class GradScalerConfig(Section):
    init_scale: PositiveFloat = 65536.0
    """First loss scale of fp16 training (`amp: fp16`)."""


class GroupConfig(Section):
    """One layer type."""

    lr: PositiveFloat = 1.0
    """Multiplier of `optimizer.lr`."""
    weight_decay: NonNegativeFloat = 1.0
    """Multiplier of `optimizer.weight_decay`."""


class GroupsConfig(Section):
    """Learning rate and weight decay by layer type."""

    embedding: GroupConfig = GroupConfig()
    """Static and calendar embeddings and the variable selection."""
    temporal: GroupConfig = GroupConfig()
    """Frequency adaptive normalisation, LSTM and temporal attention."""
    graph: GroupConfig = GroupConfig()
    """Graph attention and its gate."""
    head: GroupConfig = GroupConfig()
    """The outputs of each horizon."""


class OptimizerConfig(Section):
    """AdamW."""

    lr: PositiveFloat = 1e-3
    """Highest learning rate, reached after the warm-up."""
    betas: tuple[Probability, Probability] = (0.9, 0.98)
    """Decay of the running mean of gradients, and of their squares, at each step."""
    eps: PositiveFloat = 1e-12
    """Small, because gradients of return-sized losses are."""
    weight_decay: NonNegativeFloat = 0.01
    """Share of a weight taken off at each step, times the learning rate; never on norms, biases or layer scales."""
    clip_norm: PositiveFloat | None = 1.0
    """Largest global gradient norm; null: no clipping."""
    groups: GroupsConfig = GroupsConfig()


class EarlyStoppingConfig(Section):
    enabled: bool = True
    """Stop once validation no longer improves; which weights are kept is `train.select`."""
    patience: Positive = 3
    """Validations without a better smoothed RankIC before training stops."""
    smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.3
    """Weight of the past in the exponential smoothing of the validation RankIC."""


class TrainConfig(Section):
    max_epochs: Positive = 8
    """Passes over the training days at most."""
    select: Literal["best", "last"] = "best"
    """Which weights are evaluated and exported: those of the best smoothed validation RankIC, or the last ones, which
    with `early_stopping.enabled: false` are those after a fixed number of epochs."""
    max_steps: Positive | None = None
    """Optimizer steps at most, whatever max_epochs says."""
    warm_start: str | None = None
    """A finished run whose exported weights training starts from, instead of random ones: of the same network and
    features, and of days before the test days. Normaliser, optimizer and schedule begin anew."""
    checkpoint_every: Positive | str = 200
    """Steps between checkpoints, or minutes as `10m`."""
    keep_checkpoints: Annotated[int, Field(ge=2)] = 2
    """Newest checkpoints that stay on disk."""
    log_every: Positive = 10
    """Steps between records of loss, learning rate and speed."""
    tensorboard: bool = True
    """Also draw the events as curves for TensorBoard."""

    @field_validator("checkpoint_every")
    @classmethod
    def _steps_or_minutes(cls, value: int | str) -> int | str:
        if isinstance(value, str) and not re.fullmatch(r"[1-9]\d*m", value):
            raise ValueError(f"expected a number of steps or minutes such as 10m, got {value!r}")
        return value


class RecoveryConfig(Section):
    """What training does about steps that fail."""

    max_skipped_steps: Positive = 10
    """Steps in a row with non-finite loss or gradients that are skipped before training goes back to a checkpoint."""
    max_rollbacks: NonNegative = 2
    """Times training goes back to the newest checkpoint because of them before it stops."""
    rollback_lr: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Multiplier of the learning rate each time it goes back."""
    allow_bf16: bool = False
    """With `improvements.auto_recover_oom`, where nothing else fits: compute in bf16 from then on, an approximation."""


class WandbConfig(Section):
    """Weights & Biases, with `improvements.enable_wandb`. WANDB_MODE=offline needs neither network nor login."""

    project: str = "atft-gat-fan"
    """Project the run is shown in."""
    entity: str | None = None
    """User or team that owns the project; null: the account that is logged in."""
    tags: tuple[str, ...] = ()
    """Labels of the run."""
