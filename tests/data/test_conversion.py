"""From a source to a store: what is in it, and when it is built again."""

from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from atft_gat_fan.config.schema import Config, DataConfig, SyntheticConfig
from atft_gat_fan.data.conversion import cached_store, convert
from atft_gat_fan.data.features import DERIVED_FEATURES
from atft_gat_fan.data.sources.synthetic import synthetic_panel
from atft_gat_fan.data.splits import split_days, usable_days
from atft_gat_fan.data.store import Store
from atft_gat_fan.errors import DataError

MARKET = SyntheticConfig(num_stocks=10, num_days=260, num_sectors=3, churn=0.4)


def silent(message: str, share: float) -> None:
    assert message
    assert 0 <= share <= 1


def config(path: Path, **data: Any) -> Config:
    settings = {"source": "synthetic", "synthetic": MARKET, "horizons": (1, 5), "cache": str(path / "cache")}
    return Config(data=DataConfig(**(settings | data)))


def columns(store: Store, name: str) -> np.ndarray:
    return np.asarray(store.column(name))


def test_the_store_holds_derived_features_labels_returns_and_liquidity(tmp_path: Path) -> None:
    store = convert(config(tmp_path), tmp_path / "store", silent)
    assert store.feature_names == DERIVED_FEATURES
    assert store.horizons == (1, 5)
    assert len(store.days) == 260
    assert store.static_categories == ("0", "1", "2")
    price = synthetic_panel(MARKET).pivot("Code", index="Date", values="Close").select(store.codes).to_numpy()
    labels, returns = columns(store, "labels"), columns(store, "returns")
    np.testing.assert_allclose(labels[:-1, :, 0], price[1:] / price[:-1] - 1, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(labels[:-5, :, 1], price[5:] / price[:-5] - 1, rtol=1e-5, atol=1e-7)
    assert np.isnan(labels[-5:, :, 1]).all()
    # A stock's return today is yesterday's one-day label.
    np.testing.assert_array_equal(returns[1:], labels[:-1, :, 0])
    np.testing.assert_array_equal(columns(store, "present"), np.isfinite(price))
    assert np.isfinite(columns(store, "dollar_volume")[100]).sum() > 5


def test_metadata_says_where_it_came_from(tmp_path: Path) -> None:
    store = convert(config(tmp_path), tmp_path / "store", silent)
    assert store.metadata["source"] == "synthetic"
    assert store.metadata["features"] == "derived"
    assert store.metadata["labels"] == {"1d": "derived", "5d": "derived"}
    assert store.metadata["first_day"] == "2015-01-02"
    labels, present = columns(store, "labels"), columns(store, "present").astype(bool)
    assert store.metadata["missing_labels"]["5d"] == pytest.approx(np.isnan(labels[present][:, 1]).mean())


def test_what_the_panel_brings_wins_over_what_can_be_derived(tmp_path: Path) -> None:
    panel = synthetic_panel(MARKET).with_columns(target_1d=pl.lit(0.01), returns_1d=pl.lit(0.02), alpha=pl.lit(3.0))
    panel.write_parquet(tmp_path / "panel.parquet")
    store = convert(config(tmp_path, source=str(tmp_path / "panel.parquet")), tmp_path / "store", silent)
    present = columns(store, "present").astype(bool)
    assert store.feature_names == ("alpha",)
    np.testing.assert_allclose(columns(store, "labels")[present][:, 0], 0.01)
    np.testing.assert_allclose(columns(store, "returns")[present], 0.02)
    assert store.metadata["labels"] == {"1d": "target_1d", "5d": "derived"}
    # What the user standardised, or did not, stays as it is.
    np.testing.assert_array_equal(store.block(100, 1, 1).features[present[100:101]], 3.0)


def test_a_panel_without_prices_has_no_liquidity(tmp_path: Path) -> None:
    panel = synthetic_panel(MARKET).select(
        "Date", "Code", target_1d=pl.lit(0.01), returns_1d=pl.lit(0.02), rsi=pl.lit(1.0)
    )
    panel.write_parquet(tmp_path / "panel.parquet")
    settings = config(tmp_path, source=str(tmp_path / "panel.parquet"), horizons=(1,))
    store = convert(settings, tmp_path / "store", silent)
    assert np.isnan(columns(store, "dollar_volume")).all()
    assert store.static_categories == ()
    assert np.nanmax(columns(store, "returns")) == np.float32(0.02)


def test_close_only_and_constant_columns_convert(tmp_path: Path) -> None:
    panel = synthetic_panel(MARKET).select("Date", "Code", Close=pl.lit(5.0), Volume=pl.lit(None, pl.Int64))
    panel.write_parquet(tmp_path / "panel.parquet")
    store = convert(config(tmp_path, source=str(tmp_path / "panel.parquet")), tmp_path / "store", silent)
    block = store.block(200, 1, 1).features[0][columns(store, "present")[200].astype(bool)]
    of = {name: block[:, i] for i, name in enumerate(store.feature_names)}
    assert (of["ROC_5"] == 0).all()
    assert np.isnan(of["VMA_5"]).all()


def test_a_category_is_the_first_one_known(tmp_path: Path) -> None:
    later = pl.when(pl.col("Date") > date(2015, 6, 1)).then(pl.lit("later")).otherwise("sector33")
    synthetic_panel(MARKET.model_copy(update={"churn": 0.0})).with_columns(later.alias("sector33")).write_parquet(
        tmp_path / "panel.parquet"
    )
    store = convert(config(tmp_path, source=str(tmp_path / "panel.parquet")), tmp_path / "store", silent)
    assert store.static_categories == ("0", "1", "2")
    assert any("sector33 changes" in warning for warning in store.metadata["warnings"])


def test_a_later_start_changes_no_bit_of_the_days_that_are_left(tmp_path: Path) -> None:
    whole = convert(config(tmp_path), tmp_path / "whole", silent)
    start = whole.days[200].item()
    later = convert(config(tmp_path, start=start), tmp_path / "later", silent)
    assert later.metadata["first_day"] == str(start)
    assert len(later.days) < len(whole.days)
    usable = usable_days(later.days, config(tmp_path, start=start).data)
    assert later.days[usable[0]] == whole.days[200]
    split = split_days(later.days, config(tmp_path).split, (1, 5), usable)
    assert later.days[split.train[0]] == whole.days[200]
    # Whole windows too: warm-up days come before the first usable day.
    window, position = 20, usable[0]
    common = [whole.codes.index(code) for code in later.codes]
    np.testing.assert_array_equal(
        later.block(position, 3, window).features, whole.block(200, 3, window).features[:, common]
    )


def test_a_store_is_built_once_and_again_when_what_shapes_it_changes(tmp_path: Path) -> None:
    built: list[str] = []

    def progress(message: str, share: float) -> None:
        built.append(message)

    def builds(settings: Config) -> bool:
        built.clear()
        cached_store(settings, progress)
        return bool(built)

    assert builds(config(tmp_path))
    assert not builds(config(tmp_path))
    assert not builds(config(tmp_path, num_workers=3, exchange=None, window=10))
    assert builds(config(tmp_path, standardise="rank"))
    assert builds(config(tmp_path, horizons=(1, 2)))
    assert builds(config(tmp_path, start=date(2015, 6, 1)))
    assert builds(config(tmp_path, synthetic=MARKET.model_copy(update={"seed": 8})))
    assert not builds(config(tmp_path))


def test_a_damaged_cached_store_is_built_again(tmp_path: Path) -> None:
    store = cached_store(config(tmp_path), silent)
    (store.path / "manifest.json").write_text("{")
    messages: list[str] = []
    again = cached_store(config(tmp_path), lambda message, share: messages.append(message))
    assert again.fingerprint == store.fingerprint
    assert "again" in messages[0]


def test_a_store_is_a_source_of_its_own(tmp_path: Path) -> None:
    store = convert(config(tmp_path), tmp_path / "store", silent)
    direct = cached_store(config(tmp_path, source=str(tmp_path / "store")), silent)
    assert direct.path == store.path
    assert not (tmp_path / "cache").exists()
    with pytest.raises(DataError, match=r"horizons \[1, 2\], found \[1, 5\]"):
        cached_store(config(tmp_path, source=str(tmp_path / "store"), horizons=(1, 2)), silent)


def test_problems_of_the_source_leave_no_store(tmp_path: Path) -> None:
    synthetic_panel(MARKET).with_columns(Close=pl.lit(-1.0)).write_parquet(tmp_path / "panel.parquet")
    with pytest.raises(DataError, match="positive prices"):
        cached_store(config(tmp_path, source=str(tmp_path / "panel.parquet")), silent)
    assert not (tmp_path / "cache").exists()
