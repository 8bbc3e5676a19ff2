"""An ensemble is the mean of its members' ranks, whatever their scales, order and universes."""

from itertools import permutations

import numpy as np
import polars as pl
import pytest
from scipy.stats import rankdata

from atft_gat_fan.inference.ensemble import mean_of_ranks
from atft_gat_fan.inference.score_table import score_table

DAYS = np.array(["2020-01-02", "2020-01-03"], dtype="datetime64[D]")
CODES = tuple(f"S{number:02}" for number in range(11))
HORIZONS = (1, 5)


def member(seed: int) -> np.ndarray:
    """Scores with ties, and a stock that is absent on the second day."""
    scores = np.random.default_rng(seed).normal(size=(2, len(CODES), 2)).round(1).astype(np.float32)
    scores[1, 3] = np.nan
    return scores


def table(scores: np.ndarray, codes: tuple[str, ...] = CODES) -> pl.DataFrame:
    return score_table(DAYS, codes, HORIZONS, scores)


def test_it_is_the_mean_of_the_ranks_scaled_to_one():
    members = [member(seed) for seed in range(3)]
    ensemble = mean_of_ranks([table(scores) for scores in members], HORIZONS)
    for position, day in enumerate(DAYS):
        there = np.isfinite(members[0][position, :, 0])
        for column, horizon in enumerate(HORIZONS):
            ranks = [(rankdata(scores[position, there, column]) - 1) / (there.sum() - 1) for scores in members]
            found = ensemble.filter(date=day.item())
            assert found["code"].to_list() == [code for code, is_there in zip(CODES, there, strict=True) if is_there]
            np.testing.assert_allclose(found[f"horizon_{horizon}d"], np.mean(ranks, axis=0), rtol=1e-6)


def test_it_is_a_score_table():
    scores = table(member(0))
    ensemble = mean_of_ranks([scores], HORIZONS)
    assert ensemble.schema == scores.schema
    assert ensemble.select("date", "code", "rank_1d", "rank_5d").equals(
        scores.select("date", "code", "rank_1d", "rank_5d")
    ), "one member ranks as it does alone"
    assert (ensemble["horizon_1d"].min(), ensemble["horizon_1d"].max()) == (0, 1)


def test_neither_the_order_of_members_nor_of_rows_shows():
    tables = [table(member(seed)) for seed in range(4)]
    expected = mean_of_ranks(tables, HORIZONS)
    for order in permutations(tables):
        assert mean_of_ranks([rows.sample(fraction=1, shuffle=True, seed=1) for rows in order], HORIZONS).equals(
            expected
        )


def test_the_scale_of_a_member_does_not_count():
    one, other = member(0), member(1)
    stretched = np.sign(other) * np.abs(other).astype(np.float32) ** 3 * 1e6
    assert mean_of_ranks([table(one), table(stretched)], HORIZONS).equals(
        mean_of_ranks([table(one), table(other)], HORIZONS)
    )


def test_a_member_that_collapsed_leaves_the_ranking_to_the_others():
    scores = table(member(0))
    constant = scores.with_columns(pl.lit(7.0, pl.Float32).alias(f"horizon_{h}d") for h in HORIZONS)
    ensemble = mean_of_ranks([scores, constant], HORIZONS)
    assert ensemble["rank_5d"].equals(scores["rank_5d"])
    assert ensemble["horizon_5d"].is_between(0.25, 0.75).all()


@pytest.mark.parametrize("unknown", [None, float("nan")])
def test_only_what_every_member_scored_is_ranked_and_among_itself(unknown: float | None):
    narrow = table(member(1)).filter(pl.col("code") != CODES[0])
    hole = pl.when(pl.col("code") != CODES[1]).then(pl.col("horizon_5d")).otherwise(unknown)
    wide = table(member(0)).with_columns(hole.alias("horizon_5d"))
    common = [rows.filter(~pl.col("code").is_in(CODES[:2])) for rows in (wide, narrow)]
    assert mean_of_ranks([wide, narrow], HORIZONS).equals(mean_of_ranks(common, HORIZONS))


def test_a_stock_alone_on_its_day_is_in_the_middle():
    alone = table(member(0)).head(1)
    assert mean_of_ranks([alone, alone], HORIZONS).select("horizon_1d", "rank_1d").row(0) == (0.5, 1)


def test_members_with_nothing_in_common_give_an_empty_table():
    scores = table(member(0))
    ensemble = mean_of_ranks([scores, scores.clear()], HORIZONS)
    assert ensemble.height == 0
    assert ensemble.schema == scores.schema
