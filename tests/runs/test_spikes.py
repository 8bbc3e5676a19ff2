"""Spikes strike the training inputs alone, in the share asked for, the same in every arm and batch."""

import numpy as np
import pytest
import torch

from atft_gat_fan.config.load import load_config
from atft_gat_fan.runs.assembly import Assembly, assemble
from atft_gat_fan.runs.spikes import SpikedData
from atft_gat_fan.types import DayBatch

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def assembly(tmp_path_factory: pytest.TempPathFactory) -> Assembly:
    small = ["data=synthetic", "data.synthetic.num_days=260", "data.synthetic.num_stocks=20", "model=small"]
    cache = tmp_path_factory.mktemp("cache")
    return assemble(load_config([*small, f"data.cache={cache}"]), lambda stage, share: None)


def changed(assembly: Assembly, batch: DayBatch, share: float, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    plain = assembly.to_device(batch, CPU).features.clone().numpy()
    spiked = SpikedData(assembly, share, 50.0, seed).to_device(batch, CPU).features.numpy()
    return spiked != plain, spiked


def test_a_share_of_the_training_inputs_is_fifty_deviations(assembly: Assembly) -> None:
    first, count = assembly.blocks(0)[0]
    where, spiked = changed(assembly, assembly.batch(first, count), 0.02)
    assert set(np.abs(spiked[where]).tolist()) == {50.0}
    assert where.mean() == pytest.approx(0.02, abs=4 * (0.02 / where.size) ** 0.5)
    assert 0.3 < (spiked[where] > 0).mean() < 0.7


def test_a_day_has_the_same_spikes_in_every_batch_and_others_under_another_seed(assembly: Assembly) -> None:
    day = int(assembly.split.train[30])
    alone, _ = changed(assembly, assembly.batch(day, 1), 0.02)
    among, _ = changed(assembly, assembly.batch(day - 3, 4), 0.02)
    np.testing.assert_array_equal(alone, among[3:])
    other, _ = changed(assembly, assembly.batch(day, 1), 0.02, seed=2)
    assert (other != alone).any()


def test_days_after_the_training_and_the_panel_itself_stay_as_they_are(assembly: Assembly) -> None:
    last = int(assembly.split.train[-1])
    first = int(assembly.split.valid[0])
    batch = assembly.batch(first, 3)
    before = assembly.to_device(batch, CPU).features.clone()
    where, _ = changed(assembly, batch, 0.5)
    span_start = first - assembly.config.data.window + 1
    assert where[: max(0, last + 1 - span_start)].any() or last < span_start
    assert not where[last + 1 - span_start :].any()
    assert torch.equal(assembly.to_device(batch, CPU).features, before)
