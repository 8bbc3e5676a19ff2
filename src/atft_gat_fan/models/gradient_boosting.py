"""Gradient-boosted trees on single stock-days: LightGBM, deterministic, one booster a horizon.

Ke et al. 2017, "LightGBM: a highly efficient gradient boosting decision tree". The baseline of every evaluation and the
network's partner in a blend are both trained here. A booster is its text (`Booster.text`): what is scored with is what
was read back from it, so that a model in memory and the same model from a file give the same bits.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from atft_gat_fan.errors import ConfigError
from atft_gat_fan.models.booster_text import END, check_booster_text

Progress = Callable[[float], None]
"""Told the share that is done, again and again; may raise to stop the work."""


@dataclass(frozen=True)
class LightGBMParams:
    """Settings of LightGBM; `max_rows` keeps the newest training days that fit."""

    num_rounds: int = 200
    learning_rate: float = 0.05
    num_leaves: int = 31
    min_data_in_leaf: int = 200
    feature_fraction: float = 0.8
    bagging_fraction: float = 0.8
    max_rows: int = 1_000_000

    def settings(self, *, num_threads: int, seed: int) -> dict[str, Any]:
        """As LightGBM names them."""
        return {
            "objective": "regression",
            "learning_rate": self.learning_rate,
            "num_leaves": self.num_leaves,
            "min_data_in_leaf": self.min_data_in_leaf,
            "feature_fraction": self.feature_fraction,
            "bagging_fraction": self.bagging_fraction,
            "bagging_freq": 1,
            "deterministic": True,
            "force_row_wise": True,
            "num_threads": num_threads,
            "seed": seed,
            "verbosity": -1,
        }


def load_lightgbm(otherwise: str) -> Any:
    """The package, whose shared library may not load here.

    Raises ConfigError that says so and how to mend it, `otherwise` being how to do without.
    """
    try:
        import lightgbm
    except (ImportError, OSError) as error:
        raise ConfigError(
            f"LightGBM does not load ({error}); install its OpenMP library (`apt-get install libgomp1`, "
            f"`brew install libomp`) or {otherwise}"
        ) from error
    return lightgbm


@dataclass(frozen=True)
class Booster:
    """Trees of one horizon. `text` is LightGBM's own format up to the end of the trees, checked when made.

    Raises ValueError for any other text, in words that follow "found".
    """

    text: str
    num_features: int
    gain: Float[NDArray[np.float64], " features"] = field(init=False, compare=False, repr=False)
    """Of each feature: by how much its splits lowered the squared error on the training rows, summed."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "gain", check_booster_text(self.text, self.num_features))

    @cached_property
    def _trees(self) -> Any:
        return load_lightgbm("use another model").Booster(model_str=self.text)

    def load(self) -> None:
        """Make ready to score. Raises ConfigError where LightGBM does not load."""
        assert self._trees is not None

    def score(
        self, features: Float[NDArray[np.float32], "rows features"], num_threads: int
    ) -> Float[NDArray[np.float64], " rows"]:
        """Row by row: the bits of a row depend on it alone. Raises ConfigError where LightGBM does not load."""
        return np.asarray(self._trees.predict(features, num_threads=num_threads), dtype=np.float64)


def train_booster(
    features: Float[NDArray[np.float32], "rows features"],
    target: Float[NDArray[np.floating], " rows"],
    params: LightGBMParams,
    *,
    num_threads: int,
    seed: int,
    progress: Progress,
    otherwise: str,
) -> Booster:
    """Learn `target` by least squares. Both finite; bit-identical for the same inputs, version and threads.

    `progress` is told after each round. Raises ConfigError where LightGBM does not load.
    """
    lightgbm = load_lightgbm(otherwise)
    settings = params.settings(num_threads=num_threads, seed=seed)

    def after_round(environment: Any) -> None:
        progress((environment.iteration + 1) / params.num_rounds)

    dataset = lightgbm.Dataset(features, label=target, params=settings)
    trained = lightgbm.train(settings, dataset, num_boost_round=params.num_rounds, callbacks=[after_round])
    trees, end, _ = str(trained.model_to_string()).partition(END)
    return Booster(trees + end, features.shape[1])
