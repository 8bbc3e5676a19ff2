"""Permutation importance finds what was planted, and nothing else."""

from pathlib import Path

import numpy as np
import pytest
import torch

from atft_gat_fan.data.batches import DayBatches
from atft_gat_fan.inference.permutation import PermutationImportance, permutation_importance
from atft_gat_fan.models.network import ATFT_GAT_FAN
from tests.inference import examples

DAYS = np.arange(40, 58, 3)
PLANTED = "f1"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> DayBatches:
    rows = examples.frame(planted=PLANTED)
    return examples.batches(examples.store(tmp_path_factory.mktemp("store") / "s", rows))


@pytest.fixture(scope="module")
def trained(data: DayBatches) -> ATFT_GAT_FAN:
    """A few steps towards returns that are one feature of the day."""
    model = examples.network(dropout=0.0)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(4):
        for day in range(10, 34, 3):
            batch = data.to_device(data.block(day, 3), torch.device("cpu"))
            known = torch.isfinite(batch.labels)
            optimizer.zero_grad()
            wanted = torch.where(known, (batch.labels - 5) / 3, 0.0)
            ((model.forecast(batch).point - wanted)[known]).square().mean().backward()
            optimizer.step()
    return model.eval()


@pytest.fixture(scope="module")
def found(trained: ATFT_GAT_FAN, data: DayBatches) -> PermutationImportance:
    return permutation_importance(trained, data, DAYS, [0, 1, 2], seed=7)


def test_the_planted_feature_is_the_one_the_ranking_depends_on(found: PermutationImportance) -> None:
    planted = examples.NORMALIZER.feature_names.index(PLANTED)
    assert found.rank_ic[0] > 0.8
    assert found.drop[planted, 0] == pytest.approx(found.rank_ic[0], abs=0.2), "all of it is lost"
    assert found.rank_change[planted, 0] > 0.2, "a third is what two random orders are apart"
    for other in {0, 1, 2} - {planted}:
        assert abs(found.drop[other, 0]) < 0.15
        assert found.drop[other, 0] < found.drop[planted, 0] / 4
        assert found.rank_change[other, 0] < found.rank_change[planted, 0] / 2
    assert (found.num_days, found.num_labelled) == (len(DAYS), len(DAYS))


def test_the_same_seed_gives_the_same_and_features_do_not_disturb_each_other(
    trained: ATFT_GAT_FAN, data: DayBatches, found: PermutationImportance
) -> None:
    alone = permutation_importance(trained, data, DAYS, [2], seed=7)
    assert np.array_equal(alone.drop[0], found.drop[2])
    assert np.array_equal(alone.rank_change[0], found.rank_change[2])
    other = permutation_importance(trained, data, DAYS, [2], seed=8)
    assert not np.array_equal(other.rank_change, alone.rank_change)


def test_without_known_returns_only_the_ranks_are_told(trained: ATFT_GAT_FAN, tmp_path: Path) -> None:
    rows = examples.frame(planted=PLANTED).with_columns(target_1d=None, target_3d=None)
    unlabelled = examples.batches(examples.store(tmp_path / "s", rows))
    found = permutation_importance(trained, unlabelled, DAYS[:2], [0, 1], seed=7)
    assert found.num_labelled == 0
    assert np.isnan(found.rank_ic).all()
    assert np.isnan(found.drop).all()
    assert found.rank_change[1, 0] > found.rank_change[0, 0] > 0
