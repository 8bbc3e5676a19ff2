"""What any quant would try first: reversal, momentum, ridge and LightGBM on the same features and days.

Every baseline is deterministic, and learns from the labels of the training days alone. One that cannot run
says why and how to mend it instead of failing the evaluation.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray

BaselineName = Literal["reversal", "momentum", "ridge", "lightgbm"]
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


@dataclass(frozen=True)
class BaselineData:
    """The panel as baselines see it: T panel days, N stocks, F features, H horizons.

    `features` float32 normalised over the training days, missing = 0 or NaN; `labels` raw forward returns, NaN =
    unknown; `returns_1d` trailing one-day returns (fractions, NaN = unknown), None when the panel has none;
    `train_days` and `predict_days` positions in T, increasing.
    """

    features: Float[NDArray[np.float32], "panel_days stocks features"]
    labels: Float[NDArray[np.float32], "panel_days stocks horizons"]
    present: Bool[NDArray[np.bool_], "panel_days stocks"]
    returns_1d: Float[NDArray[np.floating], "panel_days stocks"] | None
    train_days: Int[NDArray[np.int64], " train_days"]
    predict_days: Int[NDArray[np.int64], " days"]


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
    progress: Callable[[str], None] | None = None,
) -> Baselines:
    """Score `data.predict_days` by each named baseline.

    `label_transform` is the model's own, used by LightGBM; ridge regresses on labels standardised within the
    day. Only rows of the training and the predicted days are gathered. Bit-identical for the same inputs,
    versions and `num_threads`. `progress` is told the name of each baseline before it runs.
    """
    lightgbm = lightgbm or LightGBMParams()
    run: Mapping[str, Callable[[], NDArray[np.float32]]] = {
        "reversal": lambda: _every_horizon(data, _reversal(data)),
        "momentum": lambda: _every_horizon(data, _momentum(data)),
        "ridge": lambda: _ridge(data, lightgbm.max_rows),
        "lightgbm": lambda: _lightgbm(data, label_transform, lightgbm, num_threads, seed),
    }
    result = Baselines({}, {})
    for name in names:
        if progress is not None:
            progress(name)
        try:
            result.scores[name] = run[name]()
        except _UnavailableError as reason:
            result.unavailable[name] = {"unavailable": str(reason)}
    return result


def _every_horizon(data: BaselineData, score: NDArray[np.floating]) -> NDArray[np.float32]:
    """One score for all horizons, NaN where the stock is absent."""
    score = np.where(data.present[data.predict_days], score, np.nan).astype(np.float32)
    return np.repeat(score[..., None], data.labels.shape[2], axis=2)


def _reversal(data: BaselineData) -> NDArray[np.floating]:
    """Minus the trailing one-day return (Jegadeesh 1990)."""
    if data.returns_1d is None or not np.isfinite(data.returns_1d[data.predict_days]).any():
        raise _UnavailableError(NO_RETURNS)
    return np.asarray(-data.returns_1d[data.predict_days])


def _momentum(data: BaselineData) -> NDArray[np.floating]:
    """Compounded return from 12 months to 1 month ago (Jegadeesh and Titman 1993), or what there is of it."""
    if data.returns_1d is None:
        raise _UnavailableError(NO_RETURNS)
    if not data.predict_days.size:
        return np.empty((0, data.present.shape[1]))
    first = max(0, int(data.predict_days.min()) - MOMENTUM_LOOKBACK + 1)
    last = int(data.predict_days.max()) + 1
    returns = data.returns_1d[first:last].astype(np.float64)
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


def _ridge(data: BaselineData, max_rows: int) -> NDArray[np.float32]:
    """Linear regression with an L2 penalty on labels standardised within the day, one fit a horizon."""
    from sklearn.linear_model import Ridge  # a second of import, paid only where it is used

    rows = _training_rows(data, max_rows)
    features = _gather(data, rows)
    targets = _within_day_zscores(data.labels[rows.days])[rows.mask]
    predict = _predicted_rows(data)
    inputs = _gather(data, predict)

    def fit(horizon: int) -> NDArray[np.floating]:
        usable = np.isfinite(targets[:, horizon])
        if not usable.any():
            raise _UnavailableError(NO_TRAINING_LABELS)
        chosen = features if usable.all() else features[usable]
        model = Ridge(alpha=RIDGE_ALPHA * len(chosen), solver="cholesky")
        return np.asarray(model.fit(chosen, targets[usable, horizon]).predict(inputs))

    return _scatter(data, predict, fit)


def _lightgbm(
    data: BaselineData, label_transform: LabelTransform, params: LightGBMParams, num_threads: int, seed: int
) -> NDArray[np.float32]:
    """Gradient-boosted trees on the model's own label, one booster a horizon."""
    try:
        import lightgbm  # its shared library may not load here
    except (ImportError, OSError) as error:
        raise _UnavailableError(
            f"LightGBM does not load ({error}); install its OpenMP library (`apt-get install libgomp1`, "
            "`brew install libomp`) or leave it out (evaluation.baselines)"
        ) from error

    rows = _training_rows(data, params.max_rows)
    features = _gather(data, rows)
    targets = np.asarray(label_transform(data.labels[rows.days]))[rows.mask]
    predict = _predicted_rows(data)
    inputs = _gather(data, predict)
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

    def fit(horizon: int) -> NDArray[np.floating]:
        usable = np.isfinite(targets[:, horizon])
        if not usable.any():
            raise _UnavailableError(NO_TRAINING_LABELS)
        chosen = features if usable.all() else features[usable]
        dataset = lightgbm.Dataset(chosen, label=targets[usable, horizon], params=settings)
        booster = lightgbm.train(settings, dataset, num_boost_round=params.num_rounds)
        return np.asarray(booster.predict(inputs, num_threads=num_threads))

    return _scatter(data, predict, fit)


@dataclass(frozen=True)
class _Rows:
    """Stock-days to gather: `mask` [len(days), stocks] over the panel positions `days`."""

    days: NDArray[np.int64]
    mask: NDArray[np.bool_]


def _training_rows(data: BaselineData, max_rows: int) -> _Rows:
    """Present stock-days with any label on the newest training days that fit into `max_rows` (at least one day)."""
    mask = data.present[data.train_days] & np.isfinite(data.labels[data.train_days]).any(axis=2)
    if not mask.any():
        raise _UnavailableError(NO_TRAINING_LABELS)
    newest_first = np.cumsum(mask.sum(axis=1)[::-1])
    kept = max(1, int(np.searchsorted(newest_first, max_rows, side="right")))
    return _Rows(data.train_days[-kept:], mask[-kept:])


def _predicted_rows(data: BaselineData) -> _Rows:
    return _Rows(data.predict_days, data.present[data.predict_days])


def _gather(data: BaselineData, rows: _Rows) -> NDArray[np.float32]:
    """Features of the chosen stock-days, [rows, features]; missing = 0, the training mean."""
    day, stock = np.nonzero(rows.mask)
    features = data.features[rows.days[day], stock]
    features[~np.isfinite(features)] = 0.0
    return features


def _scatter(data: BaselineData, rows: _Rows, fit: Callable[[int], NDArray[np.floating]]) -> NDArray[np.float32]:
    """Fit each horizon and put its scores back on the day grid, NaN where a stock is absent."""
    num_horizons = data.labels.shape[2]
    scores = np.full((*rows.mask.shape, num_horizons), np.nan, dtype=np.float32)
    for horizon in range(num_horizons):
        scores[rows.mask, horizon] = fit(horizon)
    return scores


def _within_day_zscores(labels: NDArray[np.floating]) -> NDArray[np.float64]:
    """Labels [days, stocks, horizons] minus the day's mean over its standard deviation; 0 where there is no spread."""
    known = np.isfinite(labels)
    count = np.maximum(known.sum(axis=1, keepdims=True), 1)
    values = np.where(known, labels, 0.0).astype(np.float64)
    deviation = np.where(known, values - values.sum(axis=1, keepdims=True) / count, 0.0)
    spread = np.sqrt((deviation**2).sum(axis=1, keepdims=True) / count)
    zscores = np.divide(deviation, spread, out=np.zeros_like(deviation), where=spread > 0)
    return np.where(known, zscores, np.nan)
