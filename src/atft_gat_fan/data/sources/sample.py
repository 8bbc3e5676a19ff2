"""The embedded real data: adjusted closes of 20 S&P 500 stocks, 1990-2022, shipped inside skfolio."""

import numpy as np
import polars as pl

from atft_gat_fan.config.schema import ColumnsConfig
from atft_gat_fan.data.sources.base import Source, fingerprint_bytes


def open_sample() -> Source:
    """20 stocks, 8,313 days, close only (adjusted), read from the installed skfolio: no network, no home folder."""
    from skfolio.datasets import load_sp500_dataset  # costs 1.7 s to import; only this source needs it

    wide = load_sp500_dataset()
    codes = [str(code) for code in wide.columns]
    days = wide.index.to_numpy().astype("datetime64[D]")
    closes = np.ascontiguousarray(wide.to_numpy(dtype=np.float64))
    frame = pl.DataFrame(
        {
            "Date": np.repeat(days, len(codes)),
            "Code": codes * len(days),
            "Close": closes.ravel(),
        }
    )
    return Source(
        frame=frame.lazy(),
        name="sample",
        identity="sample",
        fingerprint=fingerprint_bytes([days.astype(np.int64).tobytes(), "\n".join(codes).encode(), closes.tobytes()]),
        columns=ColumnsConfig(),
    )
