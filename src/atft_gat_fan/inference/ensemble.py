"""Several models as one: the mean of their ranks, which no member's scale or outlier can dominate."""

from collections.abc import Sequence

import polars as pl

from atft_gat_fan.inference.score_table import with_ranks

KEYS = ("date", "code")
MEMBER = "member"


def mean_of_ranks(tables: Sequence[pl.DataFrame], horizons: Sequence[int]) -> pl.DataFrame:
    """One score table of several, each with a row a stock-day: `date, code, horizon_{h}d…`, in any order.

    A member's rank is scaled to [0, 1] within its day, 1 the highest score; equal scores share the mean of their ranks,
    so a member that tells no stocks apart moves nobody. `horizon_{h}d` is the mean over members (float32, the same
    whatever their order; 0.5 for a stock that is alone on its day), `rank_{h}d` its rank. A stock-day is ranked where
    every member has finite scores of it, among these: a stock that some member left out would otherwise be compared
    by fewer votes. Rows are sorted by date and code.

    Borda 1781; as ensembles of rankings in Dwork et al. 2001, "Rank aggregation methods for the web", sec. 3.
    """
    assert tables, "expected at least one member"
    names = [f"horizon_{horizon}d" for horizon in horizons]
    members = pl.concat(
        table.select(*KEYS, *names, pl.lit(member).alias(MEMBER)).filter(pl.all_horizontal(pl.col(names).is_finite()))
        for member, table in enumerate(tables)
    )
    assert not members.select(*KEYS, MEMBER).is_duplicated().any(), "expected each stock-day of a member once"
    common = members.filter(pl.len().over(KEYS) == len(tables))
    ranked = common.with_columns(pl.col(names).rank("average").over(MEMBER, "date"))
    # Ranks are multiples of one half: their sum is exact, so the order of the members cannot show.
    summed = ranked.group_by(KEYS).agg(pl.col(names).sum()).sort(KEYS)
    others = pl.len().over("date") - 1
    scaled = (pl.col(names) - len(tables)) / (len(tables) * others)
    return with_ranks(summed.with_columns(pl.when(others > 0).then(scaled).otherwise(0.5).cast(pl.Float32)), horizons)
