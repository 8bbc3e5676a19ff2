"""A world's history: features, the score of them, and returns = factors + s Z + σ ε; docs/synthetic_market.md."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from atft_gat_fan.config.schema import SyntheticConfig
from atft_gat_fan.data.sources.synthetic_bound import strength_of
from atft_gat_fan.data.sources.synthetic_features import (
    Features,
    draw_features,
    line_days,
    planted_scores,
    spurious_scores,
)
from atft_gat_fan.data.sources.synthetic_parts import DAILY_SCALE, Market, listings, volumes, with_bars
from atft_gat_fan.data.sources.synthetic_worlds import (
    JUMP_CHANCE,
    JUMP_SIZE,
    LINE_STRENGTH,
    MARKET_SHARE,
    REGIME_DAYS,
    STRESS_DAYS,
    STRESS_SCALE,
    World,
    num_groups,
    world_of,
)

STREAMS = ("listings", "groups", "prices", "volumes", "bars", "market", "groups' moves", "own moves", "regimes")
NUM_FEATURE_STREAMS = 6


@dataclass(frozen=True)
class History:
    """`features` and `scores` (Z) are [days, stocks], NaN where a stock is not listed; `group` [stocks] is hidden."""

    market: Market
    features: Features
    scores: Float[ndarray, "days stocks"]
    group: Int[ndarray, " stocks"]


@lru_cache(maxsize=4)
def simulate(config: SyntheticConfig) -> History:
    """The history of `config.world`, the same bits for the same configuration.

    Every part draws from a stream of its own, seeded by `config.seed` and its place: a world and its twin share all
    draws that both need, and the features and closes of a longer history begin with those of the shorter one
    (without churn and spurious line, whose days are shares of all).
    """
    T, N, world = config.num_days, config.num_stocks, world_of(config)
    of = {name: np.random.default_rng([config.seed, place]) for place, name in enumerate(STREAMS)}
    of_features = [np.random.default_rng([config.seed, len(STREAMS) + i]) for i in range(NUM_FEATURE_STREAMS)]
    listed = listings(config, of["listings"])
    group = of["groups"].permutation(N) % num_groups(N)
    features = draw_features(of_features, world, listed, group)
    scores = planted_scores(features, group, world)

    scale = _scale(of["regimes"], world, T)
    own = of["own moves"]
    noise = np.sqrt(MARKET_SHARE) * of["market"].standard_normal((T, 1))
    noise = noise + np.sqrt(world.group_share) * of["groups' moves"].standard_normal((T, num_groups(N)))[:, group]
    noise += np.sqrt(world.own_share) * _own_moves(own, world, T, N)
    strength = strength_of(world, N, config.signal)
    planted = strength * np.where(np.isfinite(scores), scores, 0.0)
    if world.spurious_line:
        until = line_days(T)
        planted[:until] += LINE_STRENGTH * strength * spurious_scores(features)[:until]
    returns = DAILY_SCALE * scale * noise
    returns[1:] += DAILY_SCALE * planted[:-1]
    returns[0] = 0.0

    log_close = of["prices"].normal(np.log(50.0), 0.6, size=N) + np.cumsum(returns, axis=0)
    volume = volumes(of["volumes"], T, N)
    log_close[~listed] = volume[~listed] = np.nan
    sector = np.arange(N) % min(config.num_sectors, N)
    return History(
        with_bars(of["bars"], log_close, returns, DAILY_SCALE * scale, volume, sector), features, scores, group
    )


def _own_moves(rng: np.random.Generator, world: World, T: int, N: int) -> Float[ndarray, "days stocks"]:
    """Normal; or Student's t with 3 degrees of freedom, over its standard deviation, some of it blown up to jumps."""
    if not world.heavy_tails:
        return rng.standard_normal((T, N))
    # Normal over chi, drawn side by side day by day, so that a longer history begins with the shorter one.
    draws = rng.standard_normal((T, 4, N))
    student: Float[ndarray, "days stocks"] = draws[:, 0] / np.linalg.norm(draws[:, 1:], axis=1)
    jumps = rng.spawn(1)[0].random((T, N)) < JUMP_CHANCE
    return np.asarray(np.where(jumps, JUMP_SIZE, 1.0) * student)


def _scale(rng: np.random.Generator, world: World, T: int) -> Float[ndarray, "days 1"]:
    """σ of every day. Every stretch has the same share of stressed days, so that E[1/σ] holds for short histories."""
    scale = np.ones((T, 1))
    if world.regimes:
        for first in range(0, T, REGIME_DAYS):
            start = first + int(rng.integers(0, REGIME_DAYS - STRESS_DAYS + 1))
            scale[start : start + STRESS_DAYS] = STRESS_SCALE
    return scale
