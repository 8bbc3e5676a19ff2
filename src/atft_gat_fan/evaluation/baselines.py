"""What any quant would try first: reversal, momentum, ridge and LightGBM on the same features and days.

Every baseline is deterministic, and learns from the labels of the training days alone. One that cannot run
says why and how to mend it instead of failing the evaluation.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray

from atft_gat_fan.data.stock_days import (
    LabelTransform,
    Rows,
    StockDayPanel,
    UnlabelledError,
    column_of,
    gather,
    labelled_rows,
    rows_where,
)
from atft_gat_fan.errors import ConfigError
from atft_gat_fan.models.gradient_boosting import LightGBMParams, Progress, load_lightgbm, train_booster

__all__ = ["BaselineData", "BaselineName", "Baselines", "LightGBMParams", "baseline_scores"]

BaselineName = Literal["reversal", "momentum", "ridge", "lightgbm"]
Scorer = Callable[[NDArray[np.float32]], NDArray[np.floating]]
"""Features [rows, features] -> scores [rows]."""
Fit = Callable[[NDArray[np.float32], NDArray[np.floating], Progress], Scorer]
"""Features [rows, features], target [rows]."""

MOMENTUM_LOOKBACK = 252
MOMENTUM_SKIP = 21
MOMENTUM_MIN_RETURNS = 60
RIDGE_ALPHA = 0.01
"""Penalty per training row (scikit-learn's alpha is this times the rows), for features of unit variance."""

NO_RETURNS = "trailing 1-day returns are unknown; give the panel prices or a trailing return column (data.columns)"
SHORT_HISTORY = (
    f"no stock has {MOMENTUM_MIN_RETURNS} returns between {MOMENTUM_LOOKBACK} and {MOMENTUM_SKIP} days before a "
    "predicted day; start the panel earlier (data.start)"
)
LEAVE_IT_OUT = "leave it out (evaluation.baselines)"


FITTING = 0.9
"""Share of a learner's time that is fitting, about; scoring is the rest."""
ROWS_AT_A_TIME = 2**16
"""A multiple of the rows that a matrix product takes together: cut elsewhere, the last digit of a score could move."""


@dataclass(frozen=True)
class BaselineData:
    """`train_days` and `predict_days` are increasing positions of the panel's days."""

    panel: StockDayPanel
    train_days: Int[NDArray[np.int64], " train_days"]
    predict_days: Int[NDArray[np.int64], " days"]

    def column(self, name: str, days: NDArray[np.int64]) -> NDArray[Any]:
        """A column over some days, which need not follow each other."""
        return column_of(self.panel, name, days)


@dataclass(frozen=True)
class Baselines:
    """`scores` [days, stocks, horizons] float32 by name, NaN where a stock cannot be scored; `unavailable` by name."""

    scores: dict[str, Float[NDArray[np.float32], "days stocks horizons"]]
    unavailable: dict[str, dict[str, str]]


class _UnavailableError(Exception):
    """A baseline that cannot run here; its message says why and how to mend it."""


def baseline_scores(
    data: BaselineData,
    names: Sequence[BaselineName],
    *,
    label_transform: LabelTransform,
    lightgbm: LightGBMParams | None = None,
    num_threads: int = 1,
    seed: int = 0,
    progress: Callable[[str, float], None] | None = None,
) -> Baselines:
    """Score `data.predict_days` by each named baseline.

    `label_transform` is the model's own, used by LightGBM; ridge regresses on labels standardised within the
    day. Only rows of the training and the predicted days are read, the latter a part at a time. Bit-identical for
    the same inputs, versions and `num_threads`. `progress` is told the name of a baseline and the share of it that is
    done; what it raises stops the work.
    """
    lightgbm = lightgbm or LightGBMParams()
    run: Mapping[str, Callable[[Progress], NDArray[np.float32]]] = {
        "reversal": lambda told: _every_horizon(data, _reversal(data)),
        "momentum": lambda told: _every_horizon(data, _momentum(data)),
        "ridge": lambda told: _ridge(data, lightgbm.max_rows, told),
        "lightgbm": lambda told: _lightgbm(data, label_transform, lightgbm, num_threads, seed, told),
    }
    result = Baselines({}, {})
    for name in names:
        told = partial(progress or _ignore, name)
        told(0.0)
        try:
            result.scores[name] = run[name](told)
        except _UnavailableError as reason:
            result.unavailable[name] = {"unavailable": str(reason)}
    return result


def _ignore(name: str, share: float) -> None:
    pass


def _every_horizon(data: BaselineData, score: NDArray[np.floating]) -> NDArray[np.float32]:
    """One score for all horizons, NaN where the stock is absent."""
    if len(data.predict_days):
        score = np.where(data.column("present", data.predict_days), score, np.nan)
    return np.repeat(score.astype(np.float32)[..., None], data.panel.num_horizons, axis=2)


def _reversal(data: BaselineData) -> NDArray[np.floating]:
    """Minus the trailing one-day return (Jegadeesh 1990)."""
    if not data.predict_days.size:
        return np.empty((0, data.panel.num_stocks))
    returns = data.column("returns", data.predict_days)
    if not np.isfinite(returns).any():
        raise _UnavailableError(NO_RETURNS)
    return np.asarray(-returns)


def _momentum(data: BaselineData) -> NDArray[np.floating]:
    """Compounded return from 12 months to 1 month ago (Jegadeesh and Titman 1993), or what there is of it."""
    if not data.predict_days.size:
        return np.empty((0, data.panel.num_stocks))
    first = max(0, int(data.predict_days.min()) - MOMENTUM_LOOKBACK + 1)
    last = int(data.predict_days.max()) + 1
    returns = data.panel.column("returns", slice(first, last)).astype(np.float64)
    if not np.isfinite(returns).any():
        raise _UnavailableError(NO_RETURNS)
    known = np.isfinite(returns) & (returns > -1)
    logs = np.log1p(np.where(known, returns, 0.0))
    # Sums up to, not including, each day: a leading row of zeros makes differences of rows windows.
    total, count = _running(logs), _running(known)
    newest = np.maximum(data.predict_days - first + 1 - MOMENTUM_SKIP, 0)
    oldest = np.maximum(data.predict_days - first + 1 - MOMENTUM_LOOKBACK, 0)
    enough = count[newest] - count[oldest] >= MOMENTUM_MIN_RETURNS
    if not enough.any():
        raise _UnavailableError(SHORT_HISTORY)
    return np.where(enough, total[newest] - total[oldest], np.nan)


def _running(values: NDArray[Any]) -> NDArray[np.float64]:
    return np.concatenate([np.zeros((1, values.shape[1])), np.cumsum(values, axis=0, dtype=np.float64)])


def _ridge(data: BaselineData, max_rows: int, progress: Progress) -> NDArray[np.float32]:
    """Linear regression with an L2 penalty on labels standardised within the day, one fit a horizon."""
    from sklearn.linear_model import Ridge  # a second of import, paid only where it is used

    def fit(features: NDArray[np.float32], target: NDArray[np.floating], told: Progress) -> Scorer:
        model = Ridge(alpha=RIDGE_ALPHA * len(features), solver="cholesky").fit(features, target)
        return lambda inputs: np.asarray(model.predict(inputs))

    return _learned(data, max_rows, _within_day_zscores, fit, progress)


def _lightgbm(
    data: BaselineData,
    label_transform: LabelTransform,
    params: LightGBMParams,
    num_threads: int,
    seed: int,
    progress: Progress,
) -> NDArray[np.float32]:
    """Gradient-boosted trees on the model's own label, one booster a horizon."""
    try:
        load_lightgbm(LEAVE_IT_OUT)
    except ConfigError as error:
        raise _UnavailableError(str(error)) from error

    def fit(features: NDArray[np.float32], target: NDArray[np.floating], told: Progress) -> Scorer:
        booster = train_booster(
            features, target, params, num_threads=num_threads, seed=seed, progress=told, otherwise=LEAVE_IT_OUT
        )
        return lambda inputs: booster.score(inputs, num_threads)

    return _learned(data, params.max_rows, label_transform, fit, progress)


def _learned(
    data: BaselineData, max_rows: int, transform: LabelTransform, fit: Fit, progress: Progress
) -> NDArray[np.float32]:
    """Fit each horizon, then score the predicted days; NaN where a stock is absent."""
    scorers = _fit_horizons(data, max_rows, transform, fit, progress)
    scores = np.full((len(data.predict_days), data.panel.num_stocks, len(scorers)), np.nan, dtype=np.float32)
    rows = _NO_ROWS
    if len(data.predict_days):
        rows = rows_where(data.predict_days, data.column("present", data.predict_days))
    position = np.searchsorted(data.predict_days, rows.day)
    for start in range(0, len(rows.day), ROWS_AT_A_TIME):
        part = slice(start, start + ROWS_AT_A_TIME)
        alive = partial(progress, FITTING + (1 - FITTING) * start / len(rows.day))
        inputs = gather(data.panel, Rows(rows.day[part], rows.stock[part]), alive)
        for horizon, score in enumerate(scorers):
            alive()
            scores[position[part], rows.stock[part], horizon] = score(inputs)
    return scores


def _fit_horizons(
    data: BaselineData, max_rows: int, transform: LabelTransform, fit: Fit, progress: Progress
) -> list[Scorer]:
    try:
        rows = labelled_rows(data.panel, data.train_days, max_rows, transform, partial(progress, 0.0))
    except UnlabelledError as error:
        raise _UnavailableError(str(error)) from error
    part = FITTING / data.panel.num_horizons
    scorers = []
    for horizon in range(data.panel.num_horizons):
        progress(horizon * part)

        def told(share: float, begin: float = horizon * part) -> None:
            progress(begin + share * part)

        scorers.append(fit(*rows.of_horizon(horizon), told))
    return scorers


_NO_ROWS = Rows(np.empty(0, np.int64), np.empty(0, np.int64))


def _within_day_zscores(labels: NDArray[np.floating]) -> NDArray[np.float64]:
    """Labels [days, stocks, horizons] minus the day's mean over its standard deviation; 0 where there is no spread."""
    known = np.isfinite(labels)
    count = np.maximum(known.sum(axis=1, keepdims=True), 1)
    values = np.where(known, labels, 0.0).astype(np.float64)
    deviation = np.where(known, values - values.sum(axis=1, keepdims=True) / count, 0.0)
    spread = np.sqrt((deviation**2).sum(axis=1, keepdims=True) / count)
    zscores = np.divide(deviation, spread, out=np.zeros_like(deviation), where=spread > 0)
    return np.where(known, zscores, np.nan)
