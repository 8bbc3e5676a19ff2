"""A network and LightGBM as one model: the weighted mean of their ranks within each day.

Ranks, because the two speak in different units and only the order counts; the same reason that ensembles of networks
are averaged by rank (`inference.ensemble`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from scipy.stats import rankdata

from atft_gat_fan.models.gradient_boosting import Booster
from atft_gat_fan.statistics.rank_combination import ChosenWeight, combined_ranks, scaled_ranks

NETWORK, LIGHTGBM = "network", "lightgbm"
"""Names of the parts."""
PARTS = (NETWORK, LIGHTGBM)


@dataclass(frozen=True, eq=False)
class Blend:
    """LightGBM's part of a model, and the network's weight at each horizon.

    `boosters` [horizons][seeds]; several seeds are averaged by their ranks. `grid` are the weights that were tried,
    `settings` what LightGBM was trained with and on, for people to read.
    """

    horizons: tuple[int, ...]
    weights: tuple[ChosenWeight, ...]
    grid: tuple[float, ...]
    boosters: tuple[tuple[Booster, ...], ...]
    settings: Mapping[str, Any]

    def load(self) -> None:
        """Make ready to score. Raises ConfigError where LightGBM does not load."""
        for boosters in self.boosters:
            for booster in boosters:
                booster.load()

    @property
    def network_weights(self) -> Float[NDArray[np.float64], " horizons"]:
        return np.array([weight.weight for weight in self.weights])

    @property
    def weight_by_horizon(self) -> dict[str, float]:
        """Of the network, by `{h}d`."""
        return {f"{horizon}d": weight.weight for horizon, weight in zip(self.horizons, self.weights, strict=True)}

    @property
    def gain(self) -> Float[NDArray[np.float64], "features horizons"]:
        """Share of each feature in what all splits of a horizon gained; 0 where nothing was split."""
        sums = np.stack([sum((booster.gain for booster in seeds), np.array(0.0)) for seeds in self.boosters], axis=1)
        total = sums.sum(axis=0)
        shares: Float[NDArray[np.float64], "features horizons"] = np.divide(
            sums, total, out=np.zeros_like(sums), where=total > 0
        )
        return shares

    def lightgbm_ranks(
        self, features: Float[NDArray[np.float32], "stocks features"], num_threads: int
    ) -> Float[NDArray[np.float32], "stocks horizons"]:
        """Of one day's stocks, from 0 to 1 (the best)."""
        # Average ranks are multiples of one half: their sums are exact, ties and all. Ranked again, since a mean of
        # ranks is less spread than ranks are, and would weigh less than its weight.
        summed = np.zeros((len(features), len(self.horizons)))
        for boosters in zip(*self.boosters, strict=True):
            summed += rankdata(np.stack([booster.score(features, num_threads) for booster in boosters], axis=1), axis=0)
        return scaled_ranks(summed)

    def of_day(
        self,
        network: Float[NDArray[np.float32], "stocks horizons"],
        features: Float[NDArray[np.float32], "stocks features"],
        num_threads: int,
    ) -> dict[str, Float[NDArray[np.float32], "stocks horizons"]]:
        """The parts' ranks among one day's stocks, by name. Stocks without finite network scores have NaN and are not
        ranked among.

        network: the network's scores; features normalised, of the day itself, missing = 0.
        """
        known = np.isfinite(network).all(axis=1)
        ranks = {
            NETWORK: scaled_ranks(network[known]),
            LIGHTGBM: self.lightgbm_ranks(features[known], num_threads) if known.any() else network[known],
        }
        placed = {name: np.full(network.shape, np.nan, np.float32) for name in PARTS}
        for name, values in ranks.items():
            placed[name][known] = values
        return placed

    def combined(
        self, parts: Mapping[str, Float[NDArray[np.float32], "*stocks horizons"]]
    ) -> Float[NDArray[np.float32], "*stocks horizons"]:
        """Scores from the parts' ranks, in [0, 1]."""
        return combined_ranks(parts[NETWORK], parts[LIGHTGBM], self.network_weights)
