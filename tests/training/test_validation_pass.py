from dataclasses import replace
from itertools import starmap

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from atft_gat_fan.data.batches import consecutive_blocks
from atft_gat_fan.training.objective import Objective
from atft_gat_fan.training.runtime import make_runtime
from atft_gat_fan.training.validation_pass import Scorer, evaluating, score_days
from atft_gat_fan.types import DayBatch


@pytest.fixture
def score(make_settings):
    def score_all(model, market, size=4, to_device=DayBatch.to, **changes):
        settings, device = make_settings(**changes), torch.device("cpu")
        scorer = Scorer(Objective(settings, device), device, to_device, make_runtime(settings).fabric.autocast)
        batches = starmap(market.batch, consecutive_blocks(market.valid_days, size))
        with evaluating(model):
            return score_days(scorer(model, batch) for batch in batches)

    return score_all


def test_scores_are_spearman_on_raw_labels_whatever_the_loss_sees(score, make_network, market):
    model = make_network().train()
    scores = score(model, market, label_transform="rank")
    model.eval()
    for h, found in enumerate(scores.rank_ic_by_horizon):
        daily = []
        for day in market.valid_days:
            batch = market.batch(int(day), 1)
            valid = batch.labels[0, :, h].isfinite()
            point = model.forecast(batch).point[0, valid, h].detach()
            daily.append(spearmanr(point, batch.labels[0, valid, h]).statistic)
        assert found == pytest.approx(np.mean(daily), abs=1e-12)
    assert scores.rank_ic == pytest.approx(np.mean(scores.rank_ic_by_horizon))


def test_scores_do_not_depend_on_the_blocks(score, make_network, market):
    model = make_network()
    one, four, all_days = (score(model, market, size) for size in (1, 4, 100))
    assert one.loss_by_horizon == pytest.approx(four.loss_by_horizon, rel=1e-6)
    assert one.loss_by_horizon == pytest.approx(all_days.loss_by_horizon, rel=1e-6)
    assert one.rank_ic_by_horizon == pytest.approx(four.rank_ic_by_horizon, abs=1e-12)


def test_dropout_is_off_no_gradient_is_kept_and_training_goes_on(score, make_network, market):
    model = make_network(dropout=0.5).train()
    assert score(model, market) == score(model, market)
    assert model.training
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_network_in_evaluation_mode_stays_there(score, make_network, market):
    model = make_network().eval()
    score(model, market)
    assert not model.training


def test_a_horizon_without_labels_is_unknown_and_leaves_the_mean_alone(score, make_network, market):
    market.labels[..., 1] = torch.nan
    scores = score(make_network(), market)
    assert np.isnan([scores.rank_ic_by_horizon[1], scores.loss_by_horizon[1]]).all()
    assert scores.rank_ic == scores.rank_ic_by_horizon[0]


def test_every_part_keeps_its_mode(make_network):
    model = make_network().train()
    model.heads.eval()
    with evaluating(model):
        assert not any(module.training for module in model.modules())
    assert model.training
    assert not model.heads.training


def test_the_network_sees_what_the_move_gives_and_the_metrics_the_labels_of_the_batch(score, make_network, market):
    """One buffer for the features of all batches, as online normalisation has it, gives the same scores."""
    model = make_network()
    buffer = torch.empty(4 + 5 - 1, 12, 4)

    def halve(batch: DayBatch, device: torch.device) -> DayBatch:
        features = torch.div(batch.features, 2, out=buffer[: len(batch.features)])
        return replace(batch.to(device), features=features)

    found = score(model, market, to_device=halve)
    market.features /= 2
    assert found == score(model, market)
