"""From a configuration to batches: store, split, normaliser, graph and calendar of one run."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int64
from numpy.typing import NDArray

from atft_gat_fan.config.improvements import resolve
from atft_gat_fan.config.plan import ModelSpec, RunPlan
from atft_gat_fan.config.schema import Config, GraphConfig
from atft_gat_fan.data.batches import DayBatches
from atft_gat_fan.data.calendar import CALENDAR_COVARIATES, calendar_covariates
from atft_gat_fan.data.conversion import cached_store
from atft_gat_fan.data.graph import build_graph
from atft_gat_fan.data.normalization import Normalizer, fit_normalizer, materialise, nbytes_needed
from atft_gat_fan.data.splits import Split, split_days, usable_days
from atft_gat_fan.data.store import Store
from atft_gat_fan.models.network import ATFT_GAT_FAN
from atft_gat_fan.models.spec import model_spec
from atft_gat_fan.types import DayBatch

Report = Callable[[str, float], None]
"""Told (name of the stage, share done)."""


@dataclass(frozen=True)
class Assembly:
    """What one run makes of its data. Days are positions in the store."""

    config: Config
    plan: RunPlan
    store: Store
    split: Split
    normalizer: Normalizer
    batches: DayBatches

    @property
    def spec(self) -> ModelSpec:
        return model_spec(
            self.config,
            self.plan,
            num_features=len(self.normalizer.feature_names),
            num_categories=len(self.store.static_categories),
            num_covariates=len(CALENDAR_COVARIATES),
        )

    @property
    def train_days(self) -> Int64[NDArray[np.int64], " days"]:
        return self.split.train

    @property
    def valid_days(self) -> Int64[NDArray[np.int64], " days"]:
        return self.split.valid

    def blocks(self, epoch: int) -> list[tuple[int, int]]:
        """Order of the epoch's training blocks, a function of seed and epoch."""
        return self.batches.day_blocks(self.split.train, self.config.batch_size, seed=self.config.seed, epoch=epoch)

    def batch(self, first: int, count: int) -> DayBatch:
        return self.batches.block(first, count)


def assemble(config: Config, report: Report, normalizer: Normalizer | None = None) -> Assembly:
    """Open or build the store, split its days, and prepare its batches.

    The normaliser is fitted on the training days unless that of a trained model is given. Raises ConfigError for a
    switch that is not available.
    """
    plan = resolve(config)
    store = cached_store(config, report)
    split = split_days(store.days, config.split, config.data.horizons, usable_days(store.days, config.data))
    if normalizer is None:
        report("normalise", 0.0)
        normalizer = fit_normalizer(store, split.train, strict=config.data.strict)
    graph = config.graph if config.model.gat.enabled else None
    batches = prepare_batches(store, normalizer, config.data.exchange, config.data.window, graph, report)
    return Assembly(config, plan, store, split, normalizer, batches)


def prepare_batches(
    store: Store,
    normalizer: Normalizer,
    exchange: str | None,
    window: int,
    graph: GraphConfig | None,
    report: Report,
    *,
    static: Int64[NDArray[np.int64], " stocks"] | None = None,
) -> DayBatches:
    """Normalise the whole store into memory and put graph and calendar beside it. `graph` None: no graph attention.

    `static` [N] replaces the store's own categories where a trained model numbers them differently.
    """
    megabytes = nbytes_needed(store, normalizer) / 2**20
    report(f"normalise into memory ({megabytes:.0f} MB)", 0.0)
    data = materialise(store, normalizer)
    neighbours = None
    if graph is not None:
        report("neighbour graph", 0.0)
        present = store.column("present")
        neighbours = build_graph(store.column("returns"), store.days, data.static, graph, present=present)
    return DayBatches(data, neighbours, calendar_covariates(store.days, exchange), window, static=static)


def build_model(assembly: Assembly) -> ATFT_GAT_FAN:
    """The network with initial weights drawn from the run's seed, leaving the global generator as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(assembly.config.seed)
        return ATFT_GAT_FAN(assembly.spec)
