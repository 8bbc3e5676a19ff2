"""The store that a prediction reads: what is there already, the whole panel's, or one of the days it depends on."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from pathlib import Path

from atft_gat_fan.config.schema import Config
from atft_gat_fan.data.conversion import cached_store, convert, current_store, is_store
from atft_gat_fan.data.excerpt import excerpt, first_needed, source_days
from atft_gat_fan.data.scratch_folder import scratch_folder
from atft_gat_fan.data.sources import Source, open_source
from atft_gat_fan.data.store import Store
from atft_gat_fan.inference.asked_days import AskedDays
from atft_gat_fan.runs.assembly import Report
from atft_gat_fan.runs.members import Member

SCRATCH = "predictions"
"""Folder in the cache of what lives as long as one prediction."""
WHOLE = 0.5
"""Share of a panel's days from which on all of them are converted, and kept for the next time."""


@contextmanager
def prediction_store(config: Config, members: Sequence[Member], asked: AskedDays, report: Report) -> Iterator[Store]:
    """A store of `config` from which `members` can predict the asked-for days: its bits are those of the whole panel's.

    Raises as `cached_store` does, and DataError where no day that was asked for can be predicted.
    """
    if is_store(config.data, report):
        yield cached_store(config, report, need_labels=False)
        return
    report("looking for the days", 0.0)
    source = open_source(config.data, report)
    store = current_store(config.data, source, report, need_labels=False)
    period = None if store is not None else _period(config, source, members, asked)
    if period is None:
        yield store or cached_store(config, report, need_labels=False, source=source)
        return
    with scratch_folder(Path(config.data.cache) / SCRATCH) as folder:
        report("reading the days needed", 0.0)
        rows = excerpt(source, *period, folder / "rows.parquet")
        yield convert(config, folder / "store", report, need_labels=False, source=rows)


def _period(config: Config, source: Source, members: Sequence[Member], asked: AskedDays) -> tuple[date, date] | None:
    """First and last day that the predictions depend on; None where the whole panel may as well be converted."""
    # A pattern of codes is resolved among those of the whole panel.
    if asked.everything or config.data.codes is not None:
        return None
    days = source_days(source)
    if days is None:
        return None
    first, last = len(days), 0
    for member in members:
        spec = member.bundle.spec
        chosen = asked.among(days, spec.window, config.data.source)
        graph = member.bundle.graph if spec.gat_heads else None
        first = min(first, first_needed(days, int(chosen[0]), spec.window, graph))
        last = max(last, int(chosen[-1]))
    if last + 1 - first > WHOLE * len(days):
        return None
    return days[first].item(), days[last].item()
