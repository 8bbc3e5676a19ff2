"""Stock-days as rows: the values that a network's batches have, of the days that are asked for alone."""

from pathlib import Path

import numpy as np
import pytest
import torch

from atft_gat_fan.data.stock_days import StoredStockDays, UnlabelledError, labelled_rows
from atft_gat_fan.data.store import Store, write_store
from atft_gat_fan.errors import DataError
from tests.inference import examples


@pytest.fixture(scope="module")
def panel(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return examples.store(tmp_path_factory.mktemp("store") / "s", examples.frame())


def test_features_are_those_that_the_network_sees_of_the_day(panel: Store) -> None:
    rows, batches = StoredStockDays(panel, examples.NORMALIZER), examples.batches(panel, graph=False)
    for day in (20, 59):
        stocks = batches.stocks(day)
        of_network = batches.to_device(batches.canonical(day), torch.device("cpu")).features[-1]
        np.testing.assert_array_equal(rows.features(day, stocks), of_network)
        np.testing.assert_array_equal(rows.features(day, stocks[3:5]), of_network[3:5])


def test_a_store_without_a_feature_is_refused(tmp_path: Path) -> None:
    without = examples.frame().rename({"f3": "other"}).with_columns(f2=0.0)
    names = ("f0", "f1", "f2", "other")
    other = write_store(
        tmp_path / "s", without, feature_names=names, horizons=examples.HORIZONS, static=None, metadata={},
        fingerprint="x", max_window=8,
    )  # fmt: skip
    with pytest.raises(DataError, match="f3"):
        StoredStockDays(other, examples.NORMALIZER)


def test_rows_have_features_and_transformed_labels_of_their_days(panel: Store) -> None:
    rows = StoredStockDays(panel, examples.NORMALIZER)
    days = np.arange(10, 30)
    found = labelled_rows(rows, days, 10_000, lambda labels: 2 * labels, lambda: None)
    labels = panel.column("labels", slice(0, 60))
    np.testing.assert_array_equal(found.target, 2 * labels[found.rows.day, found.rows.stock])
    assert set(found.rows.day.tolist()) == set(days.tolist())
    assert len(found.rows.day) == np.isfinite(labels[days]).any(axis=2).sum()
    for row in (0, -1):
        day, stock = found.rows.day[row], found.rows.stock[[row]]
        np.testing.assert_array_equal(found.features[row], rows.features(int(day), stock)[0])


def test_a_horizon_takes_the_rows_whose_label_is_known(panel: Store) -> None:
    def half(labels: np.ndarray) -> np.ndarray:
        labels = labels.copy()
        labels[:, ::2, 1] = np.nan
        return labels

    rows = StoredStockDays(panel, examples.NORMALIZER)
    found = labelled_rows(rows, np.arange(10, 30), 10_000, half, lambda: None)
    features, target = found.of_horizon(0)
    assert features is found.features, "nothing is copied where all are known"
    assert len(target) == len(found.rows.day)
    features, target = found.of_horizon(1)
    known = found.rows.stock % 2 == 1
    np.testing.assert_array_equal(features, found.features[known])
    np.testing.assert_array_equal(target, found.target[known, 1])


def test_days_without_any_label_at_a_horizon_are_refused(panel: Store) -> None:
    def none(labels: np.ndarray) -> np.ndarray:
        return np.where(np.arange(2) == 1, np.nan, labels)

    with pytest.raises(UnlabelledError, match=r"split\.train_end"):
        labelled_rows(StoredStockDays(panel, examples.NORMALIZER), np.arange(10, 30), 10_000, none, lambda: None)
