"""A trained model beside a panel, to be asked about its days: what explaining and exporting open."""

from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from atft_gat_fan.data.batches import DayBatches
from atft_gat_fan.data.conversion import cached_store
from atft_gat_fan.data.store import Store, first_predictable
from atft_gat_fan.inference.asked_days import AskedDays
from atft_gat_fan.runs.assembly import Report
from atft_gat_fan.runs.members import Member
from atft_gat_fan.runs.model_batches import model_batches


@dataclass(frozen=True)
class ModelData:
    """Days are positions in the store."""

    source: str
    store: Store
    batches: DayBatches

    def days_up_to(self, last: date | None, most: int) -> NDArray[np.int64]:
        """The newest `most` days up to `last` (default: the newest) that have a whole window before them, in order.

        Raises DataError where `last` is none of them, naming the nearest.
        """
        asked = AskedDays(newest=True) if last is None else AskedDays(last, last)
        end = int(asked.among(self.store.days, self.batches.window, self.source)[-1])
        return np.arange(max(first_predictable(self.batches.window), end + 1 - most), end + 1)


def open_model_data(member: Member, source: str | None, report: Report) -> ModelData:
    """Open or build the store of `source` (default: what the model was trained on) by the recipe of the model.

    Raises DataError where the panel lacks a feature that the model needs, and what reading data raises.
    """
    config = member.recipe(member.bundle.data.source if source is None else source, None)
    store = cached_store(config, report, need_labels=False)
    return ModelData(config.data.source, store, model_batches(member.bundle, store, Path(config.data.cache), report))
