"""A market small enough to train on in a second, with a signal a linear model could find."""

import io
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from rich.console import Console

from atft_gat_fan.config.plan import ModelSpec
from atft_gat_fan.data.batches import consecutive_blocks
from atft_gat_fan.models.network import ATFT_GAT_FAN
from atft_gat_fan.training.run_folder import RunFolder
from atft_gat_fan.training.settings import TrainSettings
from atft_gat_fan.types import DayBatch, Neighbours

HORIZONS = (1, 5)
WINDOW, NUM_FEATURES = 5, 4
FIRST_DATE = 10_000


@dataclass
class TinyMarket:
    """Training data in memory: days 4..43 train, 46..59 validate; returns follow the first feature.

    A few labels are unknown and a few stocks absent. `sign` [days] turns the signal of a day around.
    """

    num_days: int = 60
    num_stocks: int = 12
    batch_days: int = 4
    seed: int = 3
    noise: float = 0.3
    sign: NDArray[np.float32] | None = None
    train_days: NDArray[np.int64] = field(default_factory=lambda: np.arange(WINDOW - 1, 44))
    valid_days: NDArray[np.int64] = field(default_factory=lambda: np.arange(46, 60))
    after_batch: Callable[[], None] = lambda: None

    def __post_init__(self) -> None:
        rng = np.random.default_rng(self.seed)
        shape = (self.num_days, self.num_stocks)
        self.features = torch.from_numpy(rng.standard_normal((*shape, NUM_FEATURES), dtype=np.float32))
        sign = torch.ones(self.num_days) if self.sign is None else torch.from_numpy(self.sign)
        noise = torch.from_numpy(rng.standard_normal((*shape, len(HORIZONS)), dtype=np.float32))
        signal = (sign[:, None] * self.features[..., 0]).unsqueeze(-1)
        self.labels = 0.02 * (signal + self.noise * noise)
        self.labels[torch.from_numpy(rng.random((*shape, len(HORIZONS))) < 0.1)] = torch.nan
        self.present = torch.from_numpy(rng.random(shape) < 0.95)
        self.labels[~self.present] = torch.nan

    def blocks(self, epoch: int) -> list[tuple[int, int]]:
        days, size = self.train_days, self.batch_days
        blocks = [(int(days[i]), min(size, len(days) - i)) for i in range(0, len(days), size)]
        order = np.random.default_rng((self.seed, epoch)).permutation(len(blocks))
        return [blocks[i] for i in order]

    def valid_blocks(self) -> list[tuple[int, int]]:
        return consecutive_blocks(self.valid_days, self.batch_days)

    def to_device(self, batch: DayBatch, device: torch.device) -> DayBatch:
        return batch.to(device)

    def batch(self, first: int, count: int) -> DayBatch:
        self.after_batch()
        span = slice(first - WINDOW + 1, first + count)
        dates = tuple(range(FIRST_DATE + span.start, FIRST_DATE + span.stop))
        days = slice(first, first + count)
        return DayBatch(
            features=self.features[span],
            labels=self.labels[days],
            present=self.present[days],
            calendar=torch.zeros(len(dates), 0),
            static=torch.zeros(self.num_stocks, dtype=torch.int64),
            span_dates=dates,
            neighbours=self._ring(count),
        )

    def _ring(self, count: int) -> Neighbours:
        """Every stock and the next one."""
        stocks = torch.arange(self.num_stocks)
        index = torch.stack([stocks, stocks.roll(-1)], dim=-1).expand(count, -1, -1)
        return Neighbours(index, torch.ones_like(index, dtype=torch.bool), torch.ones(*index.shape, 2))


def tiny_network(
    seed: int = 0, dropout: float = 0.1, quantiles: tuple[float, ...] = (), **spec_changes: Any
) -> ATFT_GAT_FAN:
    values: dict[str, Any] = {
        "num_features": NUM_FEATURES,
        "horizons": HORIZONS,
        "window": WINDOW,
        "hidden_size": 8,
        "variable_size": 4,
        "num_heads": 2,
        "gat_heads": 2,
        "dropout": dropout,
        "quantiles": quantiles,
    }
    spec = ModelSpec(**{**values, **spec_changes})
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return ATFT_GAT_FAN(spec)


def tiny_settings(**changes: object) -> TrainSettings:
    values: dict = {
        "digest": "tiny",
        "horizons": HORIZONS,
        "horizon_weights": (1.0, 0.5),
        "batch_size": 4,
        "max_epochs": 3,
        "lr": 0.01,
        # A checkpoint waits for the disk five times: only tests about them ask for more than one an epoch.
        "checkpoint_every": 1000,
        "log_every": 100,
        "device": "cpu",
    }
    return TrainSettings(**{**values, **changes})


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def market() -> TinyMarket:
    return TinyMarket()


@pytest.fixture
def make_market() -> type[TinyMarket]:
    return TinyMarket


@pytest.fixture
def make_network() -> Callable[..., ATFT_GAT_FAN]:
    return tiny_network


@pytest.fixture
def make_settings() -> Callable[..., TrainSettings]:
    return tiny_settings


@pytest.fixture
def folder(tmp_path: Path):
    with RunFolder(tmp_path / "run") as opened:
        yield opened


@pytest.fixture
def console() -> Console:
    """Writes to memory, as to a pipe."""
    return Console(file=io.StringIO(), width=200)
