"""Scores by the canonical batch are those of the network as it is written, however it was trained."""

import numpy as np
import pytest
import torch

from atft_gat_fan.config.load import load_config
from atft_gat_fan.inference.predictor import predict_days
from atft_gat_fan.models import regions
from atft_gat_fan.runs.assembly import Assembly, assemble, build_model


@pytest.fixture(scope="module")
def assembly(tmp_path_factory: pytest.TempPathFactory) -> Assembly:
    config = load_config(
        [
            "model=small",
            "data=synthetic",
            "data.synthetic.num_stocks=8",
            "data.synthetic.num_days=200",
            "data.horizons=[1]",
            f"data.cache={tmp_path_factory.mktemp('cache')}",
        ]
    )
    return assemble(config, lambda stage, share: None)


def test_a_model_that_was_trained_compiled_scores_without_compiling(assembly: Assembly, monkeypatch) -> None:
    model, days = build_model(assembly), np.array([120, 121])
    expected = predict_days(model, assembly.batches, days).scores
    assert np.isfinite(expected).any()
    model.compiled = True
    monkeypatch.setattr(regions, "_compiled", lambda region: pytest.fail("compiled"))
    np.testing.assert_array_equal(predict_days(model, assembly.batches, days).scores, expected)
    assert model.compiled, "what goes on training goes on as before"


def test_a_days_scores_are_those_of_its_stocks_alone_and_nothing_else_of_the_panel(assembly: Assembly) -> None:
    model, day = build_model(assembly), 150
    prediction = predict_days(model, assembly.batches, np.array([day - 1, day, day + 1]))
    present = assembly.store.column("present", slice(day, day + 1))[0]
    scores = prediction.scores[1]
    assert np.isfinite(scores[present]).all()
    assert np.isnan(scores[~present]).all()
    with torch.inference_mode():
        batch = assembly.to_device(assembly.batches.canonical(day), torch.device("cpu"))
        alone = model.eval().forecast(batch).point[0].numpy()
    np.testing.assert_array_equal(scores[present], alone)
    assert prediction.variable_weights.sum() == pytest.approx(1, rel=1e-5)
    assert prediction.attention.sum() == pytest.approx(1, rel=1e-5)
