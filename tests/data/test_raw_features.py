"""Raw features are those that a store standardises, of the same days, and of nothing later."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from atft_gat_fan.config.schema import DataConfig, SyntheticConfig
from atft_gat_fan.data import raw_features
from atft_gat_fan.data.features import derive_features
from atft_gat_fan.data.raw_features import RawFeatures, holds_prices
from atft_gat_fan.data.sources.synthetic import synthetic_panel

NAMES = ("ROC_1", "STD_60", "RSV_20", "DVOL_20")


@pytest.fixture(scope="module")
def panel() -> pl.DataFrame:
    return synthetic_panel(SyntheticConfig(num_stocks=12, num_days=220))


def made(panel: pl.DataFrame, folder: Path, first: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    panel.write_parquet(folder / "panel.parquet")
    days = tuple(panel["Date"].unique().sort().to_list()[first : first + count])
    config = DataConfig(source=str(folder / "panel.parquet"))
    raw = RawFeatures.open(config, days, NAMES, lambda share: None)
    stretches = list(raw.stretches(lambda share: None))
    return np.concatenate([day for day, _ in stretches]), np.concatenate([values for _, values in stretches])


def ordered(day: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Rows in an order of their own: by day, then by values."""
    return np.array(sorted(map(tuple, np.column_stack([day, np.nan_to_num(values, nan=-99.0)]))))


def test_they_are_those_of_the_whole_panel_whatever_the_stretch(
    panel: pl.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(raw_features, "STRETCH_DAYS", 7)
    day, values = made(panel, tmp_path, 130, 40)
    canonical = panel.rename(
        {name: name.lower() for name in ("Date", "Code", "Open", "High", "Low", "Close", "Volume")}
    )
    whole = derive_features(canonical.with_columns(adj_close="close"), NAMES)
    days = panel["Date"].unique().sort()
    of_days = whole.filter(pl.col("date").is_between(days[130], days[169]))
    expected_day = days.search_sorted(of_days["date"]).to_numpy() - 130
    expected = of_days.select(pl.col(NAMES).fill_null(float("nan"))).to_numpy()
    np.testing.assert_array_equal(ordered(day, values), ordered(expected_day, expected))


def test_what_comes_later_changes_nothing(panel: pl.DataFrame, tmp_path: Path) -> None:
    days = panel["Date"].unique().sort()
    later = pl.col("Date") > days[150]
    changed = panel.with_columns(pl.when(later).then(pl.col("Close") * 3).otherwise(pl.col("Close")).alias("Close"))
    changed = changed.with_columns(High=pl.max_horizontal("High", "Close"))
    one = ordered(*made(panel, tmp_path, 140, 11))
    other = ordered(*made(changed, tmp_path, 140, 11))
    np.testing.assert_array_equal(one, other)
    assert not np.array_equal(ordered(*made(panel, tmp_path, 152, 5)), ordered(*made(changed, tmp_path, 152, 5)))


def test_a_move_of_all_stocks_is_seen_which_standardising_within_the_day_hides(
    panel: pl.DataFrame, tmp_path: Path
) -> None:
    days = panel["Date"].unique().sort()
    prices = ("Open", "High", "Low", "Close")
    fallen = panel.with_columns(
        pl.when(pl.col("Date") >= days[150]).then(pl.col(*prices) * 0.8).otherwise(pl.col(*prices))
    )
    (_, before), (_, after) = made(panel, tmp_path, 150, 1), made(fallen, tmp_path, 150, 1)
    assert np.nanmean(after[:, 0]) - np.nanmean(before[:, 0]) == pytest.approx(-0.2, abs=0.01)


def test_variants_are_made_too_and_one_in_the_category_is_the_feature_itself(
    panel: pl.DataFrame, tmp_path: Path
) -> None:
    panel.write_parquet(tmp_path / "panel.parquet")
    days = tuple(panel["Date"].unique().sort().to_list()[130:140])
    names = ("STD20", "STD20_mkt", "STD20_sec", "MA_20_mkt")
    settings = {"features": "derived+alpha158", "relative": ("market", "sector")}
    config = DataConfig.model_validate({"source": str(tmp_path / "panel.parquet"), **settings})
    raw = RawFeatures.open(config, days, names, lambda share: None)
    values = np.concatenate([part for _, part in raw.stretches(lambda share: None)])
    np.testing.assert_array_equal(values[:, 0], values[:, 2])
    assert np.nanmax(np.abs(values[:, 0] - values[:, 1])) > 1e-3
    assert np.isfinite(values).mean() > 0.8


def test_a_store_holds_no_prices(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "manifest.json").write_text("{}")
    assert holds_prices(DataConfig(source="sample"))
    assert not holds_prices(DataConfig(source=str(tmp_path / "store")))
