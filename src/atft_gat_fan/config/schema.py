"""Every knob of the system: one frozen model, one default each, unknown keys refused.

The sections stand in files by room; those that other rooms read are to be had here.
"""

from typing import Annotated, Literal

import numpy as np
from pydantic import Field, model_validator

from atft_gat_fan.config.data_sections import (
    ColumnsConfig,
    DataConfig,
    GraphConfig,
    LabelsConfig,
    SplitConfig,
    SyntheticConfig,
)
from atft_gat_fan.config.distributed_section import DistributedConfig
from atft_gat_fan.config.model_sections import ModelConfig
from atft_gat_fan.config.monitor_sections import MonitorConfig
from atft_gat_fan.config.run_sections import EvaluationConfig, RunConfig
from atft_gat_fan.config.search_section import SearchConfig
from atft_gat_fan.config.section import Length, NonNegative, Positive, PositiveFloat, Probability, Section
from atft_gat_fan.config.training_sections import (
    EarlyStoppingConfig,
    EmaConfig,
    GradScalerConfig,
    GroupConfig,
    GroupsConfig,
    LossConfig,
    OptimizerConfig,
    RecoveryConfig,
    TrainConfig,
    WandbConfig,
)
from atft_gat_fan.config.trials_section import TrialsConfig
from atft_gat_fan.config.validation_sections import ValidationConfig
from atft_gat_fan.config.walkforward_sections import WalkForwardConfig

__all__ = [
    "ColumnsConfig",
    "Config",
    "DataConfig",
    "DistributedConfig",
    "GraphConfig",
    "GroupConfig",
    "GroupsConfig",
    "ImprovementsConfig",
    "MonitorConfig",
    "SearchConfig",
    "SplitConfig",
    "SyntheticConfig",
    "TrialsConfig",
    "ValidationConfig",
    "WalkForwardConfig",
]

MEMO_HORIZON_WEIGHTS = {1: 1.0, 2: 0.8, 3: 0.7, 5: 0.5, 10: 0.3}


class ImprovementsConfig(Section):
    """The opt-in improvements; every default is the behaviour without them."""

    output_head_small_init: bool = False
    """4.1 Small initial weights in the output head, and a learned scale per horizon (`model.head.layer_scale`)."""
    gat_temperature: PositiveFloat = 1.0
    """4.3 Divisor of the graph-attention logits: below 1 sharper, above 1 flatter."""
    freq_dropout_p: Probability = 0.0
    """4.2 Chance that a training sample loses a band of frequencies (`model.freq_dropout`)."""
    use_ema: bool = False
    """4.5 Evaluate and export an exponential moving average of the weights (`ema`)."""
    huber_loss: bool = False
    """4.4 Huber loss instead of squared error (`loss.huber_delta`)."""
    online_normalization: bool = False
    """4.7 Stream the store and normalise each batch on its device; nothing is materialised."""
    enable_wandb: bool = False
    """4.9 Also log to Weights & Biases (`wandb`)."""
    auto_recover_oom: bool = False
    """4.10 When memory runs out, do the same days again in smaller pieces (`recovery.allow_bf16`)."""


class Config(Section):
    """The whole configuration."""

    seed: Annotated[int, Field(ge=0, lt=2**31)] = 42
    """Of everything random: initial weights, order of the days, dropout."""
    batch_size: Length = 8
    """Trading days a batch, each with all its stocks."""
    accumulate_grad_batches: Positive = 1
    """Batches whose gradients make one optimizer step."""
    warmup_steps: NonNegative = 1500
    """Steps of linear warm-up; effective: at most 10 % of the planned steps."""
    scheduler: Literal["cosine", "linear", "constant"] = "cosine"
    """Learning rate after the warm-up."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass: less memory, more time, the same gradients."""
    amp: Literal["none", "bf16", "fp16"] = "none"
    """Mixed precision; fp16 uses the gradient scaler."""
    compile: Literal["auto"] | bool = "auto"
    """Compile the network for its training with torch.compile (the same numbers to rounding); `auto`: on a CPU with a
    working C++ compiler, when the planned training is long enough to pay for the compilation. Scores of evaluation and
    prediction are never compiled, so that they have the same bits wherever they are made."""
    run: RunConfig = RunConfig()
    data: DataConfig = DataConfig()
    labels: LabelsConfig = LabelsConfig()
    split: SplitConfig = SplitConfig()
    graph: GraphConfig = GraphConfig()
    model: ModelConfig = ModelConfig()
    loss: LossConfig = LossConfig()
    ema: EmaConfig = EmaConfig()
    grad_scaler: GradScalerConfig = GradScalerConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    early_stopping: EarlyStoppingConfig = EarlyStoppingConfig()
    train: TrainConfig = TrainConfig()
    recovery: RecoveryConfig = RecoveryConfig()
    distributed: DistributedConfig = DistributedConfig()
    wandb: WandbConfig = WandbConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    validation: ValidationConfig = ValidationConfig()
    monitor: MonitorConfig = MonitorConfig()
    walkforward: WalkForwardConfig = WalkForwardConfig()
    trials: TrialsConfig = TrialsConfig()
    search: SearchConfig = SearchConfig()
    improvements: ImprovementsConfig = ImprovementsConfig()

    @model_validator(mode="after")
    def _consistent(self) -> "Config":
        weights, horizons = self.loss.multi_horizon_weights, self.data.horizons
        if weights is not None and len(weights) != len(horizons):
            names = ",".join(map(str, horizons))
            raise ValueError(
                f"horizons {names} need {len(horizons)} weights, got {len(weights)} (loss.multi_horizon_weights)"
            )
        deltas = self.loss.huber_delta
        if isinstance(deltas, tuple) and len(deltas) != len(horizons):
            names = ",".join(map(str, horizons))
            raise ValueError(f"horizons {names} need {len(horizons)} deltas, got {len(deltas)} (loss.huber_delta)")
        least = max(horizons) + 1
        if self.split.purge is not None and self.split.purge < least:
            raise ValueError(f"expected split.purge of at least max(horizons) + 1 = {least}, got {self.split.purge}")
        if self.graph.min_periods > self.graph.lookback:
            raise ValueError(
                f"expected graph.min_periods <= graph.lookback, got {self.graph.min_periods} > {self.graph.lookback}"
            )
        return self

    @property
    def horizon_weights(self) -> tuple[float, ...]:
        """Loss weight of each horizon: the configured ones, else the memo's, interpolated linearly between horizons."""
        if self.loss.multi_horizon_weights is not None:
            return self.loss.multi_horizon_weights
        return tuple(
            float(w)
            for w in np.interp(self.data.horizons, list(MEMO_HORIZON_WEIGHTS), list(MEMO_HORIZON_WEIGHTS.values()))
        )
