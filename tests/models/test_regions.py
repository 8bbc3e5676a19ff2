"""The compiled network against the plain one: the same numbers, few compilations, whatever the shape of the batch."""

import copy
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch._dynamo.utils import counters

from atft_gat_fan.config.plan import ModelSpec
from atft_gat_fan.models.network import ATFT_GAT_FAN
from atft_gat_fan.types import DayBatch, RandomKey

pytestmark = pytest.mark.slow

WINDOW, FEATURES = 6, 4
SPEC = ModelSpec(
    num_features=FEATURES,
    horizons=(1, 5),
    window=WINDOW,
    num_categories=3,
    num_covariates=2,
    hidden_size=8,
    variable_size=4,
    num_heads=2,
    gat_heads=0,
    dropout=0.2,
    freq_dropout_p=0.3,
)
KEY = RandomKey(seed=1, step=2)
SHAPES = [(2, 5), (3, 5), (2, 7), (1, 9), (4, 4), (3, 11)]


@pytest.fixture(autouse=True)
def fresh_compiler(without_shape_checks: None) -> Iterator[None]:
    """Nothing compiled before."""
    torch._dynamo.reset()
    counters.clear()
    with torch._dynamo.config.patch(recompile_limit=32, fail_on_recompile_limit_hit=True):
        yield
    torch._dynamo.reset()


def network(**changes: Any) -> ATFT_GAT_FAN:
    torch.manual_seed(0)
    model = ATFT_GAT_FAN(replace(SPEC, **changes)).double()
    torch.nn.init.normal_(model.heads.point.weight, std=0.3)
    return model


def compiled(model: ATFT_GAT_FAN) -> ATFT_GAT_FAN:
    other = copy.deepcopy(model)
    other.compiled = True
    return other


def batch(days: int, stocks: int, dtype: torch.dtype = torch.float64) -> DayBatch:
    generator = torch.Generator().manual_seed(100 * days + stocks)
    span = WINDOW + days - 1

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)

    return DayBatch(
        features=normal(span, stocks, FEATURES),
        labels=normal(days, stocks, 2),
        present=torch.ones(days, stocks, dtype=torch.bool),
        calendar=normal(span, 2),
        static=torch.arange(stocks) % 4,
        span_dates=tuple(range(19_000, 19_000 + span)),
    )


def trained_once(model: ATFT_GAT_FAN, data: DayBatch) -> list[torch.Tensor]:
    """Scores, both kinds of weights, and the gradient of every parameter."""
    forecast = model.train().forecast(data, KEY)
    outputs = [forecast.point, forecast.variable_weights, forecast.attention]
    loss = sum((part * torch.linspace(1, 2, part.numel()).view(part.shape)).sum() for part in outputs)
    gradients = torch.autograd.grad(loss, list(model.parameters()))
    return [part.detach() for part in (*outputs, *gradients)]


def assert_close(actual: list[torch.Tensor], expected: list[torch.Tensor], tolerance: float) -> None:
    for one, other in zip(actual, expected, strict=True):
        assert (one - other).norm() <= tolerance * max(float(other.norm()), 1.0)


def num_compilations() -> int:
    return counters["stats"]["unique_graphs"]


def test_scores_and_gradients_are_those_of_the_plain_network() -> None:
    model = network()
    other = compiled(model)
    for shape in SHAPES[:3]:
        assert_close(trained_once(other, batch(*shape)), trained_once(model, batch(*shape)), 1e-12)
    data = batch(2, 5)
    with torch.no_grad():
        actual, expected = other.eval().forecast(data), model.eval().forecast(data)
    assert_close([actual.point, actual.attention], [expected.point, expected.attention], 1e-12)
    assert list(other.state_dict()) == list(model.state_dict())


def test_float32_agrees_to_its_rounding() -> None:
    model = network(fan_top_k=0).float()
    data = batch(3, 5, torch.float32)
    assert_close(trained_once(compiled(model), data), trained_once(model, data), 1e-6)


def test_other_shapes_are_not_compiled_again() -> None:
    """Three regions, each with gradients in training and without them in evaluation."""
    model = compiled(network())
    for shape in SHAPES:
        trained_once(model, batch(*shape))
    assert num_compilations() == 3
    with torch.no_grad():
        for shape in SHAPES:
            model.eval().forecast(batch(*shape))
    assert num_compilations() == 6


def test_a_single_row_is_a_batch() -> None:
    model = network()
    data = batch(1, 1)
    assert_close(trained_once(compiled(model), data), trained_once(model, data), 1e-12)


def test_a_copy_computes_with_its_own_weights_and_compiles_nothing() -> None:
    model = compiled(network())
    data = batch(2, 5)
    average = copy.deepcopy(model).eval()
    with torch.no_grad():
        before = model.eval().forecast(data).point
        compilations = num_compilations()
        for parameter in average.parameters():
            parameter.mul_(1.1)
        plain = copy.deepcopy(average)
        plain.compiled = False
        assert_close([average.forecast(data).point], [plain.forecast(data).point], 1e-12)
        assert not torch.allclose(average.forecast(data).point, before, rtol=1e-3)
    assert num_compilations() == compilations


def test_recomputed_activations_give_the_same_gradients() -> None:
    data = batch(2, 5)
    model = compiled(network(gradient_checkpointing=True))
    assert_close(trained_once(model, data), trained_once(network(), data), 1e-12)


def test_dropout_is_drawn_outside_and_differs_with_the_key() -> None:
    model = compiled(network(freq_dropout_p=0.0))
    data = batch(2, 5)
    first = model.train().forecast(data, KEY).point
    assert torch.equal(first, model.forecast(data, KEY).point)
    assert not torch.equal(first, model.forecast(data, RandomKey(seed=1, step=3)).point)


def test_bfloat16_trains_compiled() -> None:
    model = network(fan_top_k=0).float()
    data = batch(3, 5, torch.float32)

    def scores(model: ATFT_GAT_FAN) -> list[torch.Tensor]:
        with torch.autocast("cpu", torch.bfloat16):
            return trained_once(model, data)

    actual, expected = scores(compiled(model)), scores(model)
    assert all(torch.isfinite(part).all() for part in actual)
    assert_close(actual[:3], expected[:3], 2e-2)


BLOCKWISE = {"fan_top_k": 0, "freq_dropout_p": 0.0, "blockwise": True, "same_day_skip": True}
SAME_DAY = {"fan_top_k": 0, "freq_dropout_p": 0.0, "lstm_layers": 0, "num_heads": 0, "input_expansion": "polynomial"}


@pytest.mark.parametrize(
    "change",
    [pytest.param(BLOCKWISE, id="blockwise"), pytest.param(SAME_DAY, id="same day", marks=pytest.mark.exhaustive)],
)
def test_blocks_and_same_days_compile_once_for_all_shapes(change: dict[str, Any]) -> None:
    model = network(**change)
    other = compiled(model)
    for shape in SHAPES[:3]:
        assert_close(trained_once(other, batch(*shape)), trained_once(model, batch(*shape)), 1e-12)
    assert num_compilations() == (3 if change is BLOCKWISE else 2)


@pytest.mark.parametrize("change", [{"num_categories": 0}, {"num_covariates": 0}, {"fan_top_k": 0}, {"lstm_layers": 2}])
def test_networks_without_a_part_compile_too(change: dict[str, Any]) -> None:
    model = network(**change)
    data = batch(2, 5)
    if "num_covariates" in change:
        data = replace(data, calendar=data.calendar[:, :0])
    assert_close(trained_once(compiled(model), data), trained_once(model, data), 1e-12)
