"""What the training loop needs to know, and nothing else of the configuration."""

import hashlib
import json
from dataclasses import dataclass
from typing import Any, Literal

from atft_gat_fan.config.schema import Config

# What may differ between a killed run and the one that resumes it: where and how it runs, not what is trained.
NOT_IN_DIGEST: dict[str, Any] = {
    "run": True,
    "evaluation": True,
    "data": {"cache": True, "num_workers": True},
    "train": {"checkpoint_every", "keep_checkpoints", "log_every", "tensorboard"},
}


@dataclass(frozen=True)
class TrainSettings:
    """Knobs of one training.

    `batch_size` is in trading days; `horizon_weights` and `quantiles` are those of the loss;
    `checkpoint_every` is in steps, or minutes as `10m`; `num_workers` threads prepare the next batches.
    `digest` names everything that decides the weights: a checkpoint is resumed only under the digest it
    was written with.
    """

    digest: str
    horizons: tuple[int, ...]
    horizon_weights: tuple[float, ...]
    seed: int = 42
    batch_size: int = 8
    accumulate: int = 1
    max_epochs: int = 8
    max_steps: int | None = None
    warmup_steps: int = 1500
    scheduler: Literal["cosine", "linear", "constant"] = "cosine"
    lr: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.98)
    eps: float = 1e-12
    weight_decay: float = 0.01
    clip_norm: float | None = 1.0
    amp: Literal["none", "bf16", "fp16"] = "none"
    init_scale: float = 65536.0
    label_transform: Literal["raw", "zscore", "rank"] = "raw"
    quantiles: tuple[float, ...] = ()
    quantile_weight: float = 1.0
    early_stopping: bool = True
    patience: int = 3
    smoothing: float = 0.3
    checkpoint_every: int | str = 200
    keep_checkpoints: int = 2
    log_every: int = 10
    num_workers: int = 0
    loggers: tuple[str, ...] = ("jsonl",)
    device: Literal["auto", "cpu", "cuda"] = "auto"

    @classmethod
    def from_config(cls, config: Config) -> "TrainSettings":
        return cls(
            digest=config_digest(config),
            horizons=config.data.horizons,
            horizon_weights=config.horizon_weights,
            seed=config.seed,
            batch_size=config.batch_size,
            accumulate=config.accumulate_grad_batches,
            max_epochs=config.train.max_epochs,
            max_steps=config.train.max_steps,
            warmup_steps=config.warmup_steps,
            scheduler=config.scheduler,
            lr=config.optimizer.lr,
            betas=config.optimizer.betas,
            eps=config.optimizer.eps,
            weight_decay=config.optimizer.weight_decay,
            clip_norm=config.optimizer.clip_norm,
            amp=config.amp,
            init_scale=config.grad_scaler.init_scale,
            label_transform=config.labels.transform,
            quantiles=config.model.quantiles,
            quantile_weight=config.loss.quantile_weight,
            early_stopping=config.early_stopping.enabled,
            patience=config.early_stopping.patience,
            smoothing=config.early_stopping.smoothing,
            checkpoint_every=config.train.checkpoint_every,
            keep_checkpoints=config.train.keep_checkpoints,
            log_every=config.train.log_every,
            num_workers=config.data.num_workers,
            loggers=("jsonl", "tensorboard") if config.train.tensorboard else ("jsonl",),
            device=config.run.device,
        )


def config_digest(config: Config) -> str:
    """Fingerprint of the parts of a configuration that decide the weights."""
    relevant = config.model_dump(mode="json", exclude=NOT_IN_DIGEST)
    return hashlib.sha256(json.dumps(relevant, sort_keys=True).encode()).hexdigest()[:16]
