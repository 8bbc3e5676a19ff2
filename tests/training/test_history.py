"""Where a training stands: what closing an epoch counts, and that nothing is lost in a checkpoint."""

import math

import pytest

from atft_gat_fan.training.history import History
from atft_gat_fan.training.validation_pass import ValidationScores

SCORES = ValidationScores(rank_ic_by_horizon=(0.02, 0.04), loss_by_horizon=(1.0, 2.0))


def test_a_closed_epoch_is_counted_and_the_next_one_begins_with_nothing() -> None:
    history = History(step=7, epoch=1, position=3, loss_sum=6.0, loss_steps=3)
    record = history.close_epoch(SCORES, best=True)
    assert (record.epoch, record.step, record.train_loss, record.best) == (2, 7, 2.0, True)
    assert (record.loss_by_horizon, record.rank_ic_by_horizon) == ((1.0, 2.0), (0.02, 0.04))
    assert record.rank_ic == pytest.approx(0.03)
    assert (history.epoch, history.position, history.loss_sum, history.loss_steps) == (2, 0, 0.0, 0)
    assert history.epochs == [record]
    assert History.from_json(history.to_json()).epoch == 2


def test_an_epoch_without_an_applied_step_has_no_loss_and_without_a_best_no_smoothed_rank_ic() -> None:
    record = History().close_epoch(SCORES, best=False)
    assert math.isnan(record.train_loss)
    assert math.isnan(record.smoothed_rank_ic)
