"""RankIC by stocks and days, against scipy's on the stocks and labels that each cut is of."""

from typing import Any

import numpy as np
import pytest
from scipy.stats import spearmanr

from atft_gat_fan.evaluation.cuts import ALL, CUTS, ILLIQUID, LIQUID, SKIP1, daily_by_cut

DAYS, STOCKS = 6, 40


def market(**changes: Any) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    volume = rng.lognormal(size=(DAYS, STOCKS))
    volume[:, 0] = np.nan
    given = {
        "scores": rng.normal(size=(DAYS, STOCKS, 2)),
        "labels": rng.normal(size=(DAYS, STOCKS, 2)),
        "present": np.ones((DAYS, STOCKS), bool),
        "dollar_volume": volume,
    }
    return {**given, **changes}


def test_halves_and_the_label_without_its_first_day_are_what_they_are_called() -> None:
    given = market()
    scores, labels = given["scores"], given["labels"]
    daily = daily_by_cut(**given)
    assert tuple(daily) == CUTS
    order = np.argsort(given["dollar_volume"][2])[:39]  # NaN sorts last: unknown, in neither half
    for cut, stocks in {ALL: slice(None), LIQUID: order[19:], ILLIQUID: order[:19]}.items():
        for h in range(2):
            expected = spearmanr(scores[2, stocks, h], labels[2, stocks, h]).statistic
            assert daily[cut][2, h] == pytest.approx(expected)
    assert daily[SKIP1][2, 1] == pytest.approx(spearmanr(scores[2, :, 1], labels[3, :, 1]).statistic)
    assert np.isnan(daily[SKIP1][-1]).all()
    assert all(series.shape == (DAYS, 2) for series in daily.values())


def test_a_stock_that_is_not_there_is_in_no_cut() -> None:
    present = np.ones((DAYS, STOCKS), bool)
    present[:, 5:9] = False
    scores = market()["scores"]
    scores[:, 5:9] = 1e6
    for cut, series in daily_by_cut(**market(scores=scores, present=present)).items():
        np.testing.assert_array_equal(series, daily_by_cut(**market(present=present))[cut])


@pytest.mark.parametrize("volume", [None, np.full((DAYS, STOCKS), np.nan)], ids=["no column", "no value"])
def test_without_volume_there_are_no_halves(volume: np.ndarray | None) -> None:
    assert tuple(daily_by_cut(**market(dollar_volume=volume))) == (ALL, SKIP1)


def test_cuts_that_are_asked_for_come_in_that_order_and_no_others() -> None:
    whole = daily_by_cut(**market())
    asked = daily_by_cut(**market(), cuts=(LIQUID, SKIP1))
    assert tuple(asked) == (LIQUID, SKIP1)
    for cut, series in asked.items():
        np.testing.assert_array_equal(series, whole[cut])


def test_a_single_day_has_no_label_without_its_first_day() -> None:
    one = {name: value[:1] for name, value in market().items()}
    daily = daily_by_cut(**one)
    assert np.isnan(daily[SKIP1]).all()
    assert daily[SKIP1].shape == daily[ALL].shape == (1, 2)
