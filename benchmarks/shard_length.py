"""How long a shard should be: what absent stocks cost on disk and in training, for decades of listings and delistings.

    python -m benchmarks.shard_length

A shard holds the stocks present on any of its days, and repeats the days that a window before its first day needs.
Long shards therefore carry more absent stocks through every training step, short ones repeat more days on disk.
Arithmetic on a universe of constant size in which every stock is delisted, and replaced, at a constant rate; nothing is
timed.
"""

import numpy as np
from numpy.typing import NDArray

from benchmarks.measuring import Figure, arguments, publish, significant

NUM_STOCKS = 4000
DAYS_A_YEAR = 252
YEARS = 25
TURNOVERS = (0.05, 0.10, 0.20)
"""Shares of the stocks that are delisted within a year; about 0.08 in the United States."""
SHARD_DAYS = (64, 128, 256, 512, 1024)
REPEATED_DAYS = 63
COMMAND = "python -m benchmarks.shard_length"


def main() -> None:
    quick = arguments(__doc__).parse_args().quick
    figures = []
    for turnover in TURNOVERS:
        born, died = listings(turnover, np.random.default_rng(0))
        present = int((died - born).sum())
        what = f"{len(born):,} stocks over {YEARS} years, {turnover:.0%} delisted a year"
        one = len(born) * DAYS_A_YEAR * YEARS / present
        figures.append(Figure(f"{what}: one fixed order", f"{significant(one)} × the stock-days present", COMMAND))
        for days in SHARD_DAYS:
            disk, computed = (cells / present for cells in stored_and_computed(born, died, days))
            measured = f"{significant(computed)} × computed, {significant(disk)} × on disk"
            figures.append(Figure(f"{what}: shards of {days} days", measured, COMMAND))
    publish("shard_length", figures, quick=quick)


def listings(turnover: float, rng: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First day, and the day after the last one, of every stock that is ever listed."""
    last = DAYS_A_YEAR * YEARS
    born, died = [0] * NUM_STOCKS, rng.geometric(turnover / DAYS_A_YEAR, NUM_STOCKS).tolist()
    position = 0
    while position < len(born):
        if died[position] < last:
            born.append(died[position])
            died.append(died[position] + int(rng.geometric(turnover / DAYS_A_YEAR)))
        position += 1
    return np.array(born), np.minimum(np.array(died), last)


def stored_and_computed(born: NDArray[np.int64], died: NDArray[np.int64], shard_days: int) -> tuple[int, int]:
    """Stock-days that files of so many own days hold, and those that batches of their own days compute."""
    disk = computed = 0
    for first in range(0, DAYS_A_YEAR * YEARS, shard_days):
        held, stop = max(0, first - REPEATED_DAYS), min(first + shard_days, DAYS_A_YEAR * YEARS)
        stocks = int(((born < stop) & (died > held)).sum())
        disk += stocks * (stop - held)
        computed += stocks * (stop - first)
    return disk, computed


if __name__ == "__main__":
    main()
