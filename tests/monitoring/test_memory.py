"""A leak from run to run is seen, and a noisy machine is no leak."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from atft_gat_fan.config.schema import MonitorConfig
from atft_gat_fan.monitoring.memory import judge_memory
from atft_gat_fan.monitoring.result import MemoryReading

RUNS = 15
MEBIBYTE = 2**20


def readings(growth, noise, seed, runs=RUNS):
    rng = np.random.default_rng(seed)
    begin = datetime(2026, 1, 5, 7, tzinfo=UTC)
    sizes = 400 * MEBIBYTE * (1 + growth * np.arange(runs)) * (1 + noise * rng.standard_normal(runs))
    return tuple(
        MemoryReading((begin + timedelta(days=day)).isoformat(), int(size), int(1.4 * size))
        for day, size in enumerate(sizes)
    )


def judged(found, config=None):
    return judge_memory(found[:-1], found[-1], config or MonitorConfig())


@pytest.mark.parametrize("seed", range(20))
def test_a_leak_of_one_percent_a_day_is_flagged_within_fifteen_runs(seed: int) -> None:
    result = judged(readings(0.01, 0.02, seed))
    assert result.alarm
    assert result.low <= result.slope <= result.high
    assert result.slope == pytest.approx(0.01, abs=0.004)


def test_noise_without_a_trend_is_not_flagged() -> None:
    flagged = [judged(readings(0.0, noise, seed)).alarm for noise in (0.0, 0.02, 0.05) for seed in range(100)]
    assert np.mean(flagged) <= 0.01


def test_one_run_with_much_memory_makes_no_trend() -> None:
    found = list(readings(0.0, 0.01, 0))
    found[-2] = MemoryReading(found[-2].at, 5 * found[-2].post_step_min_bytes, 5 * found[-2].peak_bytes)
    assert not judged(tuple(found)).alarm


def test_the_first_runs_and_runs_of_one_morning_have_no_trend_and_say_so() -> None:
    assert "5 monitorings over a day or more, found 4" in judged(readings(0.01, 0.0, 0, runs=4)).unavailable
    at = readings(0.01, 0.0, 0)[0].at
    same = tuple(MemoryReading(at, size, size) for size in range(100, 115))
    assert "over 0.0 days" in judged(same).unavailable


def test_only_the_newest_runs_count() -> None:
    old_leak = (*readings(0.05, 0.0, 0, runs=20), *readings(0.0, 0.0, 0, runs=1))
    config = MonitorConfig(memory_runs=5)
    assert len(judged(old_leak, config).readings) == 5
