"""What to build, with no switches in it: the vocabulary between configuration and construction.

`RunPlan()` is the system with every improvement off. Each top-level field is one slot, and one
top-level key of a run's `plan.json`.
"""

from dataclasses import asdict, dataclass
from typing import Any, Literal

Group = Literal["embedding", "temporal", "graph", "head"]
"""Layer types that can have a learning rate and weight decay of their own."""


@dataclass(frozen=True)
class HeadPlan:
    """Initial weights of the output head; `layer_scale` is the initial value of a learned scale per horizon, if any."""

    init_std: float = 1e-3
    layer_scale: float | None = None


@dataclass(frozen=True)
class GraphAttentionPlan:
    """Divisor of the attention logits; with `start`, it moves linearly from there to `temperature` over `share`."""

    temperature: float = 1.0
    start: float | None = None
    share: float = 0.0
    """Of the planned steps."""


@dataclass(frozen=True)
class FreqDropoutPlan:
    p: float
    max_width: int = 3
    rescale: bool = False


@dataclass(frozen=True)
class LossPlan:
    """`delta` in label units: one for all horizons, one each, or `auto` (0.55 standard deviations); None without Huber.

    `by`: the keys that turned on what is not squared error.
    """

    kind: Literal["mse", "huber", "ic", "rank"] = "mse"
    delta: float | tuple[float, ...] | Literal["auto"] | None = None
    by: tuple[str, ...] = ()


@dataclass(frozen=True)
class EmaPlan:
    """`by`: the keys that turned it on."""

    decay: float
    warmup: bool = True
    by: tuple[str, ...] = ()


@dataclass(frozen=True)
class GroupPlan:
    """Multipliers of the base learning rate and weight decay."""

    lr: float = 1.0
    weight_decay: float = 1.0


@dataclass(frozen=True)
class OptimizerPlan:
    embedding: GroupPlan = GroupPlan()
    temporal: GroupPlan = GroupPlan()
    graph: GroupPlan = GroupPlan()
    head: GroupPlan = GroupPlan()


@dataclass(frozen=True)
class NormalizerPlan:
    """Where features are normalised: once, into memory, or online: each batch on its device."""

    kind: Literal["materialised", "online"] = "materialised"


@dataclass(frozen=True)
class ExecutorPlan:
    """What happens when memory runs out: plain, training fails; robust, the same days are done in smaller pieces."""

    kind: Literal["plain", "robust"] = "plain"
    allow_bf16: bool = False
    """Round to bf16 before giving up; the one relief that is an approximation."""


@dataclass(frozen=True)
class RunPlan:
    """Which component stands in each slot of a run."""

    head: HeadPlan = HeadPlan()
    graph_attention: GraphAttentionPlan = GraphAttentionPlan()
    freq_dropout: FreqDropoutPlan | None = None
    loss: LossPlan = LossPlan()
    ema: EmaPlan | None = None
    optimizer: OptimizerPlan = OptimizerPlan()
    normalizer: NormalizerPlan = NormalizerPlan()
    executor: ExecutorPlan = ExecutorPlan()
    loggers: tuple[str, ...] = ("jsonl", "tensorboard")

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class ModelSpec:
    """All that decides the network's parameters and arithmetic; stored in the bundle.

    `num_features` F numeric inputs, `num_categories` values of the static category (0: none),
    `num_covariates` C calendar facts (0: none), `fan_top_k` frequencies taken out (0: FAN off),
    `gat_heads` (0: graph attention off), `num_heads` of the temporal attention and `lstm_layers` likewise.
    `head_layer_scale` None: no learned scale. `freq_dropout_p` 0: none. `lstm_forget_bias` None: as torch draws it.
    """

    num_features: int
    horizons: tuple[int, ...] = (1, 2, 3, 5, 10)
    window: int = 20
    num_categories: int = 0
    num_covariates: int = 0
    hidden_size: int = 64
    variable_size: int = 8
    num_heads: int = 4
    lstm_layers: int = 1
    dropout: float = 0.1
    quantiles: tuple[float, ...] = ()
    fan_top_k: int = 1
    gat_heads: int = 4
    gat_chunk_size: int | None = None
    gradient_checkpointing: bool = False
    head_init_std: float = 1e-3
    head_layer_scale: float | None = None
    gat_temperature: float = 1.0
    freq_dropout_p: float = 0.0
    freq_dropout_max_width: int = 3
    freq_dropout_rescale: bool = False
    input_expansion: Literal["none", "polynomial"] = "none"
    same_day_skip: bool = False
    blockwise: bool = False
    """In training, run the LSTM once over a block of days instead of once a window."""
    lstm_forget_bias: float | None = 1.0

    @property
    def reads_window(self) -> bool:
        """Whether a score depends on more than the features of its own day."""
        return bool(self.lstm_layers or self.num_heads or self.fan_top_k or self.freq_dropout_p)
