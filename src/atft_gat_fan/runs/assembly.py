"""From a configuration to batches: store, split, normaliser, graph and calendar of one run."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np
import torch
from jaxtyping import Int64
from numpy.typing import NDArray

from atft_gat_fan.config.improvements import resolve
from atft_gat_fan.config.plan import ModelSpec, NormalizerPlan, RunPlan
from atft_gat_fan.config.schema import Config, GraphConfig
from atft_gat_fan.data.batches import DayBatches, FeaturePanel
from atft_gat_fan.data.calendar import CALENDAR_COVARIATES, calendar_covariates
from atft_gat_fan.data.conversion import cached_store
from atft_gat_fan.data.graph import cached_graph
from atft_gat_fan.data.liquidity import require_dollar_volume
from atft_gat_fan.data.materialised import materialise, nbytes_needed
from atft_gat_fan.data.normalizer import Normalizer
from atft_gat_fan.data.normalizer_fit import fit_normalizer, kept_normalizer
from atft_gat_fan.data.splits import Split, split_days, usable_days
from atft_gat_fan.data.store import Store
from atft_gat_fan.data.streamed import StreamedPanel
from atft_gat_fan.models.network import ATFT_GAT_FAN
from atft_gat_fan.models.spec import model_spec
from atft_gat_fan.runs.process import device_of
from atft_gat_fan.types import DayBatch

T = TypeVar("T")
Report = Callable[[str, float], None]
"""Told (name of the stage, share done)."""

Settle = Callable[[Store, Split], Path]
"""Told what a run learns from; gives the file that keeps the statistics of its training days."""


class InTurn(Protocol):
    """Does a piece of work that leaves its result in a cache: of several processes one first, then the others."""

    def __call__(self, work: Callable[[], T]) -> T: ...


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

    def valid_blocks(self) -> list[tuple[int, int]]:
        """Of the validation days that can be predicted."""
        return self.batches.consecutive_blocks(self.split.valid, self.config.batch_size)

    def batch(self, first: int, count: int) -> DayBatch:
        return self.batches.block(first, count)

    def to_device(self, batch: DayBatch, device: torch.device) -> DayBatch:
        return self.batches.to_device(batch, device)


def _alone(work: Callable[[], T]) -> T:
    """Without other processes there is no turn to wait for."""
    return work()


def assemble(
    config: Config,
    report: Report,
    normalizer: Normalizer | None = None,
    settle: Settle | None = None,
    in_turn: InTurn = _alone,
) -> Assembly:
    """Open or build the store, split its days, and prepare its batches.

    The normaliser is fitted on the training days, or read back from the file that `settle` names, which sees the data
    first and may refuse them. Where the normaliser of a trained model is given, nothing will be trained, and nothing is
    materialised to be read once. What other processes of the same training would make as well is made `in_turn`.
    """
    plan = resolve(config)
    store = in_turn(lambda: cached_store(config, report))
    split = split_days(store.days, config.split, config.data.horizons, usable_days(store.days, config.data))
    trained = normalizer is not None
    if normalizer is None:
        normalizer = in_turn(lambda: _fit(store, split, config, settle, report))
        data = training_panel(store, normalizer, plan.normalizer, config.data.window + config.batch_size - 1, report)
    else:
        data = StreamedPanel(store, normalizer)
    graph = config.graph if config.model.gat.enabled else None
    pinned = device_of(config).type == "cuda"
    cache = Path(config.data.cache)
    liquidity = not trained and config.loss.liquidity_weight != 1.0
    if liquidity:
        require_dollar_volume(store, split.train, f"loss.liquidity_weight={config.loss.liquidity_weight}")
    batches = prepare_batches(
        data, config.data.exchange, config.data.window, graph, cache, report, pinned=pinned, liquidity=liquidity
    )
    if batches.graph is not None:
        # Of a trained model, only the days that it is judged on.
        parts = (split.valid, split.test) if trained else (split.train, split.valid, split.test)
        in_turn(partial(batches.graph.prepare, np.concatenate(parts)))
    return Assembly(config, plan, store, split, normalizer, batches)


def _fit(store: Store, split: Split, config: Config, settle: Settle | None, report: Report) -> Normalizer:
    progress = partial(report, "statistics of the training days")
    if settle is None:
        return fit_normalizer(store, split.train, strict=config.data.strict, progress=progress)
    file = settle(store, split)
    return kept_normalizer(file, store, split.train, strict=config.data.strict, progress=progress)


def training_panel(
    store: Store, normalizer: Normalizer, plan: NormalizerPlan, span: int, report: Report
) -> FeaturePanel:
    """What a training reads again and again. `span` is the longest that a block will be, its window included."""
    if plan.kind == "online":
        return StreamedPanel(store, normalizer)
    megabytes = nbytes_needed(store, normalizer, span) / 2**20
    return materialise(store, normalizer, span, partial(report, f"normalise into memory ({megabytes:.0f} MB)"))


def prepare_batches(
    data: FeaturePanel,
    exchange: str | None,
    window: int,
    graph: GraphConfig | None,
    cache: Path,
    report: Report,
    *,
    static: Int64[NDArray[np.int64], " stocks"] | None = None,
    pinned: bool = False,
    liquidity: bool = False,
) -> DayBatches:
    """Put graph and calendar beside a panel. `graph` None: no graph attention; its lists are kept below `cache`.

    `static` [N] replaces the store's own categories where a trained model numbers them differently; with `liquidity`,
    batches say which stocks are liquid.
    """
    store = data.store
    neighbours = None if graph is None else cached_graph(store, store.static, graph, cache, report)
    calendar = calendar_covariates(store.days, exchange)
    return DayBatches(data, neighbours, calendar, window, static=static, pinned=pinned, liquidity=liquidity)


def build_model(assembly: Assembly) -> ATFT_GAT_FAN:
    """The network with initial weights drawn from the run's seed, leaving the global generator as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(assembly.config.seed)
        return ATFT_GAT_FAN(assembly.spec)
