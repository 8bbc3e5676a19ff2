"""What is said of one stock is what the whole day says when that thing is taken away."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from atft_gat_fan.inference.stock_explanation import explain_stock
from atft_gat_fan.types import DayBatch, Neighbours
from tests.inference import examples


@pytest.fixture(scope="module")
def batch(tmp_path_factory: pytest.TempPathFactory) -> DayBatch:
    data = examples.batches(examples.store(tmp_path_factory.mktemp("store") / "s", examples.frame()))
    return data.to_device(data.canonical(40), torch.device("cpu"))


def scores(model: torch.nn.Module, batch: DayBatch, stock: int) -> np.ndarray:
    with torch.inference_mode():
        return model.forecast(batch).point[0, stock].double().numpy()


@pytest.mark.parametrize("gat_heads", [2, 0])
def test_it_is_what_the_whole_day_says(batch: DayBatch, gat_heads: int) -> None:
    # In float64, where rounding decides no frequency.
    model = examples.network(gat_heads=gat_heads).double()
    graph = batch.neighbours
    whole = replace(
        batch,
        features=batch.features.double(),
        calendar=batch.calendar.double(),
        neighbours=Neighbours(graph.index, graph.mask, graph.edge.double()),
    )
    for stock in (0, 5, batch.num_stocks - 1):
        found = explain_stock(model, whole, stock)
        np.testing.assert_allclose(found.score, scores(model, whole, stock), rtol=0, atol=1e-12)
        np.testing.assert_array_equal(found.values, whole.features[-1, stock].numpy())
        for feature in range(model.spec.num_features):
            features = whole.features.clone()
            features[:, stock, feature] = 0.0
            without = scores(model, replace(whole, features=features), stock)
            np.testing.assert_allclose(found.occlusion[feature], found.score - without, rtol=0, atol=1e-12)
        assert np.abs(found.occlusion).min() > 0
        if gat_heads:
            mask = whole.neighbours.mask.clone()
            mask[0, stock, 1:] = False
            alone = replace(whole, neighbours=Neighbours(graph.index, mask, whole.neighbours.edge))
            np.testing.assert_allclose(found.without_neighbours, scores(model, alone, stock), rtol=0, atol=1e-12)
        else:
            assert found.without_neighbours is None
    assert graph.mask[0, :, 1:].any(), "the example needs neighbours"
