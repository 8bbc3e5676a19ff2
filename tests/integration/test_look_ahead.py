"""Nothing that happens after day t may change anything that is known on day t: the whole chain, disk to prediction."""

import numpy as np
import polars as pl
import pytest
import torch

from atft_gat_fan.config.load import load_config
from atft_gat_fan.inference.predictor import predict_days
from atft_gat_fan.runs.assembly import Assembly, assemble, build_model

LAST_KNOWN = 250
"""Position of day t; training ends before it."""


def assembled(panel: pl.DataFrame, folder) -> Assembly:
    folder.mkdir()
    panel.write_parquet(folder / "panel.parquet")
    days = panel["Date"].unique().sort()
    config = load_config(
        [
            "model=small",
            f"data.source={folder / 'panel.parquet'}",
            f"data.cache={folder / 'cache'}",
            f"split.train_end={days[200]}",
            f"split.valid_end={days[225]}",
            "data.horizons=[1,5]",
        ]
    )
    return assemble(config, lambda stage, share: None)


def another_future(panel: pl.DataFrame) -> pl.DataFrame:
    """The same panel up to day t; afterwards other prices and volumes, a delisting, a listing, missing days."""
    days = panel["Date"].unique().sort()
    past, future = panel.filter(pl.col("Date") <= days[LAST_KNOWN]), panel.filter(pl.col("Date") > days[LAST_KNOWN])
    gone = past.filter(Date=days[LAST_KNOWN])["Code"][3]
    prices = ["Open", "High", "Low", "Close"]
    future = (
        future.filter((pl.col("Code") != gone) & (pl.col("Date") != days[LAST_KNOWN + 4]))
        .with_columns((pl.col(prices) * 3.7).round(2))
        .with_columns((pl.col("Volume") * 5 + 1).cast(pl.Int64))
    )
    listed = future.filter(Code=future["Code"][0]).with_columns(Code=pl.lit("ZNEW"))
    return pl.concat([past, future, listed])


@pytest.fixture(scope="module")
def worlds(panel: pl.DataFrame, tmp_path_factory) -> tuple[Assembly, Assembly]:
    folder = tmp_path_factory.mktemp("worlds")
    return assembled(panel, folder / "as_it_was"), assembled(another_future(panel), folder / "as_it_was_not")


def known(assembly: Assembly) -> list[int]:
    """Positions of the stocks listed by day t: the other world has one more after it."""
    return [i for i, code in enumerate(assembly.store.codes) if code != "ZNEW"]


def test_the_futures_really_differ(worlds):
    one, other = (w.store.column("returns")[:, known(w)][LAST_KNOWN + 1] for w in worlds)
    assert not np.array_equal(one, other, equal_nan=True)


def test_features_do_not_know_the_future(worlds):
    one, other = (w.store.column("features")[: LAST_KNOWN + 1, known(w)] for w in worlds)
    assert np.isfinite(one).mean() > 0.5
    np.testing.assert_array_equal(one, other)


def test_the_normaliser_does_not_know_the_future(worlds):
    one, other = (w.normalizer for w in worlds)
    np.testing.assert_array_equal(one.mean, other.mean)
    np.testing.assert_array_equal(one.std, other.std)


def test_the_graph_does_not_know_the_future(worlds):
    days = np.arange(100, LAST_KNOWN + 1)
    one, other = (
        w.batches.graph.at(days, np.array(known(w)), w.store.column("present")[days][:, known(w)]) for w in worlds
    )
    assert one.mask[:, :, 1:].any()
    for name in ("index", "mask", "edge"):
        assert torch.equal(getattr(one, name), getattr(other, name))


def test_predictions_do_not_know_the_future(worlds):
    one, other = (
        predict_days(build_model(w), w.batches, np.arange(60, LAST_KNOWN + 1)).scores[:, known(w)] for w in worlds
    )
    assert np.isfinite(one).any()
    np.testing.assert_array_equal(one, other)


def test_a_label_knows_only_its_own_horizon(worlds):
    """The label of horizon h on day t - h is the last that both worlds share; one day later they differ."""
    one, other = (w.store.column("labels")[:, known(w)] for w in worlds)
    for i, horizon in enumerate((1, 5)):
        shared = LAST_KNOWN + 1 - horizon
        np.testing.assert_array_equal(one[:shared, :, i], other[:shared, :, i])
        assert not np.array_equal(one[shared, :, i], other[shared, :, i], equal_nan=True)
