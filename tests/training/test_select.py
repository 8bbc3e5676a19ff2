"""Which weights a training hands back: the best by validation, or the last."""

import numpy as np
import pytest
import torch

from atft_gat_fan.config.plan import EmaPlan
from atft_gat_fan.signals import StopSignals
from atft_gat_fan.training.checkpoint import load_newest
from atft_gat_fan.training.loop import fit
from atft_gat_fan.training.run_folder import RunFolder

SETTINGS = {"max_epochs": 5, "early_stopping": False, "scheduler": "constant", "lr": 0.03}


@pytest.fixture
def turning(make_market):
    """A market whose signal turns around after day 24: the first epochs on it are the best for the last days."""
    sign = np.ones(60, dtype=np.float32)
    sign[24:46] = -1

    class Turning(make_market):
        def blocks(self, epoch: int) -> list[tuple[int, int]]:
            return [(first, 4) for first in (range(4, 24, 4) if epoch < 2 else range(24, 44, 4))]

    return Turning(sign=sign, noise=0.1)


@pytest.fixture
def run(make_network, make_settings, console, tmp_path):
    def train(market, name, **settings):
        with RunFolder(tmp_path / name) as folder, StopSignals() as signals:
            return fit(
                make_network(), market, make_settings(**{**SETTINGS, **settings}), folder, console, signals
            ), folder

    return train


def same(a, b) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_the_last_weights_are_handed_back_where_they_are_asked_for(run, turning) -> None:
    best, _ = run(turning, "best")
    last, folder = run(turning, "last", select="last")
    assert best.best_step < best.steps
    assert (last.best_step, last.epochs, last.reason) == (last.steps, 5, "max_epochs")
    assert last.best_rank_ic == best.best_rank_ic
    assert not same(last.model.state_dict(), best.model.state_dict())
    assert same(last.model.state_dict(), dict(load_newest(folder.checkpoints, pytest.fail).model))


def test_with_an_ema_they_are_the_last_averages_and_the_raw_ones_behind_them(run, turning) -> None:
    last, folder = run(turning, "last", select="last", ema=EmaPlan(0.9))
    state = load_newest(folder.checkpoints, pytest.fail)
    averages = {name.removeprefix("module."): t for name, t in dict(state.ema).items() if name.startswith("module.")}
    assert same(last.model.state_dict(), averages)
    assert same(last.raw_model_state, dict(state.model))
    assert not same(last.raw_model_state, averages)


def test_a_finished_training_started_again_hands_back_the_same(run, turning, make_network) -> None:
    first, _ = run(turning, "run", select="last", ema=EmaPlan(0.9))
    again, _ = run(turning, "run", select="last", ema=EmaPlan(0.9))
    assert same(first.model.state_dict(), again.model.state_dict())
    assert same(first.raw_model_state, again.raw_model_state)
