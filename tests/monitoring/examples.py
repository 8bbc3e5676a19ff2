"""Monitorings as they could have been, for the tests of the history and of the page."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from atft_gat_fan.monitoring.result import (
    TITLES,
    Alarm,
    Distribution,
    FamilyResult,
    GateResult,
    Measured,
    MemoryReading,
    MemoryResult,
    MonitorResult,
    RankIcResult,
    ReferencePeriod,
    ShiftResult,
    StabilityResult,
    WindowShift,
)

MODEL = "5f0c3a9e17d2b486"
HORIZONS = ("1d", "2d", "3d", "5d", "10d")
LAST = np.datetime64("2026-10-30")
NUM_DAYS = 90
EDGES = tuple(float(edge) for edge in (-1.28, -0.84, -0.52, -0.25, 0.0, 0.25, 0.52, 0.84, 1.28))
NAMES = ("KMID", "KLEN", "ROC_5", "ROC_20", "MA_60", "STD_20", "BETA_60", "RESI_20", "VMA_5", "CORR_20")
CRITICAL = {"psi": 0.14, "ks": 0.09, "wasserstein": 0.22}


def healthy(num_features: int = 32, num_days: int = NUM_DAYS, last: np.datetime64 = LAST) -> MonitorResult:
    """Nothing alarms, labels have matured, fifteen runs of memory."""
    rng = np.random.default_rng(num_features)
    days = trading_days(num_days, last)
    names = [NAMES[i] if i < len(NAMES) else f"{NAMES[i % len(NAMES)]}_{i}" for i in range(num_features)]
    at = datetime.fromisoformat(f"{last}T21:15:04+00:00")
    families = {
        "raw_features": family("raw_features", names, rng, days),
        "standardised_features": family("standardised_features", names, rng, days),
        "predictions": family("predictions", HORIZONS, rng, days),
    }
    return MonitorResult(
        run="nasdaq-small",
        model=MODEL,
        source="panels/nasdaq.parquet",
        at=at.isoformat(),
        days=days,
        long_days=min(60, num_days),
        short_days=5,
        stocks=tuple(int(n) for n in 1012 + rng.integers(-3, 4, num_days)),
        reference=ReferencePeriod("2025-01-02", "2025-12-31", 250, 1019.4),
        psi=max(shift.long.psi.value or 0.0 for each in families.values() for shift in each.shifts),
        families=families,
        stability=stability(rng, num_days),
        rank_ic={horizon: rank_ic(rng, days, horizon) for horizon in HORIZONS},
        memory=memory(rng, at, runs=15, growth=0.0),
        alarms=(),
        rules=(
            "PSI is Σ (now − reference) · ln(now / reference) over the deciles of the reference.",
            "Thresholds are those that a healthy day exceeds with a chance of 1 %, over all names of a family.",
        ),
        command="atft monitor runs/nasdaq-small --data panels/nasdaq.parquet --fail-on 'psi>0.25'",
        gates=(GateResult("psi>0.25", 0.11, failed=False),),
    )


def alarmed(num_features: int = 32) -> MonitorResult:
    """A feature's scale and the 1-day predictions have moved, coverage and RankIC have fallen, memory grows."""
    known = healthy(num_features)
    rng = np.random.default_rng(7)
    since = known.days[-12]
    families = dict(known.families)
    for key, moved in (("raw_features", ("ROC_5", "STD_20")), ("predictions", ("1d",))):
        shifts = tuple(moved_shift(s, known.days, since) if s.name in moved else s for s in families[key].shifts)
        shifts = tuple(sorted(shifts, key=lambda shift: -(shift.excess[-1] or 0.0)))
        families[key] = replace(families[key], shifts=shifts)
    coverage = np.where(np.asarray(known.days) >= since, 0.81, 0.994) + 0.003 * rng.normal(size=len(known.days))
    numbers = {number.name: number for number in known.stability}
    numbers["coverage"] = replace(
        numbers["coverage"], daily=floats(coverage), value=float(coverage[-5:].mean()), alarm=True, since=since
    )
    ranks = dict(known.rank_ic)
    ranks["1d"] = rank_ic(rng, known.days, "1d", mean=-0.01)
    trend = memory(rng, datetime.fromisoformat(known.at), runs=15, growth=0.01)
    alarms = (
        Alarm(
            "rank_ic", "1d", "cusum", ranks["1d"].since, 9.4, 6.2,
            "RankIC@1d has fallen: -0.0100 over 89 matured days, 0.0480 on the reference days; the model ranks worse "
            "than on its validation days: retrain, and compare with the baselines.",
        ),
        Alarm(
            "stability", "coverage", "mean", since, 0.81, 0.95,
            "Stocks scored, share of the reference's: 0.81 in the newest days, below 0.95; look at what was delivered.",
        ),
        Alarm(
            "predictions", "1d", "psi_short", since, 0.61, 0.18,
            "Predictions at 1d: PSI 0.61 in the newest days, above 0.18; see which feature moved with them.",
        ),
        Alarm(
            "raw_features", "ROC_5", "psi", since, 0.38, 0.14,
            "ROC_5: PSI 0.38 in the long window, above 0.14; look at the source first (units, splits).",
        ),
        Alarm("raw_features", "STD_20", "ks", since, 0.17, 0.09, "STD_20: look at the source first."),
        Alarm(
            "memory", "post_step_min_bytes", "slope", trend.readings[0].at[:10], 0.0101, 0.0092,
            "Memory grows by 1.0% a day over 15 runs; find what is kept from run to run before the machine is full.",
        ),
    )  # fmt: skip
    psi = max(shift.long.psi.value or 0.0 for each in families.values() for shift in each.shifts)
    return replace(
        known,
        psi=psi,
        families=families,
        stability=tuple(numbers.values()),
        rank_ic=ranks,
        memory=trend,
        alarms=alarms,
        gates=(GateResult("psi>0.25", psi, failed=True),),
        warnings=("3 of 90 days have fewer than 100 stocks.",),
    )


def first_day(num_features: int = 32) -> MonitorResult:
    """One day, one run: no full window, no matured label, no day before, no trend."""
    known = healthy(num_features, num_days=1)
    numbers = tuple(
        replace(number, daily=(None,), value=None, unavailable="it needs two days, and there is one")
        if number.name.startswith("rank_correlation")
        else number
        for number in known.stability
    )
    now = known.memory.now
    trend = MemoryResult(now, (now,), None, None, None, None, False, "a trend needs 6 runs, and this is the first")
    return replace(known, stability=numbers, memory=trend, gates=())


def trading_days(num_days: int, last: np.datetime64 = LAST) -> tuple[str, ...]:
    return tuple(str(day) for day in np.busday_offset(last, np.arange(1 - num_days, 1), roll="backward"))


def family(
    key: str, names: tuple[str, ...] | list[str], rng: np.random.Generator, days: tuple[str, ...]
) -> FamilyResult:
    shifts = [shift(name, rng, days, close=order < 6) for order, name in enumerate(names)]
    return FamilyResult(TITLES[key], tuple(sorted(shifts, key=lambda each: -(each.excess[-1] or 0.0))))


def shift(name: str, rng: np.random.Generator, days: tuple[str, ...], *, close: bool) -> ShiftResult:
    level = rng.uniform(0.15, 0.7)
    steps = 0.93 ** np.abs(np.arange(9) - 4) * 0.08 * rng.normal(size=(len(days), 9))
    excess = np.clip(level + steps.sum(axis=1), 0.03, 0.96)
    long = window(float(excess[-1]), 1.0, rng)
    short = window(float(excess[-1]) * 0.9, 1.7, rng)
    shares = np.full(10, 0.1) + 0.01 * rng.normal(size=10)
    return ShiftResult(
        name, long, short, float(rng.uniform(0, 0.02)), 0.011, False, None,
        excess=floats(excess), psi=floats(excess * CRITICAL["psi"] * 0.9),
        distribution=Distribution(EDGES, (0.1,) * 10, floats(shares / shares.sum())) if close else None,
    )  # fmt: skip


def window(excess: float, wider: float, rng: np.random.Generator) -> WindowShift:
    def one(name: str) -> Measured:
        threshold = CRITICAL[name] * wider
        return Measured(float(excess * threshold * rng.uniform(0.75, 1.0)), threshold, alarm=False)

    return WindowShift(one("psi"), one("ks"), one("wasserstein"))


def moved_shift(known: ShiftResult, days: tuple[str, ...], since: str) -> ShiftResult:
    ramp = np.cumsum(np.asarray(days) >= since) * 0.35
    excess = np.asarray(known.excess, dtype=float) + np.where(ramp > 0, 0.6 + ramp, 0)
    worst = float(excess[-1])

    def alarming(one: Measured, factor: float) -> Measured:
        assert one.threshold is not None
        return Measured(one.threshold * worst * factor, one.threshold, alarm=worst * factor > 1, since=since)

    long = WindowShift(
        alarming(known.long.psi, 0.7), alarming(known.long.ks, 0.5), alarming(known.long.wasserstein, 0.1)
    )
    short = WindowShift(
        alarming(known.short.psi, 1.0), alarming(known.short.ks, 0.8), alarming(known.short.wasserstein, 0.6)
    )
    now = np.array([0.19, 0.07, 0.06, 0.06, 0.05, 0.06, 0.07, 0.08, 0.09, 0.27])
    return replace(
        known, long=long, short=short, alarm=True, since=since, excess=floats(excess),
        psi=floats(excess * CRITICAL["psi"] * 0.7), distribution=Distribution(EDGES, (0.1,) * 10, floats(now)),
    )  # fmt: skip


def stability(rng: np.random.Generator, num_days: int) -> tuple[StabilityResult, ...]:
    def number(
        name: str, title: str, mean: float, spread: float, low: float | None = None, high: float | None = None
    ) -> StabilityResult:
        daily = (
            np.minimum(mean + spread * rng.normal(size=num_days), 1.0)
            if mean < 1
            else mean + spread * rng.normal(size=num_days)
        )
        return StabilityResult(name, title, floats(daily), float(daily[-5:].mean()), mean, low, high, False, None)

    ranks = (
        number(
            f"rank_correlation_{h}",
            f"Rank correlation of the {h} scores with the day before",
            0.62 + 0.07 * i,
            0.03,
            0.45 + 0.07 * i,
        )
        for i, h in enumerate(HORIZONS)
    )
    return (
        *ranks,
        number("coverage", "Stocks scored, share of the reference's", 0.994, 0.002, 0.95),
        number("scored_share", "Stocks scored, share of those present", 0.997, 0.001, 0.98),
        number("nan_share", "Missing values, share of all features", 0.012, 0.002, None, 0.03),
        number("graph_degree", "Neighbours of a stock", 8.4, 0.3, 6.0, 11.0),
    )  # fmt: skip


def rank_ic(rng: np.random.Generator, days: tuple[str, ...], horizon: str, mean: float = 0.05) -> RankIcResult:
    matured = days[: max(len(days) - int(horizon[:-1]), 0)]
    if not matured:
        no_label = "no label has matured yet: the first will after the next close"
        return RankIcResult((), (), None, None, None, None, None, 0.048, 0.1, (), 6.2, (), False, None, no_label)
    daily = mean + 0.1 * rng.normal(size=len(matured))
    sums = np.zeros(len(matured))
    for i, value in enumerate(daily):
        before = sums[i - 1] if i and sums[i - 1] <= 6.2 else 0.0  # it begins anew after an alarm
        sums[i] = max(0.0, before + (0.048 - value) / 0.1 - 0.25)
    if mean > 0:
        sums = np.minimum(sums, 5.9)
    error = 0.1 / np.sqrt(len(matured)) * 1.1
    raised = tuple(day for day, value in zip(matured, sums, strict=True) if value > 6.2)
    center = float(daily.mean())
    return RankIcResult(
        matured, floats(daily), center, error, center / error, center - 1.96 * error, center + 1.96 * error, 0.048, 0.1,
        floats(sums), 6.2, raised, bool(raised), raised[-1] if raised else None,
    )  # fmt: skip


def memory(rng: np.random.Generator, at: datetime, *, runs: int, growth: float) -> MemoryResult:
    steps = (1 + growth) ** np.arange(runs) * (1 + 0.004 * rng.normal(size=runs)) * 430 * 2**20
    readings = tuple(
        MemoryReading((at - timedelta(days=runs - 1 - i)).astimezone(UTC).isoformat(), int(step), int(step * 1.4))
        for i, step in enumerate(steps)
    )
    return MemoryResult(
        readings[-1], readings, growth + 1e-4, growth - 8e-4, growth + 9e-4, 1e-6 if growth else 0.44, growth > 0
    )


def floats(values: NDArray[np.floating]) -> tuple[float, ...]:
    return tuple(float(value) for value in values)
