"""Where Huber turns linear: as configured, or from the spread of the training labels as the loss sees them."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from scipy.stats import rankdata

from atft_gat_fan.config.load import load_config
from atft_gat_fan.config.schema import SyntheticConfig
from atft_gat_fan.data.sources.synthetic import synthetic_panel
from atft_gat_fan.errors import DataError
from atft_gat_fan.runs.assembly import Assembly, assemble
from atft_gat_fan.runs.huber_deltas import huber_deltas


@pytest.fixture(scope="module")
def panel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("panel")
    synthetic_panel(SyntheticConfig(num_stocks=8, num_days=260)).write_parquet(folder / "panel.parquet")
    return folder / "panel.parquet"


def assembled(panel: Path, *overrides: str) -> Assembly:
    places = [f"data.source={panel}", f"data.cache={panel.parent / 'cache'}"]
    return assemble(load_config([*places, "model=small", "data.horizons=[1,5]", *overrides]), lambda stage, share: None)


def test_squared_error_has_none_and_numbers_are_taken_as_they_are(panel: Path):
    assert huber_deltas(assembled(panel, "loss.huber_delta=auto")) is None
    on = "improvements.huber_loss=true"
    assert huber_deltas(assembled(panel, on)) == (0.01, 0.01)
    assert huber_deltas(assembled(panel, on, "loss.huber_delta=[0.02,0.05]")) == (0.02, 0.05)


def known(labels: np.ndarray) -> np.ndarray:
    return labels[~np.isnan(labels)].astype(np.float64)


def within_day(labels: np.ndarray, transform) -> np.ndarray:
    """`transform` of each day's known labels."""
    return np.concatenate([transform(known(day)) for day in labels if len(known(day))])


ORACLES = {
    "raw": known,
    "zscore": lambda labels: within_day(labels, lambda x: (x - x.mean()) / x.std()),
    "rank": lambda labels: within_day(labels, lambda x: ((rankdata(x) - 0.5) / len(x) - 0.5) * 12**0.5),
}


@pytest.mark.parametrize("transform", ORACLES)
def test_auto_is_a_share_of_the_spread_of_the_transformed_training_labels(panel: Path, transform: str):
    assembly = assembled(panel, "loss.type=huber", "loss.huber_delta=auto", f"labels.transform={transform}")
    labels = assembly.store.column("labels")[assembly.split.train]
    expected = [0.55 * ORACLES[transform](labels[..., horizon]).std() for horizon in range(2)]
    np.testing.assert_allclose(huber_deltas(assembly), expected, rtol=1e-6)  # labels are float32


def test_auto_without_any_spread_is_refused_with_its_horizon(panel: Path, tmp_path: Path):
    constant = pl.read_parquet(panel).with_columns(target_1d=pl.lit(0.01))
    constant.write_parquet(tmp_path / "panel.parquet")
    assembly = assembled(
        tmp_path / "panel.parquet", "data.features=derived", "loss.type=huber", "loss.huber_delta=auto"
    )
    with pytest.raises(DataError, match=r"horizons \[1\].*loss\.huber_delta"):
        huber_deltas(assembly)
