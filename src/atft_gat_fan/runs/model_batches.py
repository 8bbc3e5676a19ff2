"""The days of a store as a trained model sees them."""

from pathlib import Path

import numpy as np
from jaxtyping import Int64
from numpy.typing import NDArray

from atft_gat_fan.data.batches import DayBatches
from atft_gat_fan.data.store import Store
from atft_gat_fan.data.streamed import StreamedPanel
from atft_gat_fan.inference.bundle import Bundle
from atft_gat_fan.runs.assembly import Report, prepare_batches


def model_batches(bundle: Bundle, store: Store, cache: Path, report: Report) -> DayBatches:
    """Batches of `store`, made by the recipe of the bundle; neighbour lists are kept below `cache`.

    Raises DataError where the store lacks a feature that the model needs.
    """
    return prepare_batches(
        StreamedPanel(store, bundle.normalizer),
        bundle.data.exchange,
        bundle.spec.window,
        bundle.graph if bundle.spec.gat_heads else None,
        cache,
        report,
        static=_known_categories(store, bundle),
    )


def _known_categories(store: Store, bundle: Bundle) -> Int64[NDArray[np.int64], " stocks"]:
    """Row of the category embedding for each stock: by name, 0 where the training never saw the category."""
    rows = {name: row for row, name in enumerate(bundle.static_categories, start=1)}
    names = np.array(["", *store.static_categories])[store.static]
    return np.array([rows.get(name, 0) for name in names], dtype=np.int64)
