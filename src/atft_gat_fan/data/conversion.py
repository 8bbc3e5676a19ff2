"""From a source to a store: panel, features, labels, returns and liquidity, shard by shard, only what is not there."""

import hashlib
import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Int64
from numpy import ndarray

from atft_gat_fan.config.remote_section import is_remote
from atft_gat_fan.config.schema import Config, DataConfig
from atft_gat_fan.data.features import set_of
from atft_gat_fan.data.panel import Panel, longest_span, open_panel
from atft_gat_fan.data.panel_columns import PRICES
from atft_gat_fan.data.panel_digests import day_digests
from atft_gat_fan.data.panel_staging import StagedRows, stage
from atft_gat_fan.data.shard_filling import Recipe, ShardRows
from atft_gat_fan.data.sources import Source, open_source
from atft_gat_fan.data.store import Store
from atft_gat_fan.data.store_manifest import MANIFEST
from atft_gat_fan.data.store_shard import Layout, ShardSpan
from atft_gat_fan.data.store_writer import SHARD_DAYS, StoreWriter
from atft_gat_fan.errors import DataError, Problem, StorageError

Progress = Callable[[str, float], None]
"""Called with what is being done and the share of the work that is behind."""

# What of the configuration a store depends on; the source enters by its fingerprint.
STORE_KEYS = {
    *("start", "end", "codes", "columns", "features", "relative", "standardise", "horizons", "delisting_return"),
}


def convert(
    config: Config,
    out: Path,
    progress: Progress,
    *,
    need_labels: bool = True,
    source: Source | None = None,
    shard_days: int = SHARD_DAYS,
) -> Store:
    """Build the store of `config.data` at `out` and open it; whole or not at all.

    Features, labels and trailing returns that the panel brings are taken as they are; the rest is derived from prices.
    Metadata: where the data came from, first usable day, how features and labels were made, the share of missing
    labels, warnings. Without `need_labels`, labels that the panel neither brings nor has prices for are unknown.

    `source`, where it is open already, spares reading it once more.

    Shards that a killed conversion has finished, and those of a store at `out` whose days and recipe are the same,
    are taken over: the store has the bits of one built anew. Memory holds one shard's prices and a few columns of
    rows, however many days or features there are.

    Raises DataError with every problem of the source, StorageError where `out` cannot be written.
    """
    data = config.data
    progress("checking the panel", 0.0)
    source = open_source(data, progress) if source is None else source
    panel = open_panel(data, source, partial(progress, "checking the panel"), need_labels=need_labels)
    recipe = Recipe(panel, data)
    fingerprint = build_key(source.fingerprint, data, need_labels)
    writer = StoreWriter(
        out,
        key=fingerprint,
        days=np.array(panel.days, dtype="datetime64[D]"),
        layout=Layout(recipe.features, data.horizons),
        max_window=longest_span(data),
        shard_days=shard_days,
    )
    with writer:
        inputs = _inputs(recipe, writer.spans, need_labels, partial(progress, "comparing with what is there"))
        missing = [span for span in writer.spans if not writer.have(span, inputs[span.position])]
        if missing:
            staged = _stage(recipe, missing, writer.folder / "rows", partial(progress, "sorting rows by day"))
        done, work = 0, sum(_num_rows(panel, span) for span in missing)
        for span in missing:
            progress("writing the store", done / work)
            rows, num_rows = ShardRows(recipe, staged, span), _num_rows(panel, span)
            with writer.shard(span, rows.codes, inputs[span.position]) as block:
                rows.fill(block, partial(_filling, progress, done / work, num_rows / work))
            done += num_rows
        metadata = _metadata(panel, data, writer)
        store = writer.finish(static=panel.static, metadata=metadata, fingerprint=fingerprint)
    progress("store ready", 1.0)
    return store


def cached_store(
    config: Config, progress: Progress, *, need_labels: bool = True, source: Source | None = None
) -> Store:
    """The store of `config.data`: `data.source` itself if that is a store, else from `data.cache`, else built there.

    A cached store is named by what its source is called, the configuration that shapes it and the code that made it.
    Where the source's contents have changed since, it is brought up to date; one that does not open is built again.
    Without `need_labels` a store that has them serves as well. `source`, where it is open already, spares reading it
    once more. Raises as `convert` does, and DataError for a store of other horizons.
    """
    if is_store(config.data, progress):
        return _given_store(config.data, progress)
    source = open_source(config.data, progress) if source is None else source
    store = current_store(config.data, source, progress, need_labels=need_labels)
    if store is not None:
        return store
    folder = _cache_folder(config.data, source, need_labels)
    return convert(config, folder, progress, need_labels=need_labels, source=source)


def is_store(config: DataConfig, progress: Progress = lambda name, share: None) -> bool:
    """Whether the source is a store, not a panel. `progress` is told where a storage is asked and takes its time."""
    if is_remote(config.source):
        from atft_gat_fan.data.remote import is_remote_store

        return is_remote_store(config, progress)
    return (Path(config.source).expanduser() / MANIFEST).is_file()


def current_store(config: DataConfig, source: Source, progress: Progress, *, need_labels: bool) -> Store | None:
    """The store of `source` that is in the cache already; None where there is none, or the source has changed since."""
    for labelled in (True,) if need_labels else (True, False):
        folder = _cache_folder(config, source, labelled)
        if not folder.exists():
            continue
        try:
            store = Store.open(folder)
        except DataError as error:
            progress(f"building the cached store again ({error})", 0.0)
            continue
        if store.fingerprint == build_key(source.fingerprint, config, labelled):
            return store
    return None


def _cache_folder(config: DataConfig, source: Source, need_labels: bool) -> Path:
    return Path(config.cache) / f"{source.name}-{build_key(source.identity, config, need_labels)[:16]}"


def _given_store(config: DataConfig, progress: Progress) -> Store:
    if is_remote(config.source):
        from atft_gat_fan.data.remote import local_copy

        store = Store.open(local_copy(config, progress))
    else:
        store = Store.open(Path(config.source).expanduser())
    if store.horizons != config.horizons:
        raise DataError(
            Problem(
                f"expected a store with horizons {list(config.horizons)}, found {list(store.horizons)}",
                where=str(store.path),
                mend="set data.horizons to those, or build the store again",
            )
        )
    if unknown := {"features", "warnings"} - store.metadata.keys():
        raise DataError(
            Problem(
                f"expected a store of `atft data build`, found none of {sorted(unknown)} in its metadata",
                where=str(store.path / MANIFEST),
                mend="build the store again",
            )
        )
    return store


def build_key(source: str, config: DataConfig, need_labels: bool) -> str:
    """What a store's contents depend on, as one SHA-256: source, configuration, and the code of this room itself.

    Of the source its fingerprint, or less: its identity, or what of it one shard depends on.
    """
    settings = config.model_dump(mode="json", include=STORE_KEYS)
    settings |= {"span": longest_span(config), "need_labels": need_labels}
    digest = hashlib.sha256(source.encode())
    digest.update(json.dumps(settings, sort_keys=True).encode())
    # A hand-kept version number is forgotten in the one change that matters; an edit too many costs a rebuild.
    for module in sorted(Path(__file__).parent.rglob("*.py")):
        digest.update(module.read_bytes())
    return digest.hexdigest()


def _inputs(
    recipe: Recipe, spans: tuple[ShardSpan, ...], need_labels: bool, progress: Callable[[float], None]
) -> list[str]:
    """Of each shard what its values depend on, as one SHA-256: recipe, days, what those hold, who has left for good.

    Features and labels that the panel brings are those of the shard's days, prices reach further.
    """
    panel, config = recipe.panel, recipe.config
    prices = [name for name in panel.parts if name in (*PRICES, "volume")]
    others = [name for name in panel.parts if name not in prices]
    of_prices = day_digests(panel.rows, prices, panel.source, lambda share: None)
    of_others = day_digests(panel.rows, [*others, *panel.features], panel.source, progress)
    made = build_key(pl.__version__, config, need_labels)
    inputs = []
    for span in spans:
        reads = recipe.reads(span)
        digest = hashlib.sha256(made.encode())
        digest.update(repr((span, reads, panel.days[reads])).encode())
        digest.update(of_prices[reads].tobytes())
        digest.update(of_others[span.first_held : span.stop].tobytes())
        if panel.departures is not None:
            within = pl.col("date").is_between(panel.days[span.first_held], panel.days[reads.stop - 1])
            digest.update(repr(panel.departures.filter(within).sort("code").rows()).encode())
        if recipe.categories is not None and panel.static is not None and panel.static_since is not None:
            first, last = panel.days[span.first_held], panel.days[span.stop - 1]
            known = ((code, panel.static[code], max(since, first)) for code, since in panel.static_since.items())
            digest.update(repr(sorted(entry for entry in known if entry[2] <= last)).encode())
        inputs.append(digest.hexdigest())
    return inputs


def _stage(recipe: Recipe, spans: Sequence[ShardSpan], folder: Path, progress: Callable[[float], None]) -> StagedRows:
    days, feature_days = (np.zeros(len(recipe.panel.days), np.bool_) for _ in range(2))
    for span in spans:
        days[recipe.reads(span)] = True
        feature_days[span.first_held : span.stop] = True
    try:
        return stage(recipe.panel, folder, days, feature_days, progress)
    except OSError as error:
        raise StorageError(f"cannot sort rows in {folder}: {error}; free the disk or choose another folder") from error


def _filling(progress: Progress, done: float, part: float, share: float) -> None:
    progress("writing the store", done + share * part)


def _num_rows(panel: Panel, span: ShardSpan) -> int:
    return int(panel.rows_per_day[span.first_held : span.stop].sum())


def _metadata(panel: Panel, config: DataConfig, writer: StoreWriter) -> dict[str, Any]:
    first_day = next(day for day in panel.days if config.start is None or day >= config.start)
    first = panel.days.index(first_day)
    missing = _missing_labels(writer, first) / panel.rows_per_day[first:].sum()
    return {
        "source": panel.source.name,
        "source_fingerprint": panel.source.fingerprint,
        "first_day": str(first_day),
        "rows": int(panel.rows_per_day.sum()),
        "features": "panel" if panel.features else set_of(config.features),
        "relative": list(config.relative),
        "standardise": None if panel.features else config.standardise,
        "labels": {f"{horizon}d": panel.label_columns.get(horizon, "derived") for horizon in config.horizons},
        "missing_labels": dict(zip((f"{horizon}d" for horizon in config.horizons), missing.tolist(), strict=True)),
        "warnings": list(panel.warnings),
    }


def _missing_labels(writer: StoreWriter, first: int) -> Int64[ndarray, " horizons"]:
    """Rows without a label, of each horizon, from a day on."""
    missing = np.zeros(len(writer.layout.horizons), np.int64)
    for span in writer.spans:
        before = max(0, first - span.first)
        labels, present = (writer.column(name, span)[before:] for name in ("labels", "present"))
        missing += np.isnan(labels[present]).sum(axis=0)
    return missing
