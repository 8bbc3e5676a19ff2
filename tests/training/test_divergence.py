"""Back as often as training may, then an end that says what there is to look at."""

import json
import math

import pytest
import torch

from atft_gat_fan.errors import NonFiniteError
from atft_gat_fan.training.divergence import DivergedError, Divergence
from atft_gat_fan.training.history import History
from atft_gat_fan.training.layout import Layout
from atft_gat_fan.training.ranks import Ranks

CPU = torch.device("cpu")


class SecondRank(Ranks):
    @property
    def first(self) -> bool:
        return False


@pytest.fixture
def divergence(market, make_network, make_settings, tmp_path):
    def make(ranks: Ranks | None = None, folder=tmp_path) -> Divergence:
        settings = make_settings(max_rollbacks=2)
        return Divergence(settings, folder, market, make_network(), Layout(ranks or Ranks()))

    return make


@pytest.mark.parametrize("rollbacks", [0, 1])
def test_training_goes_back_as_long_as_it_may(divergence, tmp_path, rollbacks: int) -> None:
    with pytest.raises(DivergedError, match="the loss is not"):
        divergence().raise_for(History(step=4, rollbacks=rollbacks), "the loss is not", CPU)
    assert not (tmp_path / "debug").exists()


def test_the_end_leaves_the_step_and_says_where(divergence, market, tmp_path) -> None:
    history = History(step=4, rollbacks=2, lr_factor=0.25)
    with pytest.raises(
        NonFiniteError, match=r"the loss is not, after going back .* 2 times; .*debug; .*run\.fresh=true"
    ):
        divergence().raise_for(history, "the loss is not", CPU, [market.batch(10, 2)])
    told = json.loads((tmp_path / "debug" / "debug.json").read_text())
    assert (told["why"], told["step"], told["lr_factor"], len(told["batches"])) == ("the loss is not", 4, 0.25, 1)


def test_another_rank_leaves_nothing_and_ends_alike(divergence, market, tmp_path) -> None:
    with pytest.raises(NonFiniteError, match="rank 0 writes what it saw"):
        divergence(SecondRank()).raise_for(History(rollbacks=2), "w", CPU, [market.batch(10, 2)])
    assert not (tmp_path / "debug").exists()


def test_a_bundle_that_cannot_be_written_hides_nothing(divergence, tmp_path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(NonFiniteError, match=r"w, after .*; what the last step saw could not be written \("):
        divergence(folder=tmp_path / "file").raise_for(History(step=1, rollbacks=2, lr_factor=math.nan), "w", CPU)
