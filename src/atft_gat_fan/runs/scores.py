"""The scores a run is judged by: made by its model and the baselines, stored as tables, read back as evaluations."""

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from atft_gat_fan.data.durable_files import strict_json
from atft_gat_fan.data.stock_days import StoredStockDays
from atft_gat_fan.errors import StorageError
from atft_gat_fan.evaluation.baselines import BaselineData, Baselines, LightGBMParams, baseline_scores
from atft_gat_fan.evaluation.blend import PART, parts_apart
from atft_gat_fan.evaluation.charts import VariablesOverTime
from atft_gat_fan.evaluation.evaluate import MODEL, Evaluation, evaluate
from atft_gat_fan.inference.blend import PARTS, Blend
from atft_gat_fan.inference.blend_files import weight_json
from atft_gat_fan.inference.predictor import predict_days
from atft_gat_fan.inference.score_table import read_table, score_table, write_table
from atft_gat_fan.losses.label_transform import transform_labels
from atft_gat_fan.models.network import ATFT_GAT_FAN
from atft_gat_fan.runs.assembly import Assembly, Report
from atft_gat_fan.runs.judged_days import evaluation_data, period_of
from atft_gat_fan.runs.process import device_of
from atft_gat_fan.runs.run_files import BASELINES, BLEND, PREDICTIONS, read_metrics, write_metrics
from atft_gat_fan.untrusted import parse_json

MADE_FROM, FACTS, OVER_TIME, NETWORK_WEIGHT = "made_from", "facts", "over_time", "network_weight"
"""Keys of a table's footer."""
STRETCH = 5
"""Trading days that what the model looked at is averaged over: a week."""
SPLITS: tuple[Literal["valid", "test"], ...] = ("valid", "test")


def score_and_measure(
    run: Path,
    assembly: Assembly,
    model: ATFT_GAT_FAN,
    report: Report,
    made_from: str = "",
    blend: Blend | None = None,
) -> dict[str, Evaluation]:
    """Write predictions.parquet, baselines.parquet and the split sections of metrics.json; return the evaluations.

    With a `blend` the predictions are its, and blend.parquet holds the ranks of its parts. `made_from` names all that
    the scores depend on: tables that an interrupted process left under it are taken over.
    """
    tables = [run / PREDICTIONS] if blend is None else [run / BLEND, run / PREDICTIONS]
    if not all(_have(table, made_from) for table in tables):
        _write_predictions(run, assembly, model, report, made_from, blend)
    if not _have(run / BASELINES, made_from):
        baselines = score_baselines(assembly, report)
        notes = _notes(made_from, baselines.unavailable)
        write_table(_baseline_table(assembly, baselines), run / BASELINES, notes)
    write_metrics(run, {"baselines_unavailable": _noted(run / BASELINES)})
    if blend is not None:
        write_metrics(run, {"blend": _blend_metrics(blend)})
    evaluations = evaluations_of(run, assembly, report, blended=blend is not None)
    looked_at = _noted(run / PREDICTIONS)
    write_metrics(run, {split: evaluations[split].metrics | looked_at[split] for split in SPLITS})
    return evaluations


def _have(table: Path, made_from: str) -> bool:
    """Whether the table is there, made from just that; one that does not open is not."""
    try:
        return made_from != "" and pl.read_parquet_metadata(table).get(MADE_FROM) == made_from
    except (OSError, pl.exceptions.PolarsError):
        return False


def _notes(made_from: str, facts: Mapping[str, Any]) -> dict[str, str]:
    """A table's footer: `facts` that came with its making."""
    return {MADE_FROM: made_from, FACTS: strict_json(facts)}


def _noted(table: Path) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads(pl.read_parquet_metadata(table)[FACTS])
    return facts


def _blend_metrics(blend: Blend) -> dict[str, Any]:
    """The network's weights, and the RankIC on the validation days under each that was tried."""
    weights = zip(blend.horizons, blend.weights, strict=True)
    return {"grid": list(blend.grid), "weights": {f"{horizon}d": weight_json(weight) for horizon, weight in weights}}


def _write_predictions(
    run: Path, assembly: Assembly, model: ATFT_GAT_FAN, report: Report, made_from: str, blend: Blend | None
) -> None:
    """The model's scores of each split, and what it looked at for them; of a blend its parts' ranks as well."""
    store, config = assembly.store, assembly.config
    looked_at: dict[str, Any] = {}
    over_time: dict[str, Any] = {}
    tables = []
    parts = []
    for split in SPLITS:
        days = getattr(assembly.split, split)
        prediction = predict_days(
            model,
            assembly.batches,
            days,
            blend=blend,
            device=device_of(config),
            progress=lambda share: report("score", share),
        )
        for part, ranks in prediction.parts.items():
            table = score_table(store.days[days], store.codes, store.horizons, ranks)
            parts.append(table.with_columns(scorer=pl.lit(part)))
        tables.append(score_table(store.days[days], store.codes, store.horizons, prediction.scores))
        looked_at[split] = {
            "variable_importance": dict(
                zip(assembly.normalizer.feature_names, prediction.variable_weights.tolist(), strict=True)
            ),
            "attention_by_lag": prediction.attention.tolist() if model.spec.num_heads else [],
        }
        over_time[split] = _by_stretch(store.days[days], prediction.variable_weights_by_day)
    notes = _notes(made_from, looked_at) | {OVER_TIME: strict_json(over_time)}
    if blend is not None:
        write_table(pl.concat(parts), run / BLEND, {MADE_FROM: made_from})
        notes[NETWORK_WEIGHT] = strict_json(blend.weight_by_horizon)
    write_table(pl.concat(tables), run / PREDICTIONS, notes)


def _by_stretch(days: NDArray[np.datetime64], weights: NDArray[np.float64]) -> dict[str, Any]:
    """The first day of each stretch of days, and the mean weights over its days that have any."""
    starts = range(0, len(days), STRETCH)
    means = [weights[start : start + STRETCH] for start in starts]
    known = [stretch[np.isfinite(stretch).all(axis=1)] for stretch in means]
    return {
        "days": [str(days[start]) for start, stretch in zip(starts, known, strict=True) if len(stretch)],
        "variable_weights": [stretch.mean(axis=0).tolist() for stretch in known if len(stretch)],
    }


def variables_over_time(run: Path, split: str) -> VariablesOverTime | None:
    """Selection weights over the split's days; None where an earlier release left none. Raises StorageError."""
    try:
        recorded = pl.read_parquet_metadata(run / PREDICTIONS).get(OVER_TIME)
        if recorded is None:
            return None
        body = parse_json(recorded.encode())[split]
        found = VariablesOverTime(
            days=np.array(body["days"], dtype="datetime64[D]"), weights=np.array(body["variable_weights"], dtype=float)
        )
        if found.weights.ndim != 2 or len(found.days) != len(found.weights) or not np.isfinite(found.weights).all():
            raise ValueError("weights that are not one row a day")
    except (OSError, ValueError, KeyError, TypeError, pl.exceptions.PolarsError) as error:
        message = f"{run / PREDICTIONS}: expected what the model looked at, found {error}; run `atft evaluate`"
        raise StorageError(message) from error
    return found


def evaluations_of(run: Path, assembly: Assembly, report: Report, *, blended: bool = False) -> dict[str, Evaluation]:
    """The evaluation of each split from the scores stored in the run's folder; of a blend with its parts beside it."""
    store = assembly.store
    rows = len(_scored_days(assembly)) * len(store.codes)
    model = read_table(run / PREDICTIONS, store.horizons, rows)
    baselines = read_table(
        run / BASELINES, store.horizons, rows * len(assembly.config.evaluation.baselines), ("scorer",)
    )
    unavailable = read_metrics(run)["baselines_unavailable"]
    scorers = {MODEL: model} | {name: baselines.filter(scorer=name) for name in baselines["scorer"].unique().sort()}
    if blended:
        parts = read_table(run / BLEND, store.horizons, rows * len(PARTS), ("scorer",))
        scorers |= {f"{PART}{name}": parts.filter(scorer=name) for name in PARTS}
    evaluation = assembly.config.evaluation
    return {
        split: parts_apart(
            evaluate(
                evaluation_data(assembly.store, period_of(getattr(assembly.split, split)), scorers, unavailable),
                num_quantiles=evaluation.num_quantiles,
                cost_bps=evaluation.cost_bps,
                seed=assembly.config.seed,
                progress=partial(report, f"evaluation of the {split} days"),
            )
        )
        for split in SPLITS
    }


def score_baselines(assembly: Assembly, report: Report) -> Baselines:
    """Baselines on the same features, trained on the same training days and label transform; validation days first,
    then test days."""
    config = assembly.config
    panel = StoredStockDays(assembly.store, assembly.normalizer)
    data = BaselineData(panel, train_days=assembly.split.train, predict_days=_scored_days(assembly))

    def transform(labels: NDArray[np.float32]) -> NDArray[np.floating]:
        return transform_labels(torch.from_numpy(labels), config.labels.transform).numpy()

    return baseline_scores(
        data,
        config.evaluation.baselines,
        label_transform=transform,
        lightgbm=LightGBMParams(**config.evaluation.lightgbm.model_dump()),
        num_threads=torch.get_num_threads(),
        seed=config.seed,
        progress=lambda name, share: report(f"baseline {name}", share),
    )


def _baseline_table(assembly: Assembly, baselines: Baselines) -> pl.DataFrame:
    """`scorer, date, code, horizon_{h}d…` of every baseline that ran."""
    store = assembly.store
    days = store.days[_scored_days(assembly)]
    tables = [
        score_table(days, store.codes, store.horizons, scores).with_columns(scorer=pl.lit(name))
        for name, scores in baselines.scores.items()
    ]
    empty = score_table(days[:0], (), store.horizons, np.empty((0, 0, len(store.horizons)), np.float32))
    return pl.concat([empty.with_columns(scorer=pl.lit("")), *tables])


def _scored_days(assembly: Assembly) -> NDArray[np.int64]:
    return np.concatenate([getattr(assembly.split, split) for split in SPLITS])
