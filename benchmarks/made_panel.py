"""A made panel of any size, written as a folder of Parquet files a few days at a time.

    python -m benchmarks.made_panel FOLDER --stocks 4000 --days 2500 --features 300

One row a stock and weekday: `Date, Code, Close` and `f000, f001, ...`, standard normal float32. Returns have a part
that the stocks of a sector share, so that correlations, and with them the neighbour graph, are like those of a market.
One stock in ten is listed late and one in ten delisted early. The same numbers give the same bits.
"""

import argparse
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

FIRST_DAY = "2005-01-03"
DAYS_A_GROUP, DAYS_A_FILE = 8, 256
STOCKS_A_SECTOR = 40
SECTOR_MOVE, OWN_MOVE = 0.015, 0.012
CHURN = 0.1
"""Share of the stocks that is listed late, and share that is delisted early."""


def write_panel(folder: Path, *, stocks: int, days: int, features: int, seed: int = 0) -> None:
    """Writes the files `00000.parquet`, ...; holds the rows of `DAYS_A_GROUP` days at a time."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    dates = panel_days(days)
    codes = np.array([f"S{stock:05d}" for stock in range(stocks)])
    listed, delisted = _listings(stocks, days, rng)
    log_price = rng.normal(3.0, 1.0, stocks)
    names = ["Date", "Code", "Close", *(f"f{feature:03d}" for feature in range(features))]
    for first in range(0, days, DAYS_A_FILE):
        stop = min(first + DAYS_A_FILE, days)
        writer: pq.ParquetWriter | None = None
        for start in range(first, stop, DAYS_A_GROUP):
            span = np.arange(start, min(start + DAYS_A_GROUP, stop))
            log_prices = log_price + _moves(len(span), stocks, rng).cumsum(axis=0)
            log_price = log_prices[-1]
            day, stock = np.nonzero((listed <= span[:, None]) & (span[:, None] < delisted))
            values = rng.standard_normal((features, len(day)), dtype=np.float32)
            columns = [dates[span[day]], codes[stock], np.exp(log_prices[day, stock]).astype(np.float32), *values]
            group = pa.table([pa.array(column) for column in columns], names=names)
            # Random numbers do not compress, and a dictionary of them is larger than they are.
            writer = writer or pq.ParquetWriter(
                folder / f"{first:05d}.parquet", group.schema, compression="none", use_dictionary=["Code", "Date"]
            )
            writer.write_table(group)
        assert writer is not None
        writer.close()


def panel_days(days: int) -> np.ndarray:
    """The days of a made panel: the first so many weekdays."""
    return np.busday_offset(FIRST_DAY, np.arange(days), roll="forward")


def _listings(stocks: int, days: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """First day of each stock, and the day after its last."""
    listed, delisted = np.zeros(stocks, np.int64), np.full(stocks, days)
    order, moved = rng.permutation(stocks), int(CHURN * stocks)
    listed[order[:moved]] = rng.integers(days // 10, days, moved)
    delisted[order[moved : 2 * moved]] = rng.integers(days // 10, days, moved)
    return listed, delisted


def _moves(days: int, stocks: int, rng: np.random.Generator) -> np.ndarray:
    sector = np.arange(stocks) // STOCKS_A_SECTOR
    shared = rng.normal(0.0, SECTOR_MOVE, (days, sector[-1] + 1))
    moves: np.ndarray = shared[:, sector] + rng.normal(0.0, OWN_MOVE, (days, stocks))
    return moves


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    for name in ("stocks", "days", "features"):
        parser.add_argument(f"--{name}", type=int, required=True)
    arguments = parser.parse_args()
    write_panel(arguments.folder, stocks=arguments.stocks, days=arguments.days, features=arguments.features)


if __name__ == "__main__":
    main()
