"""The reference that a model is monitored against, from its validation days; written into the bundle's folder."""

from pathlib import Path

import numpy as np

from atft_gat_fan.inference.score_table import read_table, scores_of
from atft_gat_fan.monitoring.reference import write_reference
from atft_gat_fan.runs.assembly import Assembly, Report
from atft_gat_fan.runs.observe import Subject, observe
from atft_gat_fan.runs.run_files import BUNDLE, PREDICTIONS


def reference_of_run(run: Path, assembly: Assembly, report: Report) -> None:
    """Write what the run's validation days look like, with the scores that its evaluation stored.

    Raises StorageError where those are missing or the folder cannot be written, DataError where the panel has become
    unreadable.
    """
    report("reference for the monitor", 0.0)
    store, split = assembly.store, assembly.split
    days = split.valid
    rows = (len(days) + len(split.test)) * len(store.codes)
    table = read_table(run / PREDICTIONS, store.horizons, rows)
    scores = scores_of(table, store.days[days], store.codes, store.horizons)
    subject = Subject(assembly.config.data, assembly.batches, assembly.normalizer)
    write_reference(run / BUNDLE, observe(subject, np.asarray(days), scores, report))
