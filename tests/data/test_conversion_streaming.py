"""Conversion in pieces gives the bits of the plain functions over the whole panel, and builds no piece twice."""

from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from atft_gat_fan.config.schema import Config, DataConfig, SyntheticConfig
from atft_gat_fan.data.bars import Bars, median_dollar_volume, trailing_returns
from atft_gat_fan.data.conversion import cached_store, convert
from atft_gat_fan.data.features import derivable_features, derive_features, set_of, standardise_features
from atft_gat_fan.data.labels import derive_labels, label_name
from atft_gat_fan.data.panel import open_panel
from atft_gat_fan.data.sources import open_source
from atft_gat_fan.data.sources.synthetic import synthetic_panel
from atft_gat_fan.data.store import Store
from atft_gat_fan.errors import DataError

NUM_DAYS = 230
SHARD_DAYS = 40
HORIZONS = (1, 3, 5)


def silent(message: str, share: float) -> None:
    assert message
    assert 0 <= share <= 1


def messy_prices(seed: int = 0) -> pl.DataFrame:
    """Listings, delistings, short gaps, a long suspension, missing values, days without trades; rows in any order."""
    rng = np.random.default_rng(seed)
    market = SyntheticConfig(num_stocks=12, num_days=NUM_DAYS, churn=0.6, seed=seed)
    frame = synthetic_panel(market).with_columns(AdjClose=pl.col("Close") * 0.5)
    position = frame["Date"].rank("dense")
    suspended = (frame["Code"] == "S0003") & position.is_between(90, 120)
    away = pl.Series(rng.random(frame.height) < 0.04) | suspended
    no_trade, no_open, no_price = (pl.Series(rng.random(frame.height) < 0.03) for _ in range(3))
    frame = frame.with_columns(
        pl.when(no_trade).then(0).otherwise("Volume").alias("Volume"),
        pl.when(no_open).then(None).otherwise("Open").alias("Open"),
        pl.when(no_price).then(None).otherwise("AdjClose").alias("AdjClose"),
        pl.when(no_open).then(pl.col("Low") * 0.9).otherwise("High").alias("High"),
    )
    return frame.filter(~away).sample(fraction=1.0, shuffle=True, seed=seed)


def with_features(frame: pl.DataFrame, number: int) -> pl.DataFrame:
    """More columns than are read at once, of both float types, some missing, one masked; labels and returns."""
    rng = np.random.default_rng(1)
    columns = {f"x{i}": rng.normal(size=frame.height).astype(np.float32 if i % 2 else float) for i in range(number)}
    frame = frame.with_columns(
        **columns,
        target_1d=pl.Series(rng.normal(0, 0.01, frame.height)),
        returns_1d=pl.Series(rng.normal(0, 0.01, frame.height)),
        is_x1_valid=pl.Series(rng.random(frame.height) < 0.8),
    )
    return frame.with_columns(pl.when(pl.col("x0") > 1.5).then(None).otherwise("x0").alias("x0"))


def config(source: Path, **data: Any) -> Config:
    return Config(data=DataConfig(**({"source": str(source), "horizons": HORIZONS} | data)))


def build(settings: Config, out: Path) -> Store:
    return convert(settings, out, silent, shard_days=SHARD_DAYS)


def plain(settings: Config) -> dict[str, np.ndarray]:
    """Every array of the store, dense, from functions that see the whole panel at once."""
    data = settings.data
    panel = open_panel(data, open_source(data), lambda share: None)
    frame = panel.rows.collect().sort("date", "code")
    names = panel.features or derivable_features(frame.columns, set_of(data.features), data.relative)
    if panel.features:
        features = frame.select(names)
    else:
        features = standardise_features(derive_features(frame, names), names, data.standardise, categories(data, frame))
    horizons = [horizon for horizon in data.horizons if horizon not in panel.label_columns]
    labels = derive_labels(frame, horizons, data.delisting_return) if panel.has_prices and horizons else frame
    unknown = pl.Series([None] * frame.height, dtype=pl.Float32)
    returns = frame["returns_1d"] if "returns_1d" in frame.columns else trailing_returns(Bars(frame))
    values = {
        "features": features.select(names),
        "labels": labels.select(label_name(horizon) for horizon in data.horizons),
        "returns": returns.to_frame(),
        "dollar_volume": (median_dollar_volume(Bars(frame)) if "volume" in frame.columns else unknown).to_frame(),
        "present": pl.DataFrame({"present": np.ones(frame.height, np.float32)}),
    }
    day, stock = (frame[name].rank("dense").to_numpy().astype(np.int64) - 1 for name in ("date", "code"))
    dense = {}
    for name, columns in values.items():
        grid = np.full((len(panel.days), len(panel.codes), columns.width), np.nan, np.float32)
        grid[day, stock] = columns.select(pl.all().cast(pl.Float32).fill_null(np.nan)).to_numpy()
        dense[name] = grid if name in ("features", "labels") else grid[..., 0]
    return dense | {"present": dense["present"] == 1}


def categories(data: DataConfig, frame: pl.DataFrame) -> np.ndarray | None:
    """Of each row the stock's first category, a digit, from the day on that it is known."""
    source = pl.read_parquet(data.source) if data.source.endswith(".parquet") else pl.DataFrame()
    if "sector33" not in source.columns:
        return None
    known = source.sort("Date").filter(pl.col("sector33").is_not_null()).group_by("Code").first()
    rows = frame.join(known, left_on="code", right_on="Code", how="left", maintain_order="left")
    digit = pl.when(pl.col("Date") <= pl.col("date")).then(pl.col("sector33").cast(pl.Int64)).fill_null(-1)
    return rows.select(digit).to_series().to_numpy()


def with_sectors(frame: pl.DataFrame) -> pl.DataFrame:
    """Two sectors, the first stocks' known from a day on, S0002's never; another one later on, which is not taken."""
    sector = (pl.col("Code").str.slice(-1).cast(pl.Int64) % 2).cast(pl.String)
    late = pl.when(pl.col("Date") > DAYS[130]).then(sector)
    return frame.with_columns(
        sector33=pl.when(pl.col("Code") == "S0002")
        .then(None)
        .when(pl.col("Code") < "S0005")
        .then(late)
        .when(pl.col("Date") > DAYS[150])
        .then(pl.lit("1"))
        .otherwise(sector)
    )


def write_csv(frame: pl.DataFrame, folder: Path) -> Path:
    frame.write_csv(folder / "panel.csv")
    return folder / "panel.csv"


def write_hive(frame: pl.DataFrame, folder: Path) -> Path:
    for (code,), rows in frame.partition_by("Code", as_dict=True, include_key=False).items():
        (folder / "panel" / f"Code={code}").mkdir(parents=True)
        rows.write_parquet(folder / "panel" / f"Code={code}" / "part.parquet", row_group_size=50)
    return folder / "panel"


def write_parquet(frame: pl.DataFrame, folder: Path) -> Path:
    frame.write_parquet(folder / "panel.parquet", row_group_size=333)
    return folder / "panel.parquet"


Change = Callable[[pl.DataFrame], pl.DataFrame]
CASES: dict[str, tuple[Callable[[pl.DataFrame, Path], Path], Change, dict[str, Any]]] = {
    "prices": (write_parquet, lambda f: f, {}),
    "ranks": (write_parquet, lambda f: f, {"standardise": "rank"}),
    "delisting return": (write_parquet, lambda f: f, {"delisting_return": -0.3}),
    "from a day on": (write_parquet, lambda f: f, {"start": date(2015, 8, 3), "end": date(2015, 10, 30)}),
    "csv": (write_csv, lambda f: f, {}),
    "hive": (write_hive, lambda f: f, {}),
    "by code": (write_parquet, lambda f: f.sort("Code", "Date"), {}),
    "close only": (write_parquet, lambda f: f.select("Date", "Code", "Close"), {}),
    "alpha158": (
        write_parquet,
        lambda f: f.with_columns(VWAP=pl.col("Low") * 0.4 + pl.col("High") * 0.6),
        {"features": "alpha158"},
    ),
    "variants": (
        write_parquet,
        lambda f: with_sectors(f),
        {"features": "derived+alpha158", "relative": ("market", "sector"), "standardise": "rank"},
    ),
    "own features": (write_parquet, lambda f: with_features(f, 70), {}),
    "own features alone": (
        write_parquet,
        lambda f: with_features(f, 3).drop("Open", "High", "Low", "Close", "AdjClose", "Volume"),
        {"horizons": (1,)},
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_store_has_the_bits_of_the_plain_functions(tmp_path: Path, case: str) -> None:
    write, change, settings = CASES[case]
    source = config(write(change(messy_prices()), tmp_path), **settings)
    store = build(source, tmp_path / "store")
    expected = plain(source)
    assert len(store.days) > SHARD_DAYS
    for name, array in expected.items():
        np.testing.assert_array_equal(store.column(name), array, err_msg=name)
    shares = np.isnan(expected["labels"][expected["present"] & first_usable(store)]).mean(axis=0)
    assert list(store.metadata["missing_labels"].values()) == pytest.approx(shares.tolist())
    store.check()


def first_usable(store: Store) -> np.ndarray:
    return (store.days >= np.datetime64(store.metadata["first_day"]))[:, None]


def test_a_shard_repeats_the_bits_of_the_days_before_it_is_known(tmp_path: Path) -> None:
    source = config(write_parquet(messy_prices(), tmp_path))
    small, one = build(source, tmp_path / "small"), convert(source, tmp_path / "one", silent, shard_days=NUM_DAYS)
    for first in range(63, NUM_DAYS - 1, 7):
        block, whole = small.block(first, 1, 64), one.block(first, 1, 64)
        assert not whole.present[:, np.setdiff1d(whole.stocks, block.stocks)].any()
        for name in ("features", "labels", "returns", "dollar_volume", "present"):
            same_stocks = getattr(whole, name)[:, np.searchsorted(whole.stocks, block.stocks)]
            np.testing.assert_array_equal(getattr(block, name), same_stocks, err_msg=name)


DAYS = messy_prices()["Date"].unique().sort()
LAST = pl.col("Date") > DAYS[NUM_DAYS - 6]


def append(frame: pl.DataFrame) -> pl.DataFrame:
    later = frame.filter(LAST).with_columns(pl.col("Date") + timedelta(days=100))
    return pl.concat([frame, later])


def list_new(frame: pl.DataFrame) -> pl.DataFrame:
    """A stock whose code comes first: every other moves in the order of the codes."""
    return pl.concat([frame, frame.filter((pl.col("Code") == "S0001") & LAST).with_columns(Code=pl.lit("A"))])


def correct(frame: pl.DataFrame) -> pl.DataFrame:
    """The price of one stock on day 100."""
    there = pl.col("Date") == DAYS[100]
    one = there & (pl.col("Code") == frame.filter(there)["Code"].min())
    return frame.with_columns(pl.when(one).then(77.0).otherwise("AdjClose").alias("AdjClose"))


def delist(frame: pl.DataFrame) -> pl.DataFrame:
    """One stock's last ten days gone."""
    kept = frame.filter(LAST)["Code"].min()
    return frame.filter((pl.col("Code") != kept) | (pl.col("Date") <= DAYS[NUM_DAYS - 11]))


def shuffle(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.sample(fraction=1.0, shuffle=True, seed=99)


# Shards own days 0-39, 40-79, …; the last 200-229. A shard knows REACH + max_window - 1 = 128 days before its own,
# and 5 after them.
CHANGES: dict[str, tuple[Change, set[int]]] = {
    "append": (append, {5}),
    "list_new": (list_new, {5}),
    "correct": (correct, {2, 3, 4, 5}),
    "delist": (delist, {5}),
    "shuffle": (shuffle, set()),
}


def files(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def inodes(folder: Path) -> dict[str, int]:
    return {file.name: file.stat().st_ino for file in folder.glob("*.arrow")}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_panel_rebuilds_the_shards_concerned_and_has_the_bits_of_a_new_store(
    tmp_path: Path, change: str
) -> None:
    changed, rebuilt = CHANGES[change]
    source = config(write_parquet(messy_prices(), tmp_path), delisting_return=-0.5)
    before = build(source, tmp_path / "store")
    old = inodes(before.path)
    write_parquet(changed(messy_prices()), tmp_path)
    build(source, tmp_path / "store")
    build(source, tmp_path / "anew")
    assert files(tmp_path / "store") == files(tmp_path / "anew")
    kept = [position for position, name in enumerate(sorted(old)) if inodes(tmp_path / "store").get(name) == old[name]]
    assert set(range(len(old))) - set(kept) == rebuilt


SECTORS: dict[str, Any] = {"features": "derived", "relative": ("sector",)}


def late_sector(frame: pl.DataFrame, day: int) -> pl.DataFrame:
    """Two sectors; that of one stock is told from a day on."""
    sector = (pl.col("Code").str.slice(-1).cast(pl.Int64) % 2).cast(pl.String)
    unknown = (pl.col("Code") == "S0005") & (pl.col("Date") < DAYS[day])
    return frame.with_columns(sector33=pl.when(~unknown).then(sector))


def test_a_stocks_category_changes_no_bit_of_the_days_before_it_is_known(tmp_path: Path) -> None:
    told, later = (
        convert(config(write_parquet(late_sector(messy_prices(), day), tmp_path), **SECTORS), tmp_path / name, silent)
        for day, name in ((120, "told"), (NUM_DAYS - 1, "later"))
    )
    assert told.feature_names == later.feature_names
    one, other = (np.asarray(store.column("features")) for store in (told, later))
    np.testing.assert_array_equal(one[:110], other[:110])
    assert not np.array_equal(one[120:140], other[120:140], equal_nan=True)


def test_a_category_that_is_told_rebuilds_the_days_from_then_on(tmp_path: Path) -> None:
    source = config(write_parquet(late_sector(messy_prices(), 229), tmp_path), **SECTORS)
    build(source, tmp_path / "store")
    old = inodes(tmp_path / "store")
    write_parquet(late_sector(messy_prices(), 205), tmp_path)
    build(source, tmp_path / "store")
    build(source, tmp_path / "anew")
    assert files(tmp_path / "store") == files(tmp_path / "anew")
    assert len(inodes(tmp_path / "store").items() - old.items()) == 1


def test_other_files_of_the_same_rows_rebuild_nothing(tmp_path: Path) -> None:
    source = config(write_hive(messy_prices(), tmp_path))
    old = inodes(build(source, tmp_path / "store").path)
    moved = tmp_path / "panel" / "Code=S0001" / "part.parquet"
    rows = pl.read_parquet(moved, hive_partitioning=False)
    rows[:50].write_parquet(moved)
    rows[50:].write_parquet(moved.with_name("other.parquet"))
    again = build(source, tmp_path / "store")
    assert inodes(again.path) == old
    assert again.metadata["source_fingerprint"] == open_source(source.data).fingerprint


def test_a_cached_store_follows_its_source_and_is_never_an_old_one(tmp_path: Path) -> None:
    source = config(write_parquet(messy_prices(), tmp_path), cache=str(tmp_path / "cache"))
    before = cached_store(source, silent)
    labels = before.column("labels")
    write_parquet(append(messy_prices()), tmp_path)
    after = cached_store(source, silent)
    assert len(after.days) > len(before.days)
    assert after.path == before.path
    # Who has the old one open goes on reading it.
    np.testing.assert_array_equal(before.column("labels"), labels)
    write_parquet(messy_prices(), tmp_path)
    assert len(cached_store(source, silent).days) == len(before.days)


def test_another_recipe_takes_nothing_over(tmp_path: Path) -> None:
    path = write_parquet(messy_prices(), tmp_path)
    old = inodes(build(config(path), tmp_path / "store").path)
    other = build(config(path, standardise="rank"), tmp_path / "store")
    assert not set(old.values()) & set(inodes(other.path).values())
    np.testing.assert_array_equal(other.column("features"), plain(config(path, standardise="rank"))["features"])


@pytest.mark.parametrize("day", [70, 119, 200])
def test_nothing_after_day_t_changes_a_feature_up_to_t(tmp_path: Path, day: int) -> None:
    frame = messy_prices()
    later = pl.col("Date") > DAYS[day]
    prices = ["Open", "High", "Low", "Close", "AdjClose"]
    another_future = frame.filter(later & (pl.col("Code") > "S0002")).with_columns(pl.col(prices) * 3)
    other = pl.concat([frame.filter(~later), another_future])
    stores = []
    for name, rows in (("one", frame), ("other", other)):
        (tmp_path / name).mkdir()
        stores.append(build(config(write_parquet(rows, tmp_path / name)), tmp_path / name / "store"))
    one, two = (store.column("features", slice(0, day + 1)) for store in stores)
    common = [stores[0].codes.index(code) for code in stores[1].codes]
    np.testing.assert_array_equal(one[:, common], two)


def test_a_label_that_float32_cannot_hold_is_refused_with_its_place(tmp_path: Path) -> None:
    there = (pl.col("Date") == DAYS[50]) & (pl.col("Code") == "S0004")
    frame = messy_prices().with_columns(pl.when(there).then(1e-300).otherwise("AdjClose").alias("AdjClose"))
    with pytest.raises(DataError, match=f"target_1d that fit float32.*{DAYS[50]} S0004"):
        build(config(write_parquet(frame, tmp_path)), tmp_path / "store")
    assert not (tmp_path / "store").exists()
