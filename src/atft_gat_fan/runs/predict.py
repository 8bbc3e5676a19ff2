"""Score the stocks of a panel with a trained model: the newest day, any day or a range."""

from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from atft_gat_fan.config.schema import Config
from atft_gat_fan.data.conversion import cached_store
from atft_gat_fan.data.store import Store, first_predictable
from atft_gat_fan.data.streamed import StreamedPanel
from atft_gat_fan.errors import DataError, Problem
from atft_gat_fan.inference.bundle import Bundle, apply_numerics, load_bundle
from atft_gat_fan.inference.predictor import predict_days
from atft_gat_fan.inference.score_table import score_table, write_table
from atft_gat_fan.runs.assembly import prepare_batches
from atft_gat_fan.runs.process import prepare_process
from atft_gat_fan.runs.run_files import BUNDLE
from atft_gat_fan.runs.stages import Stages
from atft_gat_fan.signals import StopSignals


def predict(run: Path, data: str, first: date | None, last: date | None, out: Path, console: Console) -> dict[str, Any]:
    """Write scores and ranks of every stock present on the days from `first` to `last` (default: all) to `out`.

    Stocks the training never saw are scored like any other. Raises StorageError without a trained model,
    DataError where the panel lacks a feature the model needs or has no day to predict.
    """
    bundle = load_bundle(run / BUNDLE)
    prepare_process(bundle.numerics["threads"])  # those of the evaluation: its bits come out again
    apply_numerics(bundle, console.print)
    with StopSignals() as signals, Stages(console, signals) as stages:
        store = cached_store(_source_config(bundle, data), stages, need_labels=False)
        days = _chosen_days(store, bundle.spec.window, first, last, data)
        batches = prepare_batches(
            StreamedPanel(store, bundle.normalizer),
            bundle.data.exchange,
            bundle.spec.window,
            bundle.graph if bundle.spec.gat_heads else None,
            Path(bundle.data.cache),
            stages,
            static=_known_categories(store, bundle),
        )
        if batches.graph is not None:
            batches.graph.prepare(days)
        prediction = predict_days(bundle.model, batches, days, progress=lambda share: stages("score", share))
    table = score_table(store.days[days], store.codes, bundle.spec.horizons, prediction.scores)
    write_table(table, out, {"model": bundle.fingerprint})
    return {
        "out": str(out),
        "rows": table.height,
        "days": len(days),
        "first": str(store.days[days[0]]),
        "last": str(store.days[days[-1]]),
        "model": bundle.fingerprint,
    }


def _source_config(bundle: Bundle, source: str) -> Config:
    """The recipe of the training data, for another source and all of its days."""
    data = bundle.data.model_copy(update={"source": source, "start": None, "end": None})
    return Config(data=data, graph=bundle.graph)


def _chosen_days(store: Store, window: int, first: date | None, last: date | None, source: str) -> NDArray[np.int64]:
    """Positions of the asked-for days that have a whole window of days before them."""
    positions = np.arange(first_predictable(window), len(store.days))
    low = store.days[0] if first is None else np.datetime64(first)
    high = store.days[-1] if last is None else np.datetime64(last)
    chosen: NDArray[np.int64] = positions[(store.days[positions] >= low) & (store.days[positions] <= high)]
    if not len(chosen):
        raise DataError(
            Problem(
                f"expected days between {low} and {high} with {window - 1} days before them, found none",
                where=f"days {store.days[0]} to {store.days[-1]}",
                mend="choose other days, or give a panel that begins earlier",
            ),
            source=source,
        )
    return chosen


def _known_categories(store: Store, bundle: Bundle) -> NDArray[np.int64]:
    """Row of the category embedding for each stock: by name, 0 where the training never saw the category."""
    rows = {name: row for row, name in enumerate(bundle.static_categories, start=1)}
    names = np.array(["", *store.static_categories])[store.static]
    return np.array([rows.get(name, 0) for name in names], dtype=np.int64)
