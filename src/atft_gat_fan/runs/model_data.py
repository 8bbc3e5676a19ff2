"""A trained model beside a panel: what is needed to ask it about days that are not those it was trained on."""

from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from atft_gat_fan.config.schema import Config
from atft_gat_fan.data.batches import DayBatches
from atft_gat_fan.data.conversion import cached_store
from atft_gat_fan.data.store import Store, first_predictable
from atft_gat_fan.data.streamed import StreamedPanel
from atft_gat_fan.errors import DataError, Problem
from atft_gat_fan.inference.bundle import Bundle
from atft_gat_fan.runs.assembly import Report, prepare_batches


@dataclass(frozen=True)
class ModelData:
    """Days are positions in the store."""

    source: str
    store: Store
    batches: DayBatches

    def days_up_to(self, last: date | None, most: int) -> NDArray[np.int64]:
        """The newest `most` days up to `last` (default: the newest) that have a whole window before them, in order.

        Raises DataError where there is none, or `last` is not among them: it names the nearest that are.
        """
        days = self.store.days
        predictable = np.arange(first_predictable(self.batches.window), len(days))
        if not len(predictable):
            raise self._no_such_day(f"a day with {self.batches.window - 1} days before it", len(days), "a longer panel")
        if last is None:
            return predictable[-most:]
        wanted = np.datetime64(last)
        place = int(np.searchsorted(days[predictable], wanted))
        if place == len(predictable) or days[predictable[place]] != wanted:
            near = days[predictable[max(place - 1, 0) : place + 1]]
            raise self._no_such_day(f"{last}", "none", f"one of its days, near: {', '.join(map(str, near))}")
        return predictable[max(0, place + 1 - most) : place + 1]

    def _no_such_day(self, expected: str, found: object, mend: str) -> DataError:
        days = self.store.days
        return DataError(
            Problem(f"expected {expected}, found {found}", where=f"days {days[0]} to {days[-1]}", mend=f"give {mend}"),
            source=self.source,
        )


def open_model_data(bundle: Bundle, source: str | None, report: Report) -> ModelData:
    """Open or build the store of `source` (default: what the model was trained on) by the recipe of the bundle.

    Raises DataError where the panel lacks a feature that the model needs, and what reading data raises.
    """
    source = bundle.data.source if source is None else source
    data = bundle.data.model_copy(update={"source": source, "start": None, "end": None})
    store = cached_store(Config(data=data, graph=bundle.graph), report, need_labels=False)
    batches = prepare_batches(
        StreamedPanel(store, bundle.normalizer),
        bundle.data.exchange,
        bundle.spec.window,
        bundle.graph if bundle.spec.gat_heads else None,
        Path(bundle.data.cache),
        report,
        static=_known_categories(store, bundle),
    )
    return ModelData(source, store, batches)


def _known_categories(store: Store, bundle: Bundle) -> NDArray[np.int64]:
    """Row of the category embedding for each stock: by name, 0 where the training never saw the category."""
    rows = {name: row for row, name in enumerate(bundle.static_categories, start=1)}
    names = np.array(["", *store.static_categories])[store.static]
    return np.array([rows.get(name, 0) for name in names], dtype=np.int64)
