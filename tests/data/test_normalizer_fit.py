import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from numpy.testing import assert_allclose

from atft_gat_fan.data import normalizer_fit
from atft_gat_fan.data.normalizer import Normalizer
from atft_gat_fan.data.normalizer_fit import fit_normalizer, kept_normalizer
from atft_gat_fan.data.store import Store
from atft_gat_fan.errors import DataError, StorageError

TRAIN = np.arange(18)


def same(left: Normalizer, right: Normalizer) -> bool:
    return json.dumps(left.to_json()) == json.dumps(right.to_json())


@pytest.mark.parametrize(("shift", "scale"), [(0.0, 1.0), (1e3, 1.0), (-5.0, 1e-3)])
def test_statistics_are_those_of_the_known_training_values(make_frame, make_store, shift, scale):
    frame = make_frame(30, 40).with_columns(pl.col("^f\\d$") * scale + shift)
    store = make_store(frame)
    normalizer = fit_normalizer(store, TRAIN, strict=True)
    training = frame.filter(pl.col("date") <= frame["date"].unique().sort()[int(TRAIN[-1])])
    for column, name in enumerate(normalizer.feature_names):
        values = training[name].drop_nulls().to_numpy().astype(np.float64)
        assert normalizer.counts[column] == len(values)
        assert_allclose(normalizer.mean[column], values.mean(), rtol=1e-12, atol=1e-12 * values.std())
        assert_allclose(normalizer.std[column], values.std(), rtol=1e-12)


def test_statistics_do_not_depend_on_the_shards(make_frame, make_store):
    frame = make_frame()
    whole, cut = make_store(frame, name="a"), make_store(frame, name="b", shard_days=4, max_window=3)
    assert same(fit_normalizer(whole, TRAIN, strict=True), fit_normalizer(cut, TRAIN, strict=True))


def test_statistics_never_see_other_days(make_frame, make_store):
    frame = make_frame()
    last = frame["date"].unique().sort()[int(TRAIN[-1])]
    later = pl.col("date") > last
    changed = pl.concat(
        [
            frame.filter(~later),
            frame.filter(later & (pl.col("code") != "C03")).with_columns(pl.col("^f\\d$") * 100 + 7),
            frame.filter(later)[-1:].with_columns(code=pl.lit("C05X")),
        ]
    )
    before = fit_normalizer(make_store(frame, name="a"), TRAIN, strict=True)
    assert same(before, fit_normalizer(make_store(changed, name="b"), TRAIN, strict=True))
    assert not same(before, fit_normalizer(make_store(changed, name="b"), np.arange(19), strict=True))


def test_columns_that_say_nothing_on_the_training_days_are_dropped_by_name(make_frame, make_store):
    frame = make_frame().with_columns(
        f1=pl.lit(0.1).cast(pl.Float32),  # whose variance is not exactly zero in floating point
        f3=pl.when(pl.col("date") > pl.date(2020, 2, 1)).then("f0"),  # known only after the training days
        f4="f2",
    )
    store = make_store(frame)
    normalizer = fit_normalizer(store, TRAIN, strict=False)
    assert normalizer.dropped == {"f1": "constant", "f3": "empty"}
    assert set(normalizer.feature_names) == {"f0", "f2", "f4"}
    with pytest.raises(DataError) as error:
        fit_normalizer(store, TRAIN, strict=True)
    assert {"f1", "f3"} <= set(str(error.value).replace(":", " ").split())
    assert error.value.exit_code == 65


def test_a_panel_with_nothing_to_learn_from_is_refused(make_frame, make_store):
    store = make_store(make_frame().with_columns(pl.col("^f\\d$") * 0))
    with pytest.raises(DataError, match="3 problems"):
        fit_normalizer(store, TRAIN, strict=False)


def test_statistics_do_not_depend_on_the_number_of_threads(make_frame, make_store, monkeypatch):
    store = make_store(make_frame(60, 20))
    days = np.arange(50)
    expected = fit_normalizer(store, days, strict=True)
    for num_threads in (1, 2, 7):
        monkeypatch.setattr(normalizer_fit.os, "cpu_count", lambda count=num_threads: count)
        assert same(fit_normalizer(store, days, strict=True), expected)


@pytest.mark.parametrize("num_features", [1, 3])
def test_rows_of_absent_stocks_change_no_bit(make_frame, make_store, monkeypatch, num_features):
    """A file may hold stocks that are present on none of the days that are read: here, every other row is one."""
    store = make_store(make_frame(40, 30, num_features=num_features))
    expected = fit_normalizer(store, TRAIN, strict=True)
    plain = Store.block

    def padded(self, first, count, window):
        block = plain(self, first, count, window)
        rows = np.repeat(np.arange(len(block.stocks)), 2)
        features, present = block.features[:, rows].copy(), block.present[:, rows].copy()
        features[:, 1::2], present[:, 1::2] = np.nan, False
        return replace(block.take(rows), features=features, present=present)

    monkeypatch.setattr(Store, "block", padded)
    assert same(fit_normalizer(store, TRAIN, strict=True), expected)


def test_progress_is_the_share_of_the_days(make_frame, make_store):
    shares: list[float] = []
    fit_normalizer(make_store(make_frame(100)), np.arange(80), strict=True, progress=shares.append)
    assert shares == [0.4, 0.8, 1.0]


class Reads:
    """Counts what is read of a store."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.days: list[int] = []
        plain = Store.block

        def counted(store: Store, first: int, count: int, window: int):
            self.days.append(first)
            return plain(store, first, count, window)

        monkeypatch.setattr(Store, "block", counted)


def test_each_training_day_is_read_once_and_nothing_else(make_frame, make_store, monkeypatch):
    store, reads = make_store(make_frame()), Reads(monkeypatch)
    fit_normalizer(store, TRAIN, strict=True)
    assert sorted(reads.days) == TRAIN.tolist()


def test_kept_statistics_are_read_back_to_the_bit_without_reading_the_store(
    make_frame, make_store, tmp_path, monkeypatch
):
    store, file = make_store(make_frame().with_columns(f1=pl.lit(1.0))), tmp_path / "normalizer.json"
    first = kept_normalizer(file, store, TRAIN, strict=False)
    assert same(first, fit_normalizer(store, TRAIN, strict=False))
    reads = Reads(monkeypatch)
    assert same(kept_normalizer(file, store, TRAIN, strict=False), first)
    assert not reads.days


def damaged(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize(
    "harm",
    [damaged, lambda file: file.write_text(file.read_text()[:-20]), lambda file: file.write_text("[]"), Path.unlink],
    ids=["flipped bit", "cut short", "not ours", "missing"],
)
def test_a_damaged_file_is_written_anew(make_frame, make_store, tmp_path, harm):
    store, file = make_store(make_frame()), tmp_path / "normalizer.json"
    expected = kept_normalizer(file, store, TRAIN, strict=True)
    whole = file.read_bytes()
    harm(file)
    assert same(kept_normalizer(file, store, TRAIN, strict=True), expected)
    assert file.read_bytes() == whole


def test_statistics_of_other_days_another_store_or_another_strictness_are_not_taken(make_frame, make_store, tmp_path):
    store, file = make_store(make_frame().with_columns(f1=pl.lit(1.0)), name="a"), tmp_path / "normalizer.json"
    kept_normalizer(file, store, TRAIN, strict=False)
    longer = kept_normalizer(file, store, np.arange(20), strict=False)
    assert same(longer, fit_normalizer(store, np.arange(20), strict=False))
    other = make_store(make_frame(seed=1), name="b")
    other.fingerprint = "other"
    assert same(kept_normalizer(file, other, TRAIN, strict=True), fit_normalizer(other, TRAIN, strict=True))
    with pytest.raises(DataError, match="f1"):
        kept_normalizer(file, store, TRAIN, strict=True)


def test_a_file_that_cannot_be_written_is_named(make_frame, make_store, tmp_path):
    with pytest.raises(StorageError, match=r"missing/normalizer\.json"):
        kept_normalizer(tmp_path / "missing" / "normalizer.json", make_store(make_frame()), TRAIN, strict=True)


def test_forged_statistics_are_written_anew(make_frame, make_store, tmp_path):
    """Key and checksum are right, and the values could not be."""
    store, file = make_store(make_frame()), tmp_path / "normalizer.json"
    honest = kept_normalizer(file, store, TRAIN, strict=True)
    body = json.loads(file.read_bytes())
    del body["sha256"]
    body["normalizer"]["std"][0] = 0.0
    digest = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
    file.write_text(json.dumps({**body, "sha256": digest}))
    assert kept_normalizer(file, store, TRAIN, strict=True).to_json() == honest.to_json()
