"""Made-up days of a healthy market: stocks of a day move together, and days resemble the day before."""

from dataclasses import dataclass, replace
from datetime import date, timedelta

import numpy as np

from atft_gat_fan.monitoring.daily_histograms import Bins
from atft_gat_fan.monitoring.observations import GRAPH_DEGREE, NAN_SHARE, SCORED_SHARE, Observations

HORIZONS = (1, 2, 5)
RANK_IC, RANK_IC_DEVIATION = 0.05, 0.1


def waves(rng, num_days, persistence, deviation):
    """AR(1) series [days, kinds] of the given standard deviations."""
    persistence, deviation = np.broadcast_arrays(persistence, deviation)
    shocks = rng.standard_normal((num_days, len(persistence)))
    series = np.empty_like(shocks)
    series[0] = shocks[0]
    for day in range(1, num_days):
        series[day] = persistence * series[day - 1] + np.sqrt(1 - persistence**2) * shocks[day]
    return series * deviation


@dataclass
class Market:
    """Values of features and predictions [days, stocks, kinds], numbers [days] and RankIC [days] by name."""

    features: np.ndarray
    predictions: np.ndarray
    numbers: dict
    rank_ic: dict

    @classmethod
    def healthy(cls, seed, num_days, num_features=20, num_stocks=100):
        rng = np.random.default_rng(seed)
        persistence = np.linspace(0.0, 0.8, num_features)
        features = _moving_together(
            rng, num_days, num_stocks, persistence, np.linspace(0.05, 0.3, num_features),
            np.linspace(0.03, 0.15, num_features),
        )  # fmt: skip
        predictions = _moving_together(
            rng, num_days, num_stocks, np.full(len(HORIZONS), 0.5), np.full(len(HORIZONS), 0.05),
            np.full(len(HORIZONS), 0.1),
        )  # fmt: skip
        correlation, degree = waves(rng, num_days, [0.5, 0.9], [0.05, 0.5]).T
        numbers = {
            **{f"rank_correlation_{h}d": np.clip(0.8 + correlation, -1, 1) for h in HORIZONS},
            SCORED_SHARE: np.ones(num_days),
            NAN_SHARE: 0.02 + np.abs(waves(rng, num_days, [0.3], [0.003])[:, 0]),
            GRAPH_DEGREE: 6 + degree,
        }
        return cls(features, predictions, numbers, _rank_ic(rng, num_days))

    def observed(self, days, bins=None, names=None):
        """Observations of some of the days; `bins` by default such as these days suggest."""
        values = {"raw_features": self.features[days], "predictions": self.predictions[days]}
        families = {}
        for family, of_days in values.items():
            num_days, num_stocks, kinds = of_days.shape
            labels = tuple(f"f{kind}" if family == "raw_features" else f"{HORIZONS[kind]}d" for kind in range(kinds))
            rows = [(np.repeat(np.arange(num_days), num_stocks), of_days.reshape(-1, kinds))]
            its_bins = Bins.of(labels, rows, num_days * num_stocks) if bins is None else bins[family]
            families[family] = its_bins.count(rows, num_days)
        first = date(2000, 1, 1)
        positions = range(len(self.features))[days]
        return Observations(
            days=tuple(str(first + timedelta(days=position)) for position in positions),
            stocks=np.full(len(positions), self.features.shape[1]),
            families=families,
            numbers={name: series[days] for name, series in self.numbers.items()},
            rank_ic={name: series[days] for name, series in self.rank_ic.items()},
            unavailable={"standardised_features": "nothing is standardised within the day"},
        )

    def with_(self, **changes):
        return replace(self, **changes)


def bins_of(observations):
    return {family: histograms.bins for family, histograms in observations.families.items()}


def _moving_together(rng, num_days, num_stocks, persistence, of_means, of_scales):
    """Heavy-tailed values; the day's mean and the log of its spread move with persistence, for all stocks alike."""
    means, scales = (waves(rng, num_days, persistence, deviation) for deviation in (of_means, of_scales))
    values = rng.standard_t(5, (num_days, num_stocks, len(persistence))) / np.sqrt(5 / 3)
    return (values * np.exp(scales)[:, None] + means[:, None]).astype(np.float32)


def _rank_ic(rng, num_days):
    """Of labels over h days: the mean of h daily parts, so that neighbours resemble each other."""
    longest = max(HORIZONS)
    parts = rng.standard_normal(num_days + longest)
    return {
        f"{h}d": RANK_IC + RANK_IC_DEVIATION * np.convolve(parts, np.ones(h) / np.sqrt(h))[longest : longest + num_days]
        for h in HORIZONS
    }
