"""What to build, with no switches in it: the vocabulary between configuration and construction.

`RunPlan()` is the system with every improvement off. Each top-level field is one slot, and one
top-level key of a run's `plan.json`.
"""

from dataclasses import asdict, dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class LossPlan:
    kind: Literal["mse"] = "mse"


@dataclass(frozen=True)
class NormalizerPlan:
    kind: Literal["materialised"] = "materialised"


@dataclass(frozen=True)
class ExecutorPlan:
    kind: Literal["plain"] = "plain"


@dataclass(frozen=True)
class RunPlan:
    """Which component stands in each slot of a run."""

    loss: LossPlan = LossPlan()
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
    `gat_heads` (0: graph attention off).
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
