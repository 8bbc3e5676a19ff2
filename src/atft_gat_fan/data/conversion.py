"""From a source to a store: panel, features, labels, returns and liquidity, written once and cached."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl

from atft_gat_fan.config.schema import Config, DataConfig
from atft_gat_fan.data.bars import median_dollar_volume, trailing_returns
from atft_gat_fan.data.features import derivable_features, derive_features, standardise_within_day
from atft_gat_fan.data.labels import derive_labels, label_name
from atft_gat_fan.data.panel import Panel, load_panel, longest_span
from atft_gat_fan.data.panel_columns import TRAILING_RETURN
from atft_gat_fan.data.sources import open_source
from atft_gat_fan.data.store import Store, write_store
from atft_gat_fan.data.store_manifest import MANIFEST
from atft_gat_fan.errors import DataError, Problem

Progress = Callable[[str, float], None]
"""Called with what is being done and the share of the work that is behind."""

# What of the configuration a store depends on; the source enters by its fingerprint.
STORE_KEYS = {"start", "end", "columns", "features", "standardise", "horizons", "delisting_return"}


def convert(config: Config, out: Path, progress: Progress, *, need_labels: bool = True) -> Store:
    """Build the store of `config.data` at `out` and open it; whole or not at all.

    Features, labels and trailing returns that the panel brings are taken as they are; the rest is derived from prices.
    Metadata: where the data came from, first usable day, how features and labels were made, the share of missing
    labels, warnings. Without `need_labels`, labels that the panel neither brings nor has prices for are unknown.

    Raises DataError with every problem of the source, StorageError where `out` cannot be written.
    """
    data = config.data
    progress("reading and checking the panel", 0.0)
    panel = load_panel(data, need_labels=need_labels)
    progress("deriving features" if not panel.features else "taking features", 0.25)
    frame, names = _features(panel, data)
    progress("deriving labels", 0.6)
    frame = frame.hstack(_labels(panel, data)).with_columns(_returns(panel), _dollar_volume(panel))
    progress("writing the store", 0.7)
    store = write_store(
        out,
        frame,
        feature_names=names,
        horizons=data.horizons,
        static=_static(panel),
        metadata=_metadata(panel, data, frame),
        fingerprint=build_key(panel.fingerprint, data, need_labels),
        max_window=longest_span(data),
    )
    progress("store ready", 1.0)
    return store


def cached_store(config: Config, progress: Progress, *, need_labels: bool = True) -> Store:
    """The store of `config.data`: `data.source` itself if that is a store, else from `data.cache`, else built there.

    A cached store is found by the fingerprint of the source, the configuration that shapes it and the code that made
    it; one that does not open is built again. Without `need_labels` a store that has them serves as well. Raises as
    `convert` does, and DataError for a store of other horizons.
    """
    data = config.data
    path = Path(data.source).expanduser()
    if (path / MANIFEST).is_file():
        store = Store.open(path)
        if store.horizons != data.horizons:
            raise DataError(
                Problem(
                    f"expected a store with horizons {list(data.horizons)}, found {list(store.horizons)}",
                    where=str(store.path),
                    mend="set data.horizons to those, or build the store again",
                )
            )
        return store
    source = open_source(data)
    for labelled in (True,) if need_labels else (True, False):
        folder = Path(data.cache) / f"{source.name}-{build_key(source.fingerprint, data, labelled)[:16]}"
        if folder.exists():
            try:
                return Store.open(folder)
            except DataError as error:
                progress(f"building the cached store again ({error})", 0.0)
    return convert(config, folder, progress, need_labels=need_labels)


def build_key(fingerprint: str, config: DataConfig, need_labels: bool) -> str:
    """What a store's contents depend on, as one SHA-256: source, configuration, and the code of this room itself."""
    settings = config.model_dump(mode="json", include=STORE_KEYS)
    settings |= {"span": longest_span(config), "need_labels": need_labels}
    digest = hashlib.sha256(fingerprint.encode())
    digest.update(json.dumps(settings, sort_keys=True).encode())
    # A hand-kept version number is forgotten in the one change that matters; an edit too many costs a rebuild.
    for module in sorted(Path(__file__).parent.rglob("*.py")):
        digest.update(module.read_bytes())
    return digest.hexdigest()


def _features(panel: Panel, config: DataConfig) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """`date, code` and the features: the panel's own as they are, derived ones standardised within the day."""
    if panel.features:
        return panel.frame.select("date", "code", pl.col(panel.features).cast(pl.Float32)), panel.features
    names = derivable_features(panel.frame.columns)
    return standardise_within_day(derive_features(panel.frame, names), names, config.standardise), names


def _labels(panel: Panel, config: DataConfig) -> pl.DataFrame:
    missing = [horizon for horizon in config.horizons if horizon not in panel.label_columns]
    frame = panel.frame
    if missing and panel.has_prices:
        frame = derive_labels(frame, missing, config.delisting_return)
    elif missing:
        frame = frame.with_columns(_unknown(label_name(horizon)) for horizon in missing)
    return frame.select(label_name(horizon) for horizon in config.horizons)


def _returns(panel: Panel) -> pl.Series | pl.Expr:
    if TRAILING_RETURN in panel.frame.columns:
        return panel.frame[TRAILING_RETURN]
    return trailing_returns(panel.frame) if panel.has_prices else _unknown(TRAILING_RETURN)


def _dollar_volume(panel: Panel) -> pl.Series | pl.Expr:
    return median_dollar_volume(panel.frame) if "volume" in panel.frame.columns else _unknown("dollar_volume")


def _unknown(name: str) -> pl.Expr:
    return pl.lit(None, dtype=pl.Float32).alias(name)


def _static(panel: Panel) -> dict[str, str] | None:
    """Each stock's first known category: a later one was not known before."""
    if not panel.static:
        return None
    known = panel.frame.drop_nulls("static").unique("code", keep="first", maintain_order=True)
    return dict(zip(known["code"], known["static"], strict=True))


def _metadata(panel: Panel, config: DataConfig, frame: pl.DataFrame) -> dict[str, Any]:
    usable = frame if config.start is None else frame.filter(pl.col("date") >= config.start)
    missing = usable.select(pl.col(label_name(horizon)).null_count() / pl.len() for horizon in config.horizons)
    return {
        "source": panel.name,
        "source_fingerprint": panel.fingerprint,
        "first_day": str(usable["date"][0]),
        "rows": panel.frame.height,
        "features": "panel" if panel.features else "derived",
        "standardise": None if panel.features else config.standardise,
        "labels": {f"{horizon}d": panel.label_columns.get(horizon, "derived") for horizon in config.horizons},
        "missing_labels": dict(zip((f"{horizon}d" for horizon in config.horizons), missing.row(0), strict=True)),
        "warnings": list(panel.warnings),
    }
