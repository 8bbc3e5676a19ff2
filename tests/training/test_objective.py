"""The objective: labels as its loss sees them, counts that agree with them, and what the settings ask of each stock."""

from dataclasses import replace

import pytest
import torch

from atft_gat_fan.losses.correlation import correlation_loss
from atft_gat_fan.losses.multi_horizon import multi_horizon_loss
from atft_gat_fan.losses.pairwise import pairwise_loss
from atft_gat_fan.training.objective import Objective
from atft_gat_fan.types import Forecast

CPU = torch.device("cpu")


@pytest.fixture
def batch(market):
    """Of day 10 on, whose second day cannot be ranked at the first horizon."""
    whole = market.batch(10, 4)
    labels = whole.labels.clone()
    labels[1, :, 0] = torch.where(labels[1, :, 0].isnan(), torch.nan, 0.01)
    liquid = torch.arange(market.num_stocks).expand(4, -1) % 2 == 0
    return replace(whole, labels=labels, liquid=liquid)


def scored(batch) -> Forecast:
    point = torch.randn(batch.labels.shape, generator=torch.Generator().manual_seed(0))
    return Forecast(point, None, None, None)  # type: ignore[arg-type]


@pytest.mark.parametrize("transform", ["raw", "zscore", "rank"])
@pytest.mark.parametrize(("ranking", "by_day"), [("ic", correlation_loss), ("rank", pairwise_loss)])
def test_losses_that_rank_leave_out_the_day_without_an_order(make_settings, batch, transform, ranking, by_day) -> None:
    objective = Objective(make_settings(ranking_loss=ranking, label_transform=transform), CPU)
    prepared = objective.prepare(batch)
    counts = objective.labelled_days([prepared])
    assert counts.tolist() == [3, 4]
    forecast = scored(batch)
    total, by_horizon = objective(forecast, prepared, counts)
    expected = by_day(forecast.point, prepared.labels).sum(0) / counts
    torch.testing.assert_close(by_horizon, expected)
    torch.testing.assert_close(total, (expected * torch.tensor([1.0, 0.5])).sum())
    squared = Objective(make_settings(label_transform=transform), CPU)
    assert squared.labelled_days([squared.prepare(batch)]).tolist() == [4, 4]


@pytest.mark.parametrize(
    "settings", [{}, {"huber_deltas": (0.01, 0.02)}, {"ranking_loss": "ic"}, {"ranking_loss": "rank"}]
)
def test_every_loss_is_weighted_by_liquidity(make_settings, batch, settings) -> None:
    """Three times the weight is three copies of the stock."""
    settings = make_settings(**settings, quantiles=(0.1, 0.5))
    quantiles = torch.randn(*batch.labels.shape, 2, generator=torch.Generator().manual_seed(1))
    weighted = Objective(replace(settings, liquidity_weight=3.0), CPU)
    forecast = replace(scored(batch), quantiles=quantiles)
    prepared = weighted.prepare(batch)
    counts = weighted.labelled_days([prepared])
    found = weighted(forecast, prepared, counts)

    liquid = batch.liquid[0].nonzero().flatten()
    order = torch.cat([torch.arange(batch.num_stocks), liquid, liquid])
    copies = replace(prepared, labels=prepared.labels[:, order])
    copied = replace(forecast, point=forecast.point[:, order], quantiles=quantiles[:, order])
    expected = Objective(settings, CPU)(copied, copies, counts)
    plain = Objective(settings, CPU)(forecast, prepared, counts)
    assert not torch.allclose(found[0], plain[0], rtol=1e-3)
    if settings.ranking_loss == "rank":  # whose pairs stand at other places in a longer list
        assert abs(found[0] - expected[0]) < abs(found[0] - plain[0])
    else:
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-7)


def test_pieces_of_a_weighted_step_add_up(make_settings, batch) -> None:
    objective = Objective(make_settings(ranking_loss="ic", mse_weight=0.1, liquidity_weight=2.0), CPU)
    forecast = scored(batch)
    prepared = objective.prepare(batch)
    counts = objective.labelled_days([prepared])
    whole = objective(forecast, prepared, counts)[0]
    parts, start = [], 0
    for piece in batch.pieces(3):
        point = forecast.point[start : start + piece.num_days]
        parts.append(objective(Forecast(point, None, None, None), objective.prepare(piece), counts)[0])  # type: ignore[arg-type]
        start += piece.num_days
    torch.testing.assert_close(sum(parts), whole)


def test_the_baseline_is_the_squared_error_of_main_to_the_bit(make_settings, batch) -> None:
    objective = Objective(make_settings(), CPU)
    prepared, forecast = objective.prepare(batch), scored(batch)
    assert prepared.labels is batch.labels
    counts = objective.labelled_days([prepared])
    expected = multi_horizon_loss(forecast.point, batch.labels, torch.tensor([1.0, 0.5]), counts)
    for one, other in zip(objective(forecast, prepared, counts), expected, strict=True):
        assert torch.equal(one, other)
