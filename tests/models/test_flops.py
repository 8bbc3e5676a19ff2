"""Counted operations against those torch counts while the network runs."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from atft_gat_fan.config.plan import ModelSpec
from atft_gat_fan.models.flops import flops
from atft_gat_fan.models.network import ATFT_GAT_FAN
from atft_gat_fan.types import DayBatch, Neighbours, RandomKey

DAYS, STOCKS, SLOTS = 3, 7, 4
SPEC = ModelSpec(
    num_features=5, horizons=(1, 5), window=6, num_categories=2, num_covariates=3, hidden_size=12, variable_size=4
)


def batch(spec: ModelSpec) -> DayBatch:
    span = spec.window + DAYS - 1
    index = torch.arange(STOCKS).expand(DAYS, STOCKS).unsqueeze(-1).expand(-1, -1, SLOTS)
    return DayBatch(
        features=torch.randn(span, STOCKS, spec.num_features),
        labels=torch.zeros(DAYS, STOCKS, 2),
        present=torch.ones(DAYS, STOCKS, dtype=torch.bool),
        calendar=torch.randn(span, spec.num_covariates),
        static=torch.zeros(STOCKS, dtype=torch.int64),
        span_dates=tuple(range(span)),
        neighbours=Neighbours(index, torch.ones_like(index, dtype=torch.bool), torch.ones(*index.shape, 2)),
    )


def counted_by_torch(spec: ModelSpec, *, training: bool) -> int:
    """Per batch. An LSTM is one operation to torch, of which it counts nothing."""
    model, data = ATFT_GAT_FAN(spec), batch(spec)
    with FlopCounterMode(display=False) as counter:
        scores = model.forecast(data, RandomKey(0, 0)).point
        if training:
            scores.sum().backward()
    return counter.get_total_flops()


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"num_categories": 0},
        {"num_covariates": 0},
        {"fan_top_k": 0},
        {"gat_heads": 0},
        {"window": 7},
        {"input_expansion": "polynomial"},
        {"same_day_skip": True},
        {"fan_top_k": 0, "blockwise": True},
        {"lstm_layers": 0},
        {"num_heads": 0},
        {"fan_top_k": 0, "lstm_layers": 0, "num_heads": 0},
    ],
    ids=str,
)
def test_matrix_products_are_those_torch_sees(changes: dict[str, Any], training: bool) -> None:
    spec = replace(SPEC, **changes)
    counted = flops(spec, days=DAYS, stocks=STOCKS, neighbours=SLOTS)
    parts = dict(counted.training if training else counted.forward)
    if spec.lstm_layers:
        parts["lstm"] -= _lstm_cells(spec) * (3 if training else 1)
    assert sum(parts.values()) * DAYS * STOCKS == pytest.approx(counted_by_torch(spec, training=training), rel=1e-12)


def _lstm_cells(spec: ModelSpec) -> float:
    """2 (4 E) (E + E) a day of the window, or of the block: four gates, each of input and state."""
    days = (DAYS + spec.window - 1) / DAYS if spec.blockwise else spec.window
    return spec.lstm_layers * days * 2 * 4 * spec.hidden_size * 2 * spec.hidden_size


def test_days_of_one_batch_share_the_variable_selection() -> None:
    alone = flops(SPEC, days=1, stocks=STOCKS, neighbours=SLOTS)
    together = flops(SPEC, days=10, stocks=STOCKS, neighbours=SLOTS)
    shared = together.forward["variable selection"] / alone.forward["variable selection"]
    assert shared == pytest.approx((10 + SPEC.window - 1) / (10 * SPEC.window), rel=0.05)
    for part in alone.forward.keys() - {"variable selection", "lstm"}:
        assert together.forward[part] == alone.forward[part]


def test_the_default_network_spends_most_on_its_lstm() -> None:
    counted = flops(ModelSpec(num_features=32), days=8, stocks=1000, neighbours=16)
    assert counted.training["lstm"] == 3 * 20 * 2 * 4 * 64 * 128
    assert 0.5 < counted.training["lstm"] / counted.per_trained_sample < 0.8
