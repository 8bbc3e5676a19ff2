"""What each day of a panel holds, as a number: which of its days have changed since a store was made of them.

The digest of a day is a sum over its rows, so neither the order of the rows nor the files they lie in matter, and one
pass over the source is enough. Of a row it is its values' bits times odd numbers of the columns' own, added up and
mixed with the code: any change of one value of one row changes it for certain, and a change of several leaves it with
the chance 2^-64. It is no protection from somebody who wants two panels to look the same.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from functools import reduce
from operator import add

import numpy as np
import polars as pl
from jaxtyping import UInt64
from numpy import ndarray

from atft_gat_fan.data.panel_checks import COLUMNS_AT_ONCE, collect
from atft_gat_fan.data.sources import Source


def day_digests(
    rows: pl.LazyFrame, columns: Sequence[str], source: Source, progress: Callable[[float], None]
) -> UInt64[ndarray, " days"]:
    """One number for each day, in the order of the days, of the codes and these columns of canonical rows."""
    schema = rows.collect_schema()
    digests = np.zeros(1, np.uint64)
    groups = list(_groups(columns))
    for done, group in enumerate(groups):
        progress(done / len(groups))
        row = reduce(add, (_weighted(name, schema[name]) for name in group), pl.col("code").hash(0))
        of_days = rows.select("date", row.hash(0).alias("digest")).group_by("date").agg(pl.col("digest").sum())
        digests = digests + collect(of_days, source).sort("date")["digest"].to_numpy()
    progress(1.0)
    return digests


def _groups(columns: Sequence[str]) -> Iterator[Sequence[str]]:
    """At least one: a panel's days have stocks even where nothing is known of them."""
    for position in range(0, max(len(columns), 1), COLUMNS_AT_ONCE):
        yield columns[position : position + COLUMNS_AT_ONCE]


def _weighted(name: str, dtype: pl.DataType) -> pl.Expr:
    weight = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little") | 1  # odd: no bit of a value is lost
    bits = pl.col(name).fill_null(float("nan")).reinterpret(dtype=pl.UInt32 if dtype == pl.Float32 else pl.UInt64)
    return bits.cast(pl.UInt64) * pl.lit(weight, pl.UInt64)
