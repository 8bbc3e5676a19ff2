"""The constant's loss of a step is what the training loss would be of a network that gives every stock the mean."""

from pathlib import Path

import numpy as np
import pytest
import torch

from atft_gat_fan.config.load import load_config
from atft_gat_fan.runs.assembly import Assembly, assemble
from atft_gat_fan.runs.constant_predictor import constant_losses, training_losses
from atft_gat_fan.runs.train_settings import train_settings
from atft_gat_fan.training.objective import Objective
from atft_gat_fan.training.training_data import step_groups
from atft_gat_fan.types import Forecast


@pytest.fixture(scope="module")
def assembled(tmp_path_factory: pytest.TempPathFactory):
    cache = tmp_path_factory.mktemp("cache")
    small = ["data=synthetic", "data.synthetic.num_days=260", "data.synthetic.num_stocks=12", "model=small"]

    def make(*overrides: str) -> Assembly:
        return assemble(load_config([*small, f"data.cache={cache}", *overrides]), lambda stage, share: None)

    return make


@pytest.mark.parametrize("loss", ["mse", "huber", "ic", "rank"])
@pytest.mark.parametrize("transform", ["raw", "zscore"])
@pytest.mark.parametrize("liquidity", [1.0, 3.0])
def test_it_is_the_objective_of_the_mean(assembled, loss: str, transform: str, liquidity: float) -> None:
    mse_weight = 0.1 if loss in ("ic", "rank") else 0.0
    assembly = assembled(
        f"loss.type={loss}",
        f"labels.transform={transform}",
        f"loss.mse_weight={mse_weight}",
        f"loss.liquidity_weight={liquidity}",
        "accumulate_grad_batches=2",
    )
    settings = train_settings(assembly)
    found = constant_losses(assembly, settings, 25)
    objective = Objective(settings, torch.device("cpu"))
    labels = objective.prepare(assembly.batch(int(assembly.split.train[0]), len(assembly.split.train))).labels
    constant = labels.flatten(0, 1).nanmean(dim=0)
    groups = [group for epoch in range(3) for group in step_groups(assembly, settings, epoch)]
    for step in (0, 1, 24):
        batches = [objective.prepare(assembly.batch(*block)) for block in groups[step]]
        counts = objective.labelled_days(batches)
        expected = sum(
            float(objective(Forecast(constant.expand_as(b.labels), None, None, None), b, counts)[0])  # type: ignore[arg-type]
            for b in batches
        )
        assert found[step] == pytest.approx(expected, rel=1e-5)


def test_a_constant_has_no_correlation_and_orders_half_of_the_pairs(assembled) -> None:
    for loss, each in (("ic", 1.0), ("rank", np.log(2))):
        assembly = assembled(f"loss.type={loss}", "data.horizons=[1,5]")
        settings = train_settings(assembly)
        assert constant_losses(assembly, settings, 5) == pytest.approx(each * sum(settings.horizon_weights), rel=1e-6)


def test_losses_are_read_by_step_and_those_not_finite_are_nan(assembled, tmp_path: Path) -> None:
    settings = train_settings(assembled("data.horizons=[1,5]"))
    events = tmp_path / "events.jsonl"
    events.write_text(
        '{"event": "train", "step": 1, "loss_1d": 2.0, "loss_5d": 4.0}\n'
        '{"event": "warning", "step": 2}\n'
        '{"event": "train", "step": 3, "loss_1d": null, "loss_5d": null}\n'
    )
    losses = training_losses(events, settings)
    assert losses[0] == pytest.approx(np.dot(settings.horizon_weights, [2.0, 4.0]))
    assert np.isnan(losses[1:]).all()
    assert losses.shape == (3,)
