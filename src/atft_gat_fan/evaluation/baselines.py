"""What any quant would try first: reversal, momentum, ridge and LightGBM on the same features and days.

Every baseline is deterministic, and learns from the labels of the training days alone. One that cannot run
says why and how to mend it instead of failing the evaluation.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any, Literal, Protocol

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray

BaselineName = Literal["reversal", "momentum", "ridge", "lightgbm"]
Scorer = Callable[[NDArray[np.float32]], NDArray[np.floating]]
"""Features [rows, features] -> scores [rows]."""
Progress = Callable[[float], None]
"""Told the share that is done, again and again; may raise to stop the work."""
Fit = Callable[[NDArray[np.float32], NDArray[np.floating], Progress], Scorer]
"""Features [rows, features], target [rows]."""
LabelTransform = Callable[[NDArray[np.float32]], NDArray[np.floating]]
"""Labels [days, stocks, horizons] -> what is regressed on, within the day; NaN stays NaN."""

MOMENTUM_LOOKBACK = 252
MOMENTUM_SKIP = 21
MOMENTUM_MIN_RETURNS = 60
RIDGE_ALPHA = 0.01
"""Penalty per training row (scikit-learn's alpha is this times the rows), for features of unit variance."""

NO_RETURNS = "trailing 1-day returns are unknown; give the panel prices or a trailing return column (data.columns)"
NO_TRAINING_LABELS = "no training day has features and labels; widen the training period (split.train_end)"
SHORT_HISTORY = (
    f"no stock has {MOMENTUM_MIN_RETURNS} returns between {MOMENTUM_LOOKBACK} and {MOMENTUM_SKIP} days before a "
    "predicted day; start the panel earlier (data.start)"
)


DAYS_AT_A_TIME = 64
FITTING = 0.9
"""Share of a learner's time that is fitting, about; scoring is the rest."""
ROWS_AT_A_TIME = 2**16
"""A multiple of the rows that a matrix product takes together: cut elsewhere, the last digit of a score could move."""


class BaselinePanel(Protocol):
    """A panel as baselines see it, read a few days at a time; days and stocks are positions."""

    @property
    def num_stocks(self) -> int: ...

    @property
    def num_features(self) -> int: ...

    @property
    def num_horizons(self) -> int: ...

    def features(
        self, day: int, stocks: Int[NDArray[np.int64], " chosen"]
    ) -> Float[NDArray[np.float32], "chosen features"]:
        """Of some of a day's present stocks, normalised over the training days; missing = 0 or NaN."""

    def column(self, name: str, days: slice) -> NDArray[Any]:
        """`labels` [days, stocks, horizons], raw forward returns; `returns` [days, stocks], trailing one-day returns
        (both fractions, NaN = unknown); `present` [days, stocks]."""


@dataclass(frozen=True)
class BaselineData:
    """`train_days` and `predict_days` are increasing positions of the panel's days."""

    panel: BaselinePanel
    train_days: Int[NDArray[np.int64], " train_days"]
    predict_days: Int[NDArray[np.int64], " days"]

    def column(self, name: str, days: NDArray[np.int64]) -> NDArray[Any]:
        """A column over some days, which need not follow each other."""
        period: NDArray[Any] = self.panel.column(name, slice(int(days[0]), int(days[-1]) + 1))
        chosen: NDArray[Any] = period[days - days[0]]
        return chosen


@dataclass(frozen=True)
class LightGBMParams:
    """Settings of the LightGBM baseline; `max_rows` keeps the newest training days that fit."""

    num_rounds: int = 200
    learning_rate: float = 0.05
    num_leaves: int = 31
    min_data_in_leaf: int = 200
    feature_fraction: float = 0.8
    bagging_fraction: float = 0.8
    max_rows: int = 1_000_000


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
        import lightgbm  # its shared library may not load here
    except (ImportError, OSError) as error:
        raise _UnavailableError(
            f"LightGBM does not load ({error}); install its OpenMP library (`apt-get install libgomp1`, "
            "`brew install libomp`) or leave it out (evaluation.baselines)"
        ) from error

    settings = {
        "objective": "regression",
        "learning_rate": params.learning_rate,
        "num_leaves": params.num_leaves,
        "min_data_in_leaf": params.min_data_in_leaf,
        "feature_fraction": params.feature_fraction,
        "bagging_fraction": params.bagging_fraction,
        "bagging_freq": 1,
        "deterministic": True,
        "force_row_wise": True,
        "num_threads": num_threads,
        "seed": seed,
        "verbosity": -1,
    }

    def fit(features: NDArray[np.float32], target: NDArray[np.floating], told: Progress) -> Scorer:
        def after_round(environment: Any) -> None:
            told((environment.iteration + 1) / params.num_rounds)

        dataset = lightgbm.Dataset(features, label=target, params=settings)
        booster = lightgbm.train(settings, dataset, num_boost_round=params.num_rounds, callbacks=[after_round])
        return lambda inputs: np.asarray(booster.predict(inputs, num_threads=num_threads))

    return _learned(data, params.max_rows, label_transform, fit, progress)


def _learned(
    data: BaselineData, max_rows: int, transform: LabelTransform, fit: Fit, progress: Progress
) -> NDArray[np.float32]:
    """Fit each horizon, then score the predicted days; NaN where a stock is absent."""
    scorers = _fit_horizons(data, max_rows, transform, fit, progress)
    scores = np.full((len(data.predict_days), data.panel.num_stocks, len(scorers)), np.nan, dtype=np.float32)
    rows = _rows(data.predict_days, data.column("present", data.predict_days)) if len(data.predict_days) else _NO_ROWS
    position = np.searchsorted(data.predict_days, rows.day)
    for start in range(0, len(rows.day), ROWS_AT_A_TIME):
        part = slice(start, start + ROWS_AT_A_TIME)
        alive = partial(progress, FITTING + (1 - FITTING) * start / len(rows.day))
        inputs = _gather(data.panel, rows.day[part], rows.stock[part], alive)
        for horizon, score in enumerate(scorers):
            alive()
            scores[position[part], rows.stock[part], horizon] = score(inputs)
    return scores


def _fit_horizons(
    data: BaselineData, max_rows: int, transform: LabelTransform, fit: Fit, progress: Progress
) -> list[Scorer]:
    rows = _training_rows(data, max_rows)
    features = _gather(data.panel, rows.day, rows.stock, partial(progress, 0.0))
    targets = _targets(data, rows, transform)
    usable = np.isfinite(targets)
    if not usable.any(axis=0).all():
        raise _UnavailableError(NO_TRAINING_LABELS)
    part = FITTING / len(usable.T)
    scorers = []
    for horizon, (target, known) in enumerate(zip(targets.T, usable.T, strict=True)):
        progress(horizon * part)

        def told(share: float, begin: float = horizon * part) -> None:
            progress(begin + share * part)

        scorers.append(fit(features if known.all() else features[known], target[known], told))
    return scorers


@dataclass(frozen=True)
class _Rows:
    """Stock-days, by panel position, in order of day and stock."""

    day: NDArray[np.int64]
    stock: NDArray[np.int64]


_NO_ROWS = _Rows(np.empty(0, np.int64), np.empty(0, np.int64))


def _rows(days: NDArray[np.int64], mask: NDArray[np.bool_]) -> _Rows:
    day, stock = np.nonzero(mask)
    return _Rows(days[day], stock)


def _training_rows(data: BaselineData, max_rows: int) -> _Rows:
    """Present stock-days with any label on the newest training days that fit into `max_rows` (at least one day)."""
    parts: list[_Rows] = []
    left = max_rows
    for stop in range(len(data.train_days), 0, -DAYS_AT_A_TIME):
        days = data.train_days[max(0, stop - DAYS_AT_A_TIME) : stop]
        mask = data.column("present", days) & np.isfinite(data.column("labels", days)).any(axis=2)
        days, mask = days[mask.any(axis=1)], mask[mask.any(axis=1)]
        newest_first = np.cumsum(mask.sum(axis=1)[::-1])
        fitting = int(np.searchsorted(newest_first, left, side="right"))
        kept = max(fitting, 0 if parts else min(1, len(days)))
        if kept:
            parts.append(_rows(days[-kept:], mask[-kept:]))
            left -= len(parts[-1].day)
        if fitting < len(days):
            break
    if not parts:
        raise _UnavailableError(NO_TRAINING_LABELS)
    parts.reverse()
    return _Rows(np.concatenate([part.day for part in parts]), np.concatenate([part.stock for part in parts]))


def _targets(data: BaselineData, rows: _Rows, transform: LabelTransform) -> NDArray[np.floating]:
    """What is regressed on, [rows, horizons]."""
    first_row = np.unique(rows.day, return_index=True)[1]
    edges = [*first_row[::DAYS_AT_A_TIME], len(rows.day)]
    parts = []
    for start, stop in pairwise(edges):
        chosen, day = np.unique(rows.day[start:stop], return_inverse=True)
        parts.append(np.asarray(transform(data.column("labels", chosen)))[day, rows.stock[start:stop]])
    return np.concatenate(parts)


def _gather(
    panel: BaselinePanel, day: NDArray[np.int64], stock: NDArray[np.int64], alive: Callable[[], None]
) -> NDArray[np.float32]:
    """Features of stock-days in order of day, [rows, features]; missing = 0, the training mean."""
    features = np.empty((len(day), panel.num_features), np.float32)
    edges = np.flatnonzero(np.diff(day, prepend=-1, append=-1))
    for start, stop in pairwise(edges):
        alive()
        features[start:stop] = panel.features(int(day[start]), stock[start:stop])
    features[~np.isfinite(features)] = 0.0
    return features


def _within_day_zscores(labels: NDArray[np.floating]) -> NDArray[np.float64]:
    """Labels [days, stocks, horizons] minus the day's mean over its standard deviation; 0 where there is no spread."""
    known = np.isfinite(labels)
    count = np.maximum(known.sum(axis=1, keepdims=True), 1)
    values = np.where(known, labels, 0.0).astype(np.float64)
    deviation = np.where(known, values - values.sum(axis=1, keepdims=True) / count, 0.0)
    spread = np.sqrt((deviation**2).sum(axis=1, keepdims=True) / count)
    zscores = np.divide(deviation, spread, out=np.zeros_like(deviation), where=spread > 0)
    return np.where(known, zscores, np.nan)
