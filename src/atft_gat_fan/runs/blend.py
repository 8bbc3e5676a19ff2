"""LightGBM beside a trained network: boosters from the training days, weights from the validation days.

A booster that is finished is kept in the run's folder, and an interrupted run goes on with the next; one that was being
trained is trained again from its first tree, since LightGBM cannot go on with the same bits.
"""

import hashlib
import json
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console

from atft_gat_fan.config.schema import Config
from atft_gat_fan.data.durable_files import sealed
from atft_gat_fan.data.stock_days import LabelledRows, StoredStockDays, labelled_rows
from atft_gat_fan.errors import StorageError
from atft_gat_fan.inference.blend import LIGHTGBM, NETWORK, Blend
from atft_gat_fan.inference.blend_files import MOST_BOOSTER_BYTES
from atft_gat_fan.inference.predictor import predict_days
from atft_gat_fan.losses.label_transform import transform_labels
from atft_gat_fan.metrics.rank_ic import daily_rank_ic
from atft_gat_fan.models.gradient_boosting import Booster, LightGBMParams, load_lightgbm, train_booster
from atft_gat_fan.models.network import ATFT_GAT_FAN
from atft_gat_fan.runs.assembly import Assembly, Report
from atft_gat_fan.runs.process import device_of
from atft_gat_fan.runs.run_files import BLEND_WORK, write_json
from atft_gat_fan.runs.stages import Stages
from atft_gat_fan.signals import StopSignals
from atft_gat_fan.statistics.forecast_combination import choose_weight
from atft_gat_fan.statistics.rank_combination import EQUAL, ChosenWeight, combined_ranks, weight_grid
from atft_gat_fan.untrusted import parse_json, read_plain

OTHERWISE = "do without the blend (model.blend.enabled=false)"
STAGE = "LightGBM of the blend"


def require_blend(config: Config) -> None:
    """To be asked before hours of training: ConfigError where a blend is wanted and LightGBM does not load."""
    if config.model.blend.enabled:
        load_lightgbm(OTHERWISE)


def trained_blend(
    run: Path, assembly: Assembly, model: ATFT_GAT_FAN, console: Console, signals: StopSignals
) -> Blend | None:
    """LightGBM's part of the run's model, None unless the configuration blends.

    Boosters see labels of the training days alone, weights of the validation days alone; the test days are not read.
    Raises InterruptedRunError between two trees after a stop signal, DataError where the training days have no labels.
    """
    config = assembly.config
    if not config.model.blend.enabled:
        return None
    with Stages(console, signals) as stages:
        boosters = _boosters(run / BLEND_WORK, assembly, stages)
        equal = ChosenWeight(EQUAL, np.nan, np.nan, np.nan, 0, np.full(config.model.blend.grid, np.nan))
        horizons, grid = assembly.store.horizons, weight_grid(config.model.blend.grid)
        unweighted = Blend(
            horizons, (equal,) * len(horizons), tuple(grid.tolist()), boosters, lightgbm_settings(assembly)
        )
        if config.model.blend.weighting == "equal":
            return unweighted
        weights = _weights(assembly, model, unweighted, stages)
    return Blend(horizons, weights, unweighted.grid, boosters, unweighted.settings)


def lightgbm_settings(assembly: Assembly) -> dict[str, Any]:
    """What decides a booster beside the data, and the days it learns from."""
    config, days, train = assembly.config, assembly.store.days, assembly.split.train
    return {
        "lightgbm": version("lightgbm"),
        "threads": torch.get_num_threads(),
        "seed": config.seed,
        "seeds": config.model.blend.seeds,
        "label_transform": config.labels.transform,
        "train_days": [str(days[train[0]]), str(days[train[-1]])],
        **config.model.blend.lightgbm.model_dump(),
    }


def _boosters(work: Path, assembly: Assembly, stages: Stages) -> tuple[tuple[Booster, ...], ...]:
    """[horizons][seeds]."""
    config, num_features = assembly.config, len(assembly.normalizer.feature_names)
    blend, horizons = config.model.blend, assembly.store.horizons
    params = LightGBMParams(**blend.lightgbm.model_dump())
    made_from = _made_from(assembly)
    rows: LabelledRows | None = None
    found: list[tuple[Booster, ...]] = []
    for position, horizon in enumerate(horizons):
        seeds = []
        for number in range(blend.seeds):
            told = partial(_part_done, stages, position * blend.seeds + number, len(horizons) * blend.seeds)
            told(0.0)
            file = work / f"{horizon}d_{number}.json"
            booster = _kept(file, made_from, num_features)
            if booster is None:
                rows = rows or _training_rows(assembly, params.max_rows, partial(told, 0.0))
                features, target = rows.of_horizon(position)
                booster = train_booster(
                    features,
                    target,
                    params,
                    num_threads=torch.get_num_threads(),
                    seed=config.seed + number,
                    progress=told,
                    otherwise=OTHERWISE,
                )
                _keep(file, made_from, booster)
            seeds.append(booster)
        found.append(tuple(seeds))
    return tuple(found)


def _part_done(report: Report, number: int, count: int, share: float) -> None:
    report(STAGE, (number + share) / count)


def _training_rows(assembly: Assembly, max_rows: int, alive: Any) -> LabelledRows:
    def transform(labels: NDArray[np.float32]) -> NDArray[np.floating]:
        return transform_labels(torch.from_numpy(labels), assembly.config.labels.transform).numpy()

    panel = StoredStockDays(assembly.store, assembly.normalizer)
    return labelled_rows(panel, assembly.split.train, max_rows, transform, alive)


def _made_from(assembly: Assembly) -> str:
    """Fingerprint of all that the boosters of a run depend on."""
    train = assembly.split.train
    facts = [
        assembly.store.fingerprint,
        [int(train[0]), int(train[-1]), len(train)],
        assembly.normalizer.to_json(),
        # More seeds add boosters, and change none.
        {key: value for key, value in lightgbm_settings(assembly).items() if key != "seeds"},
    ]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _kept(file: Path, made_from: str, num_features: int) -> Booster | None:
    """What an earlier process has finished; None where there is nothing, of other data or settings, or damaged."""
    try:
        body = parse_json(read_plain(file, MOST_BOOSTER_BYTES))
        if body != sealed(body) or body["made_from"] != made_from:
            return None
        return Booster(body["text"], num_features)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None  # trained again, to the same trees


def _keep(file: Path, made_from: str, booster: Booster) -> None:
    try:
        file.parent.mkdir(exist_ok=True)
    except OSError as error:
        raise StorageError(f"{file.parent}: cannot make the folder: {error.strerror}; mend its permissions") from error
    write_json(file, sealed({"made_from": made_from, "text": booster.text}))


def _weights(assembly: Assembly, model: ATFT_GAT_FAN, blend: Blend, stages: Stages) -> tuple[ChosenWeight, ...]:
    """Of the network at each horizon, from the days on which neither part has learned."""
    config, store, days = assembly.config, assembly.store, assembly.split.valid
    parts = predict_days(
        model,
        assembly.batches,
        days,
        blend=blend,
        device=device_of(config),
        progress=partial(stages, "score the validation days"),
    ).parts
    period = slice(int(days[0]), int(days[-1]) + 1)
    labels, present = store.column("labels", period), store.column("present", period)
    rows = days - days[0]
    grid = np.array(blend.grid)
    chosen = []
    for position, horizon in enumerate(store.horizons):
        daily = []
        for number, weight in enumerate(grid.tolist()):
            stages("weights of the blend", (position + number / len(grid)) / len(store.horizons))
            scores = combined_ranks(parts[NETWORK][..., position], parts[LIGHTGBM][..., position], np.array(weight))
            daily.append(daily_rank_ic(scores, labels[rows, :, position], present[rows]))
        chosen.append(choose_weight(np.stack(daily), grid, horizon, config.seed))
    return tuple(chosen)
