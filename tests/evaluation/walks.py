"""A walk-forward as it could have been measured, for the tests of its evaluation and its page."""

import numpy as np

from atft_gat_fan.evaluation.evaluate import EvaluationData
from atft_gat_fan.evaluation.walkforward import FoldPeriods, Period

LENGTHS = (40, 40, 55)
SETTINGS = {"num_quantiles": 5, "cost_bps": 10.0, "seed": 3, "num_resamples": 100}


def folds(lengths=LENGTHS, train=150, valid=40, purge=6) -> tuple[FoldPeriods, ...]:
    """Expanding folds of weekdays; positions count from the first of them."""
    days = np.busday_offset("2018-01-01", np.arange(train + valid + sum(lengths)), roll="forward")

    def period(first: int, stop: int) -> Period:
        return Period(str(days[first]), str(days[stop - 1]), stop - first)

    made, start = [], train + valid
    for number, length in enumerate(lengths, 1):
        parts = (period(0, start - valid - purge), period(start - valid, start - purge), period(start, start + length))
        made.append(FoldPeriods(number, *parts))
        start += length
    return tuple(made)


def data(lengths=LENGTHS, seeds=(1, 2), signal=0.3, momentum_from=0) -> EvaluationData:
    """Scores of the model, of its members, and of two baselines: ridge as good as a member, momentum pure noise that is
    known from day `momentum_from` on."""
    rng = np.random.default_rng(0)
    shape = (sum(lengths), 30, 2)
    labels = 0.02 * rng.standard_normal(shape).astype(np.float32)
    members = {f"seed-{seed}": signal * labels / 0.02 + rng.standard_normal(shape) for seed in seeds}
    momentum = rng.standard_normal(shape)
    momentum[:momentum_from] = np.nan
    scores = {
        "model": sum(members.values()),
        "momentum": momentum,
        "ridge": signal * labels / 0.02 + rng.standard_normal(shape),
        **(members if len(seeds) > 1 else {}),
    }
    first = np.datetime64(folds(lengths)[0].test.first)
    return EvaluationData(
        days=np.busday_offset(first, np.arange(shape[0])),
        codes=tuple(f"C{i:02d}" for i in range(shape[1])),
        horizons=(1, 5),
        scores=scores,
        labels=labels,
        present=np.ones(shape[:2], dtype=bool),
    )
