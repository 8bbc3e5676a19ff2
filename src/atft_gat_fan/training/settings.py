"""What the training loop needs to know, and nothing else of the configuration."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from atft_gat_fan.config.plan import EmaPlan, ExecutorPlan, GraphAttentionPlan, OptimizerPlan, RunPlan
from atft_gat_fan.config.schema import Config

# What may differ between a killed run and the one that resumes it: where and how it runs, not what is trained.
NOT_IN_DIGEST: dict[str, Any] = {
    "run": True,
    "distributed": True,
    "evaluation": True,
    "validation": True,
    "monitor": True,
    "walkforward": True,
    "trials": True,
    "search": True,
    "wandb": True,
    "recovery": True,
    "improvements": {"enable_wandb", "auto_recover_oom"},
    "data": {"cache": True, "num_workers": True, "remote": True},
    "train": {"checkpoint_every", "keep_checkpoints", "log_every", "tensorboard"},
}


@dataclass(frozen=True)
class WandbSettings:
    """Where W&B files a run, and the configuration it shows beside the curves."""

    project: str = "atft-gat-fan"
    entity: str | None = None
    tags: tuple[str, ...] = ()
    config: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class TrainSettings:
    """Knobs of one training.

    `batch_size` is in trading days; `horizon_weights`, `quantiles` and `huber_deltas` (one a horizon, in the unit
    of the transformed labels; None: squared error), `ranking_loss` (in place of either, with `mse_weight`) and
    `liquidity_weight` are those of the loss; `select` says which weights are kept; `optimizer_groups` multiply `lr` and
    `weight_decay`; `checkpoint_every` is in steps, or minutes as `10m`; `num_workers` threads prepare the next batches.
    `max_skipped_steps` non-finite steps in a row send training back to a checkpoint, with `rollback_lr` times the
    learning rate, at most `max_rollbacks` times. `online_normalization` is told for what can still save memory.
    `digest` names everything in the configuration that decides the weights, `data` the panel they are learned from: a
    checkpoint is resumed only under those it was written with. `num_stocks` of the panel tell how much there is to
    compute. `sharded` weights are divided over the ranks.
    """

    digest: str
    horizons: tuple[int, ...]
    horizon_weights: tuple[float, ...]
    data: str = ""
    num_stocks: int = 0
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
    compile: Literal["auto"] | bool = "auto"
    init_scale: float = 65536.0
    label_transform: Literal["raw", "zscore", "rank"] = "raw"
    quantiles: tuple[float, ...] = ()
    quantile_weight: float = 1.0
    huber_deltas: tuple[float, ...] | None = None
    ranking_loss: Literal["ic", "rank"] | None = None
    mse_weight: float = 0.0
    liquidity_weight: float = 1.0
    ema: EmaPlan | None = None
    optimizer_groups: OptimizerPlan = RunPlan.optimizer
    temperature: GraphAttentionPlan = RunPlan.graph_attention
    executor: ExecutorPlan = RunPlan.executor
    online_normalization: bool = False
    max_skipped_steps: int = 10
    max_rollbacks: int = 2
    rollback_lr: float = 0.5
    early_stopping: bool = True
    select: Literal["best", "last"] = "best"
    patience: int = 3
    smoothing: float = 0.3
    checkpoint_every: int | str = 200
    keep_checkpoints: int = 2
    log_every: int = 10
    num_workers: int = 0
    loggers: tuple[str, ...] = ("jsonl",)
    wandb: WandbSettings = WandbSettings()
    sharded: bool = False
    device: Literal["auto", "cpu", "cuda"] = "auto"

    def by_horizon(self, name: str, values: Sequence[float]) -> dict[str, float]:
        """One value a horizon, named `{name}_{h}d`."""
        return {f"{name}_{horizon}d": value for horizon, value in zip(self.horizons, values, strict=True)}

    @classmethod
    def from_config(cls, config: Config, plan: RunPlan, huber_deltas: tuple[float, ...] | None) -> "TrainSettings":
        """Knobs of the configuration, components of its plan; `huber_deltas` are what the plan's loss came to."""
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
            compile=config.compile,
            init_scale=config.grad_scaler.init_scale,
            label_transform=config.labels.transform,
            quantiles=config.model.quantiles,
            quantile_weight=config.loss.quantile_weight,
            huber_deltas=huber_deltas,
            ranking_loss=plan.loss.kind if plan.loss.kind in ("ic", "rank") else None,
            mse_weight=config.loss.mse_weight,
            liquidity_weight=config.loss.liquidity_weight,
            ema=plan.ema,
            optimizer_groups=plan.optimizer,
            temperature=plan.graph_attention,
            executor=plan.executor,
            online_normalization=plan.normalizer.kind == "online",
            max_skipped_steps=config.recovery.max_skipped_steps,
            max_rollbacks=config.recovery.max_rollbacks,
            rollback_lr=config.recovery.rollback_lr,
            early_stopping=config.early_stopping.enabled,
            select=config.train.select,
            patience=config.early_stopping.patience,
            smoothing=config.early_stopping.smoothing,
            checkpoint_every=config.train.checkpoint_every,
            keep_checkpoints=config.train.keep_checkpoints,
            log_every=config.train.log_every,
            num_workers=config.data.num_workers,
            loggers=plan.loggers,
            wandb=WandbSettings(
                project=config.wandb.project,
                entity=config.wandb.entity,
                tags=config.wandb.tags,
                config=config.model_dump(mode="json"),
            ),
            sharded=config.distributed.strategy == "fsdp",
            device=config.run.device,
        )


def config_digest(config: Config) -> str:
    """Fingerprint of the parts of a configuration that decide the weights."""
    return hashlib.sha256(json.dumps(decisive(config), sort_keys=True).encode()).hexdigest()[:16]


def decisive(config: Config) -> dict[str, Any]:
    """The keys that decide the weights. What two keys switch on appears under one, whichever was used."""
    values = config.model_dump(mode="json", exclude=NOT_IN_DIGEST)
    improvements = values["improvements"]
    values["ema"]["enabled"] |= improvements.pop("use_ema")
    if improvements.pop("huber_loss"):
        values["loss"]["type"] = "huber"
    if not values["model"]["blend"]["enabled"]:
        del values["model"]["blend"]  # its other keys decide nothing then
    return values
