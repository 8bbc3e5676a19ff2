"""Each part of a world can be learned from what the panel shows, and only by what looks where the part is.

Run with -s it prints the table of docs/synthetic_market.md.
"""

import lightgbm
import numpy as np
import pytest
from scipy.stats import rankdata

from atft_gat_fan.config.schema import SyntheticConfig
from atft_gat_fan.data.sources.synthetic import synthetic_oracle, synthetic_panel
from atft_gat_fan.data.sources.synthetic_features import FILTER_DAYS
from atft_gat_fan.data.sources.synthetic_parts import mean_of_others
from atft_gat_fan.data.sources.synthetic_returns import simulate
from atft_gat_fan.data.sources.synthetic_worlds import WORLDS

STOCKS, DAYS = 100, 900
TRAIN, TEST = slice(FILTER_DAYS, 640), slice(770, DAYS - 1)
OWN = ("slow_1", "slow_2", "news", "coverage")


def of_day(values: np.ndarray) -> np.ndarray:
    """Standardised within the day."""
    return (values - values.mean(axis=1, keepdims=True)) / values.std(axis=1, keepdims=True)


def rank_ic(scores: np.ndarray, label: np.ndarray) -> float:
    ranks = of_day(rankdata(scores, axis=1)), of_day(rankdata(label, axis=1))
    return float((ranks[0] * ranks[1]).mean())


def inputs(config: SyntheticConfig) -> dict[str, list[np.ndarray]]:
    """What a model may look at: the stock's own columns of the day, their history, the news of mates and carriers."""
    panel, group = synthetic_panel(config), simulate(config).group
    columns = {name: panel[name].to_numpy().reshape(DAYS, STOCKS) for name in (*OWN, "wave", "line")}
    carried = np.where(columns["coverage"] > 0, columns["news"], np.nan)
    return {
        "own": [columns[name] for name in OWN],
        "history": [np.roll(columns[name], lag, axis=0) for name in ("wave", "line") for lag in range(FILTER_DAYS)],
        "mates": [np.stack([mean_of_others(day, group) for day in columns["news"]])],
        "carriers": [np.stack([mean_of_others(day, group) for day in carried])],
    }


def reached(columns: list[np.ndarray], label: np.ndarray) -> float:
    """Test RankIC of LightGBM on the training days' ranks."""
    x = np.stack([of_day(column) for column in columns], axis=-1)[:-1]
    model = lightgbm.LGBMRegressor(
        n_estimators=150, learning_rate=0.05, num_leaves=15, min_child_samples=200, n_jobs=1, verbose=-1, random_state=0
    )
    model.fit(x[TRAIN].reshape(-1, len(columns)), of_day(rankdata(label, axis=1))[TRAIN].ravel())
    return rank_ic(model.predict(x[TEST].reshape(-1, len(columns))).reshape(-1, STOCKS), label[TEST])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:X does not have valid feature names")
@pytest.mark.parametrize("world", WORLDS)
def test_a_part_is_learned_where_it_is_shown(world: str) -> None:
    config = SyntheticConfig(world=world, num_stocks=STOCKS, num_days=DAYS, churn=0, signal=0.2)
    label = np.diff(synthetic_panel(config)["Close"].log().to_numpy().reshape(DAYS, STOCKS), axis=0)
    oracle = rank_ic(synthetic_oracle(config)["oracle_1d"].to_numpy().reshape(DAYS, STOCKS)[:-1][TEST], label[TEST])
    shown = inputs(config)
    own = reached(shown["own"], label) / oracle
    history = reached(shown["own"] + shown["history"], label) / oracle
    mates = reached(shown["own"] + shown["mates"], label) / oracle
    carriers = reached(shown["own"] + shown["carriers"], label) / oracle
    print(f"\n| `{world}` | {oracle:.3f} | {own:.0%} | {history:.0%} | {mates:.0%} | {carriers:.0%} |")
    if world in ("heavy_tails", "regimes", "scale_drift"):
        assert own > 0.9
    elif world == "spill_over":
        assert own < 0.75 < 0.85 < mates
        assert carriers < mates - 0.2
    elif world == "decoys":
        assert own < 0.75 < 0.85 < carriers
        assert mates < carriers - 0.1
    elif world == "periodic":
        assert own < 0.65
        assert history > own + 0.2
    elif world == "spurious_line":
        assert own > 0.9
        assert history < own - 0.05
    else:
        assert own < 0.75
        assert own + 0.05 < mates < carriers
