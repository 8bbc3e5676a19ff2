"""How a trained model ranked a panel: the metrics of its scores on the days that it was not made with."""

from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from atft_gat_fan.config.run_sections import EvaluationConfig
from atft_gat_fan.data.conversion import cached_store
from atft_gat_fan.data.splits import least_purge
from atft_gat_fan.data.store import Store
from atft_gat_fan.errors import DataError, Problem, StorageError
from atft_gat_fan.evaluation.evaluate import MODEL, evaluate
from atft_gat_fan.inference.asked_days import AskedDays
from atft_gat_fan.runs.assembly import Report
from atft_gat_fan.runs.judged_days import evaluation_data, period_of
from atft_gat_fan.runs.members import Member


def evaluate_scores(table: pl.DataFrame, member: Member, source: str, cache: Path, report: Report) -> dict[str, Any]:
    """A section of metrics.json for scores that `member` gave the panel `source`; no baselines.

    Only days after the model's validation days count, and none so near that their labels reach back to them: on the
    others its weights were chosen. Raises DataError where none is left, StorageError where the bundle does not say.
    """
    last_seen, seed = _provenance(member)
    store = cached_store(member.recipe(source, cache), report)
    period = _unseen(store, table, last_seen, source)
    defaults = EvaluationConfig()
    evaluation = evaluate(
        evaluation_data(store, period, {MODEL: table}),
        num_quantiles=defaults.num_quantiles,
        cost_bps=defaults.cost_bps,
        seed=seed,
    )
    return evaluation.metrics


def unseen_days(member: Member) -> AskedDays:
    """The days after the last one that the weights were chosen on. Raises StorageError as `evaluate_scores`."""
    last_seen, _ = _provenance(member)
    return AskedDays(first=last_seen + timedelta(days=1))


def _provenance(member: Member) -> tuple[date, int]:
    """The last day that the weights were chosen on, and the seed of the training."""
    training = member.bundle.training
    try:
        return date.fromisoformat(training["valid_days"][1]), int(training["seed"])
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise StorageError(
            f"{member.run}: expected a model that says on which days it was chosen (training.valid_days) and its seed, "
            f"found {error!r:.80}; restore model.json"
        ) from error


def _unseen(store: Store, table: pl.DataFrame, last_seen: date, source: str) -> slice:
    """Positions of the scored days that neither training nor the choice of its best step has seen."""
    scored = np.searchsorted(store.days, table["date"].unique().sort().to_numpy().astype("datetime64[D]"))
    first = int(np.searchsorted(store.days, np.datetime64(last_seen), side="right")) + least_purge(store.horizons)
    unseen = scored[scored >= first]
    if not len(unseen):
        raise DataError(
            Problem(
                f"expected scored days at least {least_purge(store.horizons)} trading days after {last_seen}, the last "
                "day that the model was chosen on, found none",
                where=f"days {store.days[0]} to {store.days[-1]}",
                mend="give a panel that goes on longer",
            ),
            source=source,
        )
    return period_of(unseen)
