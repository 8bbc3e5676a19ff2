"""Does memory grow from run to run?"""

from datetime import datetime

import numpy as np

from atft_gat_fan.config.schema import MonitorConfig
from atft_gat_fan.monitoring.result import MemoryReading, MemoryResult
from atft_gat_fan.monitoring.windows import number
from atft_gat_fan.statistics.theil_sen import MIN_POINTS, trend

LEVEL = 0.02
"""One-sided error of the interval's lower bound, and of the test: both must agree that there is growth."""
SECONDS_A_DAY = 86_400.0


def judge_memory(earlier: tuple[MemoryReading, ...], now: MemoryReading, config: MonitorConfig) -> MemoryResult:
    """Trend of the post-step minima of the newest `monitor.memory_runs` readings, `now` the last of them.

    An alarm where the lower bound of Sen's interval is above `monitor.memory_growth` a day and Mann and Kendall's
    test agrees. Several runs on one day count by their time.
    """
    readings = (*earlier, now)[-config.memory_runs :]
    moments = [datetime.fromisoformat(reading.at).timestamp() for reading in readings]
    days = (np.array(moments) - moments[0]) / SECONDS_A_DAY
    minima = np.array([reading.post_step_min_bytes for reading in readings], dtype=np.float64)
    if np.ptp(days) < 1 or len(readings) < MIN_POINTS:
        found = f"{len(readings)} over {float(np.ptp(days)):.1f} days"
        return MemoryResult(
            now, readings, None, None, None, None, False,
            f"a trend needs {MIN_POINTS} monitorings over a day or more, found {found}",
        )  # fmt: skip
    found_trend = trend(days, minima / np.median(minima), level=1 - 2 * LEVEL)
    return MemoryResult(
        now=now,
        readings=readings,
        slope=number(found_trend.slope),
        low=number(found_trend.low),
        high=number(found_trend.high),
        p=number(found_trend.p),
        alarm=bool(found_trend.low > config.memory_growth and found_trend.p < LEVEL),
    )
