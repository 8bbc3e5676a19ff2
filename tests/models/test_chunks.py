"""Computing in pieces: the same forecasts and gradients to rounding, the same dropout to the bit."""

import copy
import runpy
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from atft_gat_fan.models.chunks import Chunks
from atft_gat_fan.types import RandomKey, StockPart

TINY = runpy.run_path(str(Path(__file__).parents[1] / "training" / "conftest.py"))
KEY = RandomKey(3, 5)
CHUNKS = [
    Chunks(stocks=5),
    Chunks(stocks=1),
    Chunks(by_day=True),
    Chunks(stocks=7, by_day=True),
    Chunks(queries=2),
    Chunks(stocks=4, by_day=True, queries=5),
]
NETWORKS = {
    "plain": {},
    "frequencies dropped": {"freq_dropout_p": 0.5, "freq_dropout_rescale": True},
    "categories and calendar": {"num_categories": 3, "num_covariates": 2},
    "checkpointing": {"gradient_checkpointing": True},
    "two layers": {"lstm_layers": 2, "fan_top_k": 0},
    "quantiles": {"quantiles": (0.1, 0.5, 0.9)},
    "block-wise": {"fan_top_k": 0, "blockwise": True, "same_day_skip": True, "num_categories": 3},
    "same day, bent inputs": {"fan_top_k": 0, "lstm_layers": 0, "num_heads": 0, "input_expansion": "polynomial"},
    "no recurrence": {"lstm_layers": 0, "same_day_skip": True},
}


def batch_for(model):
    market = TINY["TinyMarket"]()
    batch = market.batch(10, 3)
    static = torch.arange(market.num_stocks) % (model.spec.num_categories + 1)
    calendar = torch.randn(len(batch.span_dates), model.spec.num_covariates, generator=torch.Generator().manual_seed(1))
    return replace(batch, static=static, calendar=calendar)


def forecast_and_gradients(model, batch, key=KEY):
    forecast = model.forecast(batch, key)
    tensors = [forecast.point, forecast.variable_weights, forecast.attention]
    tensors += [] if forecast.quantiles is None else [forecast.quantiles]
    model.zero_grad()
    # Of the forecasts alone: what only explains them is not trained on.
    sum(tensor.square().sum() for tensor in (forecast.point, forecast.quantiles) if tensor is not None).backward()
    return tensors, {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("chunks", CHUNKS, ids=str)
@pytest.mark.parametrize("network", NETWORKS)
def test_pieces_compute_what_the_whole_does(network, chunks):
    model = TINY["tiny_network"](dropout=0.3, **NETWORKS[network]).train()
    batch = batch_for(model)
    expected, gradients = forecast_and_gradients(model, batch)
    model.chunks = chunks
    found, in_pieces = forecast_and_gradients(model, batch)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-7)
    assert in_pieces.keys() == gradients.keys()
    scale = max(float(gradient.abs().max()) for gradient in gradients.values())
    for name, gradient in gradients.items():
        torch.testing.assert_close(in_pieces[name], gradient, rtol=1e-5, atol=1e-6 * scale, msg=name)


def test_scores_in_pieces_are_those_of_the_whole():
    model = TINY["tiny_network"]().eval()
    batch = batch_for(model)
    with torch.no_grad():
        whole = model.forecast(batch).point
        model.chunks = Chunks(stocks=5, by_day=True, queries=3)
        torch.testing.assert_close(model.forecast(batch).point, whole, rtol=1e-6, atol=1e-9)


def test_stocks_in_pieces_keep_less_for_the_backward_pass():
    model = TINY["tiny_network"]().train()
    batch = batch_for(model)

    def kept():
        sizes = {}
        with torch.autograd.graph.saved_tensors_hooks(
            lambda t: sizes.update({t.untyped_storage().data_ptr(): t.nbytes}) or t, lambda t: t
        ):
            forecast = model.forecast(batch, KEY)
        del forecast
        return sum(sizes.values())

    whole = kept()
    model.chunks = Chunks(stocks=6)
    assert kept() < whole / 3


def test_they_are_no_part_of_the_weights_or_the_specification_and_can_be_undone():
    model = TINY["tiny_network"](gat_chunk_size=9)
    names, spec = list(model.state_dict()), model.spec
    model.chunks = Chunks(stocks=2, queries=3)
    assert (list(model.state_dict()), model.spec, model.graph.chunk_size) == (names, spec, 3)
    assert copy.deepcopy(model).chunks == model.chunks
    model.chunks = Chunks()
    assert model.graph.chunk_size == 9


@pytest.mark.slow
def test_pieces_of_a_compiled_network_compute_what_the_whole_does():
    """In a process of its own: the compiler cannot see through the shape checks of the tests."""
    program = f"import runpy; runpy.run_path({__file__!r})['compare_compiled_pieces']()"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr


def compare_compiled_pieces():
    plain = TINY["tiny_network"](dropout=0.3, num_categories=3, num_covariates=2, freq_dropout_p=0.5).train()
    compiled = copy.deepcopy(plain)
    compiled.compiled = True
    batch = batch_for(plain)
    expected, gradients = forecast_and_gradients(plain, batch)
    for chunks in (Chunks(), Chunks(stocks=5), Chunks(stocks=5, by_day=True)):
        compiled.chunks = chunks
        found, in_pieces = forecast_and_gradients(compiled, batch)
        torch.testing.assert_close(found[0], expected[0], rtol=1e-4, atol=1e-6)
        scale = max(float(gradient.abs().max()) for gradient in gradients.values())
        for name, gradient in gradients.items():
            torch.testing.assert_close(in_pieces[name], gradient, rtol=1e-4, atol=1e-5 * scale, msg=name)


@pytest.mark.parametrize("part", [StockPart(0, 5, 12), StockPart(5, 10, 12), StockPart(10, 12, 12)], ids=str)
def test_a_part_of_the_stocks_has_its_part_of_the_mask(part):
    model = TINY["tiny_network"](dropout=0.4, freq_dropout_p=0.5).train()
    dates, count = (11, 12, 13), part.stop - part.start
    key = replace(KEY, part=part)
    for dropout in (model.selection_dropout, model.temporal.lstm_dropout):
        whole, own = (
            dropout.mask((3, stocks, 8), dates, each, dtype=torch.float32, device=torch.device("cpu"))
            for stocks, each in ((12, KEY), (count, key))
        )
        assert torch.equal(own, whole[:, part.start : part.stop])
    x = torch.randn(5, 3, 12, 8, generator=torch.Generator().manual_seed(0))
    ours = slice(part.start, part.stop)
    frequencies = model.temporal.freq_dropout
    torch.testing.assert_close(
        frequencies(x[:, :, ours], dates, key), frequencies(x, dates, KEY)[:, :, ours], rtol=0, atol=1e-6
    )
    assert not torch.equal(frequencies(x, dates, KEY)[:, :, ours], x[:, :, ours])


def test_pieces_of_a_batch_are_its_days_each_with_its_window():
    market = TINY["TinyMarket"]()
    whole = market.batch(10, 5)
    pieces = whole.pieces(2)
    assert [piece.num_days for piece in pieces] == [2, 2, 1]
    assert sum((piece.dates for piece in pieces), ()) == whole.dates
    for piece, (first, count) in zip(pieces, [(10, 2), (12, 2), (14, 1)], strict=True):
        alone = market.batch(first, count)
        assert piece.span_dates == alone.span_dates
        for name in ("features", "present", "calendar", "static"):
            assert torch.equal(getattr(piece, name), getattr(alone, name)), name
        assert torch.equal(piece.labels.nan_to_num(9), alone.labels.nan_to_num(9))
        assert torch.equal(piece.neighbours.index, alone.neighbours.index)
        assert piece.features.untyped_storage().data_ptr() == whole.features.untyped_storage().data_ptr()
