"""Runs to compare, made by hand: a planted signal seen through more or less noise."""

from dataclasses import replace
from typing import Any

import numpy as np

from atft_gat_fan.evaluation.comparison import ComparedRun, JudgedDays
from atft_gat_fan.evaluation.evaluate import MODEL, EvaluationData, evaluate

HORIZONS = (1, 5)
DAYS, STOCKS = 120, 30


def judged(noise: float, *, seed: int = 1, days: int = DAYS, horizons: tuple[int, ...] = HORIZONS) -> JudgedDays:
    """The same market whatever the noise: returns, and scores that are the returns under that much of it."""
    labels = np.random.default_rng(0).normal(scale=0.02, size=(DAYS, STOCKS, len(horizons)))[:days]
    scores = labels + np.random.default_rng(seed).normal(scale=noise, size=labels.shape)
    return JudgedDays(
        days=np.datetime64("2021-11-20") + np.arange(days),
        codes=tuple(f"{code:02d}" for code in range(STOCKS)),
        horizons=horizons,
        scores=scores.astype(np.float32),
        labels=labels.astype(np.float32),
        present=np.ones((days, STOCKS), dtype=bool),
    )


def run(name: str, judged_days: JudgedDays, **changes: Any) -> ComparedRun:
    """As if evaluated on exactly these days."""
    evaluation = evaluate(
        EvaluationData(
            days=judged_days.days,
            codes=judged_days.codes,
            horizons=judged_days.horizons,
            scores={MODEL: judged_days.scores, "ridge": np.flip(judged_days.scores, axis=1)},
            labels=judged_days.labels,
            present=judged_days.present,
            unavailable={"lightgbm": {"unavailable": "LightGBM does not load; install libgomp1"}},
        ),
        num_resamples=50,
    )
    train = {
        "seconds": 61.5,
        "samples_per_second": None,
        "parameters": 143_210,
        "epochs": 3,
        "numerics": {"torch": "2.13.0", "threads": 2},
    }
    known = ComparedRun(
        name=name,
        folder=f"runs/{name}",
        test=evaluation.metrics,
        train=train,
        config={"seed": 42, "model": {"hidden_size": 64, "fan": {"enabled": True}}},
        plan={"loss": {"kind": "mse"}},
        judged=judged_days,
    )
    return replace(known, **changes)
