"""Numbers of whole days are judged against those of the reference, on the sides that matter."""

import numpy as np
import pytest

from atft_gat_fan.config.schema import MonitorConfig
from atft_gat_fan.monitoring.observations import rank_correlations
from atft_gat_fan.monitoring.stability import judge_stability
from tests.monitoring.healthy_days import Market, bins_of


@pytest.fixture(scope="module")
def market():
    return Market.healthy(2, 260, num_features=1, num_stocks=20)


def judged(market, stocks=None, **changes):
    reference = market.observed(slice(0, 200))
    numbers = market.numbers | {
        name: np.append(market.numbers[name][:-5], [value] * 5) for name, value in changes.items()
    }
    now = market.with_(numbers=numbers).observed(slice(200, 260), bins_of(reference))
    if stocks is not None:
        now.stocks[-5:] = stocks
    return {result.name: result for result in judge_stability(reference, now, MonitorConfig())}


def test_healthy_days_are_healthy(market) -> None:
    found = judged(market)
    assert not any(result.alarm for result in found.values())
    assert found["coverage"].daily == (1.0,) * 60
    assert found["scored_share"].high is None


@pytest.mark.parametrize(
    ("name", "value", "alarm"),
    [
        ("rank_correlation_1d", 0.2, True),
        ("nan_share", 0.2, True),
        ("nan_share", 0.0, False),
        ("scored_share", 0.9, True),
        ("graph_degree", 0.0, True),
        ("graph_degree", 15.0, True),
    ],
)
def test_each_number_alarms_on_its_side(market, name, value, alarm) -> None:
    found = judged(market, **{name: value})
    assert found[name].alarm is alarm
    assert (found[name].since is not None) is alarm
    assert not any(result.alarm for other, result in found.items() if other != name)


def test_stocks_that_are_not_delivered_are_missed_and_new_ones_welcome(market) -> None:
    assert judged(market, stocks=15)["coverage"].alarm
    assert not judged(market, stocks=30)["coverage"].alarm


def test_the_same_scores_again_correlate_perfectly_and_the_first_day_is_unknown() -> None:
    scores = np.random.default_rng(0).standard_normal((4, 9, 2)).astype(np.float32)
    scores[2] = scores[1]
    scores[3, :, 0] = -scores[2, :, 0]
    scores[1, 0] = np.nan
    found = rank_correlations(scores, (1, 5))
    assert np.isnan(found["rank_correlation_1d"][0])
    assert found["rank_correlation_1d"][2:] == pytest.approx([1.0, -1.0])
    assert found["rank_correlation_5d"][3] < 1
    assert len(rank_correlations(scores[:1], (1,))["rank_correlation_1d"]) == 1
