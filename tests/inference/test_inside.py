"""Looking inside changes no bit of a score, and what is seen is what the scores are made of."""

import pytest
import torch

from atft_gat_fan.inference.inside import look_inside
from atft_gat_fan.models.chunks import Chunks
from atft_gat_fan.models.network import ATFT_GAT_FAN
from atft_gat_fan.types import DayBatch
from tests.inference import examples


@pytest.fixture(scope="module")
def batch(tmp_path_factory: pytest.TempPathFactory) -> DayBatch:
    data = examples.batches(examples.store(tmp_path_factory.mktemp("store") / "s", examples.frame()))
    return data.to_device(data.canonical(40), torch.device("cpu"))


@pytest.mark.parametrize("changes", [{}, {"fan_top_k": 0}, {"gat_heads": 0}, {"fan_top_k": 2, "quantiles": (0.1, 0.5)}])
@pytest.mark.parametrize("chunks", [Chunks(), Chunks(stocks=5), Chunks(by_day=True, queries=3)])
def test_the_forecast_has_the_bits_of_the_plain_path(batch: DayBatch, changes: dict, chunks: Chunks) -> None:
    model = examples.network(**changes)
    model.chunks = chunks
    with torch.inference_mode():
        plain = model.forecast(batch)
        inside = look_inside(model, batch)
        again = model.forecast(batch)
    for name in ("point", "quantiles", "variable_weights", "attention"):
        one, other = getattr(plain, name), getattr(inside.forecast, name)
        assert (one is None and other is None) or torch.equal(one, other), name
    assert torch.equal(again.point, plain.point), "nothing stays behind in the network"
    assert (inside.taken is None) == (model.spec.fan_top_k == 0)
    assert (inside.neighbours is None) == (model.spec.gat_heads == 0)


def test_pieces_are_seen_as_the_whole(batch: DayBatch) -> None:
    model = examples.network()
    whole = look_inside(model, batch)
    model.chunks = Chunks(stocks=5)
    pieces = look_inside(model, batch)
    assert torch.equal(whole.taken, pieces.taken)
    torch.testing.assert_close(whole.energy, pieces.energy)
    torch.testing.assert_close(whole.neighbour_weights, pieces.neighbour_weights)


def test_neighbour_weights_add_up_and_listen_to_nobody_else(batch: DayBatch) -> None:
    inside = look_inside(examples.network(), batch)
    weights, graph = inside.neighbour_weights, inside.neighbours
    assert weights.shape == graph.mask.shape == (batch.num_stocks, examples.GRAPH.num_neighbours)
    torch.testing.assert_close(weights.sum(1), torch.ones(batch.num_stocks))
    assert (weights[~graph.mask] == 0).all()
    assert graph.mask[:, 1:].any(), "the example needs neighbours"


def test_each_channel_has_its_frequencies_taken(batch: DayBatch) -> None:
    for top_k in (1, 2):
        inside = look_inside(examples.network(fan_top_k=top_k), batch)
        assert inside.taken.shape == (examples.WINDOW // 2 + 1, batch.num_stocks, 8)
        assert (inside.taken.sum(0) == top_k).all()


def test_a_wave_in_a_feature_is_the_frequency_that_is_taken(batch: DayBatch) -> None:
    """A network that passes one feature on: the wave planted in it is found in every channel."""
    model = examples.network(num_categories=0, num_covariates=0, gat_heads=0)
    _pass_on(model)
    time = torch.arange(examples.WINDOW)
    for k in (1, 2, 3):
        wave = torch.cos(2 * torch.pi * k * time / examples.WINDOW + 0.4)
        features = torch.zeros_like(batch.features)
        features[..., 0] = wave.unsqueeze(1)
        inside = look_inside(
            model,
            DayBatch(
                **{**vars(batch), "features": features, "neighbours": None, "calendar": torch.zeros(examples.WINDOW, 0)}
            ),
        )
        assert (inside.taken.long().argmax(0) == k).all()
        share = (inside.energy * inside.taken).sum() / inside.energy.sum()
        assert share > 0.9


def _pass_on(model: ATFT_GAT_FAN) -> None:
    """Almost linear in the first feature: gates of its network shut, norm by a wide constant channel."""
    selection = model.variable_selection
    with torch.no_grad():
        for parameter in selection.parameters():
            parameter.zero_()
        selection.variables.norm_weight.fill_(1.0)
        # Channels +x, -x and two constants: layer norm divides by a spread that the constants dominate.
        selection.embedding_weight[0] = torch.tensor([1.0, -1.0, 0.0, 0.0])
        selection.embedding_bias[0] = torch.tensor([0.0, 0.0, 9.0, -9.0])
        selection.output.weight[:] = torch.tensor([1.0, -1.0, 0.0, 0.0])


@pytest.mark.parametrize(
    "changes",
    [
        {"lstm_layers": 0, "num_heads": 0, "fan_top_k": 0},
        {"blockwise": True, "fan_top_k": 0, "same_day_skip": True, "input_expansion": "polynomial"},
        {"lstm_layers": 0, "num_heads": 0},
    ],
    ids=str,
)
def test_networks_without_a_part_can_be_looked_into(batch: DayBatch, changes: dict) -> None:
    model = examples.network(**changes)
    inside = look_inside(model, batch)
    with torch.inference_mode():
        assert torch.equal(inside.forecast.point, model.forecast(batch).point)
    assert (inside.taken is None) == (model.spec.fan_top_k == 0)
    assert inside.neighbour_weights is not None


def test_near_ties_reach_those_who_listen(batch: DayBatch, monkeypatch: pytest.MonkeyPatch) -> None:
    model = examples.network()
    fan = type(model.temporal.fan)
    alone = torch.zeros(batch.num_stocks, dtype=torch.bool)
    alone[3] = True
    monkeypatch.setattr(fan, "near_ties", lambda self, windows: alone.unsqueeze(-1))
    inside = look_inside(model, batch)
    graph = batch.neighbours
    listening = {stock for stock in range(batch.num_stocks) if 3 in graph.index[0, stock][graph.mask[0, stock]]}
    assert listening - {3}, "the example needs a listener"
    assert set(inside.near_ties.nonzero().flatten().tolist()) == listening
