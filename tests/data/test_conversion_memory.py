"""Private memory of a conversion does not grow with the panel."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

NUM_STOCKS = 150

# Smaller pieces than usual: the panel must be many of them. Prints the most private memory there was, in kB.
WORKER = """
import sys, threading, time
from pathlib import Path
from atft_gat_fan.config.schema import Config, DataConfig
from atft_gat_fan.data import panel_checks, panel_staging
from atft_gat_fan.data.conversion import convert

panel_checks.BAND_ROWS = panel_staging.CHUNK_ROWS = 10_000
highest = 0

def watch():
    global highest
    while True:
        with open("/proc/self/status") as status:
            highest = max(highest, next(int(line.split()[1]) for line in status if line.startswith("RssAnon")))
        time.sleep(0.002)

threading.Thread(target=watch, daemon=True).start()
source, out = sys.argv[1:]
data = DataConfig(source=source, horizons=(1, 5))
convert(Config(data=data), Path(out), lambda stage, share: None, shard_days=64)
print(highest)
"""


def write_panel(path: Path, num_days: int, num_features: int) -> None:
    rng = np.random.default_rng(0)
    days = np.busday_offset("2000-01-03", np.arange(num_days), roll="forward")
    rows = num_days * NUM_STOCKS
    close = 10 * np.exp(rng.normal(0, 0.02, (num_days, NUM_STOCKS)).cumsum(axis=0)).ravel()
    features = {f"x{i}": rng.normal(size=rows).astype(np.float32) for i in range(num_features)}
    codes = [f"S{i:03d}" for i in range(NUM_STOCKS)]
    frame = pl.DataFrame({"Date": np.repeat(days, NUM_STOCKS), "Code": codes * num_days, "Close": close} | features)
    frame.write_parquet(path, row_group_size=10_000)


def peak(folder: Path, num_days: int, num_features: int) -> int:
    write_panel(folder / f"{num_days}.parquet", num_days, num_features)
    arguments = [str(folder / f"{num_days}.parquet"), str(folder / f"store-{num_days}")]
    done = subprocess.run([sys.executable, "-c", WORKER, *arguments], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.slow
@pytest.mark.parametrize("num_features", [0, 32])
def test_twice_the_days_take_no_more_private_memory(tmp_path: Path, num_features: int) -> None:
    # The lesser of two runs: how many row groups are being read at once is a matter of timing.
    once, twice = (min(peak(tmp_path, num_days, num_features) for _ in range(2)) for num_days in (2000, 4000))
    assert twice < 1.05 * once + 6_000, (once, twice)
