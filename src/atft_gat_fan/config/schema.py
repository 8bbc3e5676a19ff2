"""Every knob of the system: one frozen model, one default each, unknown keys refused."""

import re
from datetime import date
from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

MEMO_HORIZON_WEIGHTS = {1: 1.0, 2: 0.8, 3: 0.7, 5: 0.5, 10: 0.3}

Positive = Annotated[int, Field(gt=0)]
NonNegative = Annotated[int, Field(ge=0)]
PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegativeFloat = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Probability = Annotated[float, Field(ge=0, lt=1)]


class Section(BaseModel):
    """A block of the configuration: immutable, and a key it does not know is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class RunConfig(Section):
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")] = "atft"
    """First part of the run folder's name."""
    root: str = "runs"
    """Folder that holds the run folders."""
    dir: str | None = None
    """The run folder itself; by default `root/name-<hash of the resolved configuration>`."""
    fresh: bool = False
    """Start over, deleting what an earlier run of the same configuration left in the folder."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to compute; `auto` takes CUDA when there is one."""
    num_threads: Positive | None = None
    """CPU threads; results are bit-identical only for the same number. Default: all cores."""


class ColumnsConfig(Section):
    """Names of the panel's columns."""

    code: str = "Code"
    """Name of the stock."""
    date: str = "Date"
    """Trading day."""
    open: str = "Open"
    """First price of the day, in any currency."""
    high: str = "High"
    """Highest price of the day."""
    low: str = "Low"
    """Lowest price of the day."""
    close: str = "Close"
    """Last price of the day."""
    adj_close: str | None = None
    """Adjusted close; by default `AdjClose` or `AdjustmentClose` if the panel has one, else the close."""
    volume: str = "Volume"
    """Shares traded on the day."""
    static: str | None = "sector33"
    """A static category of each stock, ignored when the panel has no such column."""
    label: str = "target_{h}d"
    """Forward return of horizon h; `feat_ret_{h}d` is tried next."""
    trailing_return: str = "returns_{h}d"
    """Trailing return over h days."""
    validity: str = "is_*_valid"
    """Pattern of boolean columns; where one is false, the column it names (`is_<column>_valid`) is missing."""


class SyntheticConfig(Section):
    """The seeded artificial market of `data.source: synthetic`."""

    num_stocks: Positive = 60
    """Stocks, listed and delisted ones counted."""
    num_days: Positive = 750
    """Trading days."""
    num_sectors: Positive = 6
    """Sectors, each with a return of its own."""
    seed: int = 7
    """Of the market's random numbers; `seed` is that of the training."""
    signal: Annotated[float, Field(ge=0, le=1)] = 0.25
    """Daily rank correlation of the planted signal with the next day's return (the oracle's RankIC@1d)."""
    churn: Annotated[float, Field(ge=0, le=1)] = 0.2
    """Share of the stocks that are listed late or delisted early."""


class DataConfig(Section):
    source: str = "sample"
    """`sample` (embedded S&P 500 closes), `synthetic`, or a path: Parquet (file or directory), CSV, a built store."""
    cache: str = ".cache/atft"
    """Folder of built stores, keyed by the fingerprint of the source."""
    start: date | None = None
    """First day to use."""
    end: date | None = None
    """Last day to use."""
    columns: ColumnsConfig = ColumnsConfig()
    features: Literal["auto", "derived"] | tuple[str, ...] = "auto"
    """`derived`: price and volume factors; a list of names or globs: those columns; `auto`: derived when the panel
    has prices and no other numeric columns, else every other numeric column."""
    standardise: Literal["zscore", "rank"] = "zscore"
    """What makes derived features comparable within a day: z-scores clipped at 5, or ranks scaled to unit variance."""
    horizons: tuple[Positive, ...] = (1, 2, 3, 5, 10)
    """Forecast horizons in trading days, increasing."""
    window: Annotated[int, Field(ge=2)] = 20
    """Trading days a prediction looks back on (L)."""
    delisting_return: Annotated[float, Field(ge=-1)] | None = None
    """Return assumed once a stock leaves the panel before its horizon ends; unknown by default."""
    exchange: str | None = "XNYS"
    """Exchange whose published sessions give the calendar covariates (ISO 10383); null: weekdays."""
    strict: bool = False
    """Refuse, instead of dropping by name, columns that are constant or empty on the training days."""
    num_workers: NonNegative = 0
    """Threads that prepare the next batches while one is computed."""
    synthetic: SyntheticConfig = SyntheticConfig()

    @field_validator("horizons")
    @classmethod
    def _increasing(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if not value or list(value) != sorted(set(value)):
            raise ValueError(f"expected increasing, distinct horizons, got {list(value)}")
        return value

    @model_validator(mode="after")
    def _ordered(self) -> "DataConfig":
        if self.start and self.end and self.start > self.end:
            raise ValueError(f"expected start before end, got {self.start} and {self.end}")
        return self


class LabelsConfig(Section):
    transform: Literal["raw", "zscore", "rank"] = "raw"
    """Within-day transform of the labels, for the loss only; metrics always use raw returns."""


class SplitConfig(Section):
    train_end: date | None = None
    """Last training day; default: the first `train_fraction` of the days."""
    valid_end: date | None = None
    """Last validation day; the test days follow."""
    train_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.70
    """Share of the days to train on, where `train_end` is not given."""
    valid_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.15
    """Share of the days to validate on, where `valid_end` is not given; the rest is for the test."""
    purge: NonNegative | None = None
    """Trading days left out between splits; default and least: the longest horizon + 1."""
    embargo: NonNegative = 0
    """Further trading days left out after the purge."""

    @model_validator(mode="after")
    def _ordered(self) -> "SplitConfig":
        if self.train_end and self.valid_end and self.train_end >= self.valid_end:
            raise ValueError(f"expected train_end before valid_end, got {self.train_end} and {self.valid_end}")
        if self.train_fraction + self.valid_fraction >= 1:
            raise ValueError("expected train_fraction + valid_fraction < 1, so that test days remain")
        return self


class GraphConfig(Section):
    lookback: Annotated[int, Field(ge=5)] = 60
    """Trading days of returns behind a correlation."""
    num_neighbours: Positive = 16
    """Neighbours of a stock at most, the stock itself included (K)."""
    threshold: Annotated[float, Field(ge=0, lt=1)] = 0.4
    """Least absolute shrunk correlation of an edge."""
    shrinkage: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Correlations are multiplied by 1 - shrinkage (towards the identity)."""
    halflife: PositiveFloat | None = None
    """Half-life in days of exponential weights; null: equal weights."""
    min_periods: Annotated[int, Field(ge=3)] = 40
    """Common days two stocks must have in the lookback."""
    refresh_days: Positive = 5
    """The graph is rebuilt when this many weekdays have passed (fixed grid of dates)."""
    same_sector: bool = False
    """Fill free slots with stocks of the same static category."""


class FanConfig(Section):
    """Frequency adaptive normalisation."""

    enabled: bool = True
    """Take the strongest frequencies out of each window; without it the network has no such part."""
    top_k: Annotated[int, Field(ge=1, le=2)] = 1
    """Frequencies taken out per sample and channel."""


class GatConfig(Section):
    """Graph attention over each day's stocks."""

    enabled: bool = True
    """Score each stock with its neighbours; without it, by itself."""
    num_heads: Positive = 4
    """Heads of the graph attention; must divide hidden_size."""
    chunk_size: Positive | None = None
    """Query stocks computed at a time; null: all at once."""
    temperature_start: PositiveFloat | None = None
    """Temperature at the first step, moving linearly to `improvements.gat_temperature`; null: constant."""
    temperature_share: Annotated[float, Field(gt=0, le=1)] = 0.3
    """Share of the planned steps after which it has moved there; used with `temperature_start`."""


class HeadConfig(Section):
    """The output head."""

    layer_scale: PositiveFloat = 0.1
    """Initial learned scale of each horizon's output, with `improvements.output_head_small_init`;
    about 1e-5 would freeze the head."""


class FreqDropoutConfig(Section):
    """How `improvements.freq_dropout_p` masks."""

    max_width: Positive = 3
    """Widest band, in frequency bins; at most half of `data.window`."""
    rescale: bool = False
    """Divide what is kept by its expected share, as ordinary dropout does."""


class ModelConfig(Section):
    hidden_size: Positive = 64
    """Width of the network (E)."""
    variable_size: Positive = 8
    """Width of one variable inside the variable selection."""
    num_heads: Positive = 4
    """Heads of the temporal attention; must divide hidden_size."""
    lstm_layers: Positive = 1
    """Layers of the LSTM."""
    dropout: Probability = 0.1
    """Share of hidden values dropped in training."""
    quantiles: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = ()
    """Quantiles forecast beside the point; must contain 0.5, which then is the point."""
    fan: FanConfig = FanConfig()
    gat: GatConfig = GatConfig()
    head: HeadConfig = HeadConfig()
    freq_dropout: FreqDropoutConfig = FreqDropoutConfig()

    @model_validator(mode="after")
    def _consistent(self) -> "ModelConfig":
        if self.hidden_size % self.num_heads:
            raise ValueError(f"expected num_heads to divide hidden_size, got {self.num_heads} and {self.hidden_size}")
        if self.gat.enabled and self.hidden_size % self.gat.num_heads:
            raise ValueError(
                f"expected gat.num_heads to divide hidden_size, got {self.gat.num_heads} and {self.hidden_size}"
            )
        if self.quantiles and (0.5 not in self.quantiles or list(self.quantiles) != sorted(set(self.quantiles))):
            raise ValueError(f"expected increasing quantiles that contain 0.5, got {list(self.quantiles)}")
        return self


class LossConfig(Section):
    type: Literal["mse", "huber"] = "mse"
    """Squared error or Huber; `huber` is the same as `improvements.huber_loss: true`."""
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
    """Stop once validation no longer improves; the best weights are kept either way."""
    patience: Positive = 3
    """Validations without a better smoothed RankIC before training stops."""
    smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.3
    """Weight of the past in the exponential smoothing of the validation RankIC."""


class TrainConfig(Section):
    max_epochs: Positive = 8
    """Passes over the training days at most."""
    max_steps: Positive | None = None
    """Optimizer steps at most, whatever max_epochs says."""
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


class WandbConfig(Section):
    """Weights & Biases, with `improvements.enable_wandb`. WANDB_MODE=offline needs neither network nor login."""

    project: str = "atft-gat-fan"
    """Project the run is shown in."""
    entity: str | None = None
    """User or team that owns the project; null: the account that is logged in."""
    tags: tuple[str, ...] = ()
    """Labels of the run."""


class LightGBMConfig(Section):
    """The LightGBM baseline."""

    num_rounds: Positive = 200
    """Trees a horizon."""
    learning_rate: PositiveFloat = 0.05
    """Share of each tree that is added."""
    num_leaves: Annotated[int, Field(ge=2)] = 31
    """Leaves of a tree at most."""
    min_data_in_leaf: Positive = 200
    """Rows a leaf must have."""
    feature_fraction: Annotated[float, Field(gt=0, le=1)] = 0.8
    """Share of the features a tree may use."""
    bagging_fraction: Annotated[float, Field(gt=0, le=1)] = 0.8
    """Share of the rows a tree is grown on."""
    max_rows: Positive = 1_000_000
    """Training rows at most: the newest days that fit."""


class EvaluationConfig(Section):
    baselines: tuple[Literal["reversal", "momentum", "ridge", "lightgbm"], ...] = (
        "reversal",
        "momentum",
        "ridge",
        "lightgbm",
    )
    """Rankings shown beside the model's."""
    lightgbm: LightGBMConfig = LightGBMConfig()
    num_quantiles: Annotated[int, Field(ge=2)] = 10
    """Groups of the quantile returns and the long-short portfolio (fewer when a day has too few stocks)."""
    cost_bps: NonNegativeFloat = 10.0
    """Trading cost of one side, in basis points of the value traded."""


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
    """4.10 Retry in smaller pieces when memory runs out; not available yet."""


class Config(Section):
    """The whole configuration."""

    seed: NonNegative = 42
    """Of everything random: initial weights, order of the days, dropout."""
    batch_size: Positive = 8
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
    wandb: WandbConfig = WandbConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
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
