"""What the panel of a world shows, and the score Z of it that moves the next day's returns."""

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray

from atft_gat_fan.data.sources.synthetic_parts import autoregressive, mean_of_others, normal_scores, zscore
from atft_gat_fan.data.sources.synthetic_worlds import (
    CARRIERS,
    DRIFT_DOUBLING,
    LEVEL_STEP,
    LINE_SHARE,
    World,
)

Features = dict[str, Float[ndarray, "days stocks"]]

FILTER_DAYS = 20
WAVE_PERIOD, LINE_PERIOD = 5, 4
"""Days. They divide `FILTER_DAYS`, so that the filters see no constant, nor the other's frequency."""
WAVE_NOISE, LINE_NOISE = 0.5, 0.3
SLOW_PERSISTENCE, ENVELOPE_PERSISTENCE = 0.97, 0.98


def line_days(num_days: int) -> int:
    """The first so many days have the spurious line."""
    return round(LINE_SHARE * num_days)


def draw_features(
    streams: list[np.random.Generator],
    world: World,
    listed: Bool[ndarray, "days stocks"],
    group: Int[ndarray, " stocks"],
) -> Features:
    """The feature columns, every world has the same six: NaN where a stock is not listed.

    `slow_1`, `slow_2`: persistent. `news`: new every day. `coverage`: 1 for three stocks of a group, -1 for the others.
    `wave`: a cycle of five days, each stock's of its own phase and amplitude, which wander; noise; and the drifting
    level. `line`: with the spurious line a cycle of four days and little noise, after it or without it noise as wide.
    Each takes a random stream of its own, so that worlds differ in nothing but their parts.
    """
    T, N = listed.shape
    slow_1, slow_2, news, wave, level, line = streams
    features = {
        "slow_1": autoregressive(slow_1, T, N, persistence=SLOW_PERSISTENCE),
        "slow_2": autoregressive(slow_2, T, N, persistence=SLOW_PERSISTENCE),
        "news": news.standard_normal((T, N)),
        "coverage": np.tile(np.where(_rank_in_group(group) < CARRIERS, 1.0, -1.0), (T, 1)),
        "wave": _cycle(wave, T, N, WAVE_PERIOD, WAVE_NOISE),
        "line": np.hypot(1.0, LINE_NOISE) * line.standard_normal((T, N)),
    }
    if world.level_drift:
        features["wave"] += LEVEL_STEP * np.cumsum(level.standard_normal((T, N)), axis=0)
    if world.spurious_line:
        until = line_days(T)
        features["line"][:until] = _cycle(line, until, N, LINE_PERIOD, LINE_NOISE)
    if world.scale_drift:
        scale = np.exp2(np.arange(T) / DRIFT_DOUBLING)[:, None]
        features = {name: values * scale for name, values in features.items()}
    return {name: np.where(listed, values, np.nan) for name, values in features.items()}


def planted_scores(features: Features, group: Int[ndarray, " stocks"], world: World) -> Float[ndarray, "days stocks"]:
    """Z of every day from the features of that day and the 19 before it: standard normal over the day's listed stocks.

    The weighted sum of the parts, each standardised within the day, turned into normal scores. A part that is not known
    yet counts as average; NaN where a stock is not listed.
    """
    spilling = features["news"] if not world.decoys else np.where(features["coverage"] > 0, features["news"], np.nan)
    parts = (
        (world.slow, _slow(features)),
        (world.spill_over, _mean_of_mates(spilling, group)),
        (world.periodic, band_forecast(features["wave"], WAVE_PERIOD)),
    )
    listed = np.isfinite(features["news"])
    scores = np.full(listed.shape, np.nan)
    for day, here in enumerate(listed):
        if here.any():
            total = sum(weight * zscore(part[day, here]) for weight, part in parts if weight)
            scores[day, here] = normal_scores(np.asarray(total))
    return scores


def spurious_scores(features: Features) -> Float[ndarray, "days stocks"]:
    """What the line adds to the next day's return, standardised within the day, unknown counting as average."""
    forecast = band_forecast(features["line"], LINE_PERIOD)
    return np.stack([zscore(day) for day in forecast])


def band_forecast(series: Float[ndarray, "days stocks"], period: int) -> Float[ndarray, "days stocks"]:
    """Tomorrow's value of the cycle of `period` days in the last 20 days of a series, NaN where one is missing.

    The projection on that one frequency (Goertzel), a step ahead: 2/20 Σ_s x[t-s] cos(2π (s+1) / period).
    """
    forecast = np.full_like(series, np.nan)
    if len(series) >= FILTER_DAYS:
        back = np.arange(FILTER_DAYS - 1, -1, -1)
        kernel = 2 / FILTER_DAYS * np.cos(2 * np.pi * (back + 1) / period)
        windows = np.lib.stride_tricks.sliding_window_view(series, FILTER_DAYS, axis=0)
        forecast[FILTER_DAYS - 1 :] = (windows * kernel).sum(axis=-1)
    return forecast


def _slow(features: Features) -> Float[ndarray, "days stocks"]:
    """0.8 of the first and 0.6 of the second's square: a part of it no linear model finds."""
    first, second = (np.stack([zscore(day) for day in features[name]]) for name in ("slow_1", "slow_2"))
    return np.asarray(0.8 * first + 0.6 * (second**2 - 1) / np.sqrt(2))


def _mean_of_mates(
    values: Float[ndarray, "days stocks"], group: Int[ndarray, " stocks"]
) -> Float[ndarray, "days stocks"]:
    return np.stack([mean_of_others(day, group) for day in values])


def _cycle(rng: np.random.Generator, T: int, N: int, period: int, noise: float) -> Float[ndarray, "days stocks"]:
    """Of unit variance, its two amplitudes wandering; and white noise of the standard deviation given."""
    of_cosine, of_sine, of_noise = rng.spawn(3)  # so that more days change nothing of the first
    cosine = autoregressive(of_cosine, T, N, persistence=ENVELOPE_PERSISTENCE)
    sine = autoregressive(of_sine, T, N, persistence=ENVELOPE_PERSISTENCE)
    angle = 2 * np.pi * np.arange(T)[:, None] / period
    cycle = cosine * np.cos(angle) + sine * np.sin(angle) + noise * of_noise.standard_normal((T, N))
    return np.asarray(cycle)


def _rank_in_group(group: Int[ndarray, " stocks"]) -> Int[ndarray, " stocks"]:
    return np.array([np.count_nonzero(group[:stock] == group[stock]) for stock in range(len(group))])
