"""A seeded artificial market with a planted signal of known strength.

Returns of a day are `scale * (c * score + sqrt(1 - c^2) * noise)`. `score` is a function of the last `HISTORY` days
of closes and volumes alone (`oracle_score`), so the panel gives it away to who looks; `noise` is a market factor,
sector factors and heavy-tailed own moves. `c` is set such that the score's mean daily Spearman correlation with the
next day's return is `SyntheticConfig.signal`. Noise is equally wide for all stocks of a day, so nothing but the score
orders the expected ranks: no forecast can do better than the oracle.

That is the market without `SyntheticConfig.world`; with it, one of `synthetic_worlds` (docs/synthetic_market.md).
"""

import math
from functools import lru_cache

import numpy as np
import polars as pl
from jaxtyping import Float, Int
from numpy import ndarray
from scipy.stats import rankdata

from atft_gat_fan.config.schema import ColumnsConfig, SyntheticConfig
from atft_gat_fan.data.sources.base import Source, fingerprint_bytes
from atft_gat_fan.data.sources.synthetic_bound import rank_ic, strength_of
from atft_gat_fan.data.sources.synthetic_parts import (
    DAILY_SCALE,
    Market,
    autoregressive,
    listings,
    mean_of_others,
    normal_scores,
    volumes,
    with_bars,
    zscore,
)
from atft_gat_fan.data.sources.synthetic_returns import simulate
from atft_gat_fan.data.sources.synthetic_worlds import world_of

HISTORY = 21
"""Days of closes and volumes the score looks at: 20 returns."""
MIN_HISTORY = 10

# Parts of the score; the squares sum to one. The first three are the stock's own, the last needs its neighbours.
REVERSAL, VOLUME_SURPRISE, LOW_VOLATILITY, SECTOR_MOVE = -0.55, 0.50, -0.50, 0.44

# Shares of the noise variance. Tails: Student t with NOISE_DF degrees of freedom.
MARKET_SHARE, SECTOR_SHARE, NOISE_DF = 0.25, 0.15, 5.0
GENERATOR_VERSION, WORLDS_VERSION = b"1", b"world 2"
_WORLD_KEYS = {"world", "null_twin"}


def open_synthetic(config: SyntheticConfig) -> Source:
    """The market of `config` as a source; the oracle is not in it."""
    fingerprint = fingerprint_bytes([GENERATOR_VERSION, config.model_dump_json(exclude=_WORLD_KEYS).encode()])
    if config.world is not None:
        fingerprint = fingerprint_bytes([WORLDS_VERSION, config.model_dump_json().encode()])
    return Source(
        frame=synthetic_panel(config).lazy(),
        name="synthetic",
        identity=fingerprint,
        fingerprint=fingerprint,
        columns=ColumnsConfig(),
    )


def synthetic_panel(config: SyntheticConfig) -> pl.DataFrame:
    """`Date, Code, Open, High, Low, Close, Volume, sector33` on weekdays from 2015 on, one row a listed stock and day.

    Prices are positive with low <= open, close <= high; volumes are whole and positive. A share `churn` of the
    stocks is listed late or delisted early. The same configuration gives the same bits. A world's panel has six feature
    columns more (`synthetic_features.draw_features`), unitless, without missing values.
    """
    if config.world is not None:
        history = simulate(config)
        return history.market.panel(history.features)
    return _simulate(config).panel({})


def synthetic_oracle(config: SyntheticConfig) -> pl.DataFrame:
    """`date, code, oracle_1d`: the planted score of every listed stock, standard normal within the day.

    The score of day t is computed from the panel's closes and volumes of days t-20..t. Its mean daily Spearman
    correlation with the return of day t+1 is `config.signal` (within 0.02 over 1,000 days of 100 stocks). In a world it
    is Z, of the panel's features of those days; what the spurious line adds while it lasts is not in it.
    """
    if config.world is not None:
        history = simulate(config)
        return history.market.oracle(history.scores)
    market = _simulate(config)
    scores = np.full_like(market.close, np.nan)
    for day in range(len(market.days)):
        first = max(day + 1 - HISTORY, 0)
        scores[day] = oracle_score(market.close[first : day + 1], market.volume[first : day + 1], market.sector)
    return market.oracle(scores)


def oracle_rank_ic(config: SyntheticConfig) -> float:
    """The mean daily RankIC@1d of the oracle over many stocks and days: the most that can be reached, unitless.

    In a world the integral of `synthetic_bound.rank_ic` at the strength of its signal, in the default market the
    loading's own target. With N stocks it is N / (N + 1) of it; of days with the spurious line it says nothing.
    """
    if config.world is None:
        return config.signal
    world = world_of(config)
    return rank_ic(world, config.num_stocks, strength_of(world, config.num_stocks, config.signal))


def oracle_score(
    close: Float[ndarray, "history stocks"], volume: Float[ndarray, "history stocks"], sector: Int[ndarray, " stocks"]
) -> Float[ndarray, " stocks"]:
    """Score of the last day of the history given, standard normal over the stocks listed that day, NaN for the others.

    Own last return reversed, volume above its mean, low volatility (slow, so that longer horizons carry some of it),
    and the last move of the sector's other stocks; a part that is not known yet counts as average.
    """
    listed = np.isfinite(close[-1])
    score = np.full(len(listed), np.nan)
    if not listed.any():
        return score
    returns = np.diff(np.log(close[:, listed]), axis=0)
    log_volume = np.log(volume[:, listed])
    last = returns[-1] if len(returns) else np.full(listed.sum(), np.nan)
    known = np.isfinite(returns).sum(axis=0) >= MIN_HISTORY
    surprise = np.full(listed.sum(), np.nan)
    volatility = np.full(listed.sum(), np.nan)
    surprise[known] = log_volume[-1, known] - np.nanmean(log_volume[:, known], axis=0)
    volatility[known] = np.nanstd(returns[:, known], axis=0)
    total = (
        REVERSAL * zscore(last)
        + VOLUME_SURPRISE * zscore(surprise)
        + LOW_VOLATILITY * zscore(volatility)
        + SECTOR_MOVE * zscore(mean_of_others(last, sector[listed]))
    )
    score[listed] = normal_scores(total)
    return score


@lru_cache(maxsize=4)
def _simulate(config: SyntheticConfig) -> Market:
    T, N = config.num_days, config.num_stocks
    rng = np.random.default_rng(config.seed)
    sector = np.arange(N) % min(config.num_sectors, N)
    listed = listings(config, rng)
    noise = _noise(rng, T, sector)
    scale = DAILY_SCALE * np.exp(0.3 * autoregressive(rng, T, 1, persistence=0.97))
    volume = volumes(rng, T, N)
    loading = signal_loading(config.signal)

    log_close = np.full((T, N), np.nan)
    returns = np.zeros((T, N))
    first_log_close = rng.normal(np.log(50.0), 0.6, size=N)
    for day in range(T):
        if day:
            first = max(day - HISTORY, 0)
            score = oracle_score(np.exp(log_close[first:day]), volume[first:day], sector)
            planted = np.where(np.isfinite(score), score, 0.0)
            returns[day] = scale[day] * (loading * planted + np.sqrt(1 - loading**2) * noise[day])
        before = log_close[day - 1] if day else np.full(N, np.nan)
        log_close[day] = np.where(np.isfinite(before), before + returns[day], first_log_close)
        log_close[day, ~listed[day]] = np.nan
        volume[day, ~listed[day]] = np.nan
    return with_bars(rng, log_close, returns, scale, volume, sector)


def _noise(rng: np.random.Generator, T: int, sector: Int[ndarray, " stocks"]) -> Float[ndarray, "days stocks"]:
    """Unit-variance returns nobody can forecast: market with betas around 1, sectors, own Student t."""
    N = len(sector)
    beta = rng.normal(1.0, 0.25, size=N)
    market = rng.standard_normal((T, 1))
    sectors = rng.standard_normal((T, sector.max() + 1))[:, sector]
    own = rng.standard_t(NOISE_DF, size=(T, N)) / np.sqrt(NOISE_DF / (NOISE_DF - 2))
    own_share = 1 - MARKET_SHARE - SECTOR_SHARE
    common = math.sqrt(MARKET_SHARE) * beta * market + math.sqrt(SECTOR_SHARE) * sectors
    noise: Float[ndarray, "days stocks"] = common + math.sqrt(own_share) * own
    return noise


@lru_cache(maxsize=16)
def signal_loading(signal: float) -> float:
    """The share c of the score in the returns at which their mean daily Spearman correlation is `signal`.

    There is no closed form with heavy tails and shared factors, so it is bisected on 300 days of 300 stocks of the
    same noise under a standard normal score (standard error 0.003), drawn once: c depends on `signal` alone.
    """
    rng = np.random.default_rng(0)
    T, N = 300, 300
    noise = _noise(rng, T, np.arange(N) % 10)
    score = rng.standard_normal((T, N))
    score_ranks = rankdata(score, axis=1)

    def spearman(loading: float) -> float:
        ranks = rankdata(loading * score + np.sqrt(1 - loading**2) * noise, axis=1)
        return float(np.mean([np.corrcoef(a, b)[0, 1] for a, b in zip(score_ranks, ranks, strict=True)]))

    low, high = 0.0, 1.0
    for _ in range(14):
        middle = (low + high) / 2
        low, high = (middle, high) if spearman(middle) < signal else (low, middle)
    return 0.0 if signal == 0 else high if signal == 1 else (low + high) / 2
