"""Spread of the scores, and the days on which there is none."""

import numpy as np
import pytest

from atft_gat_fan.metrics.dispersion import collapse_share, daily_dispersion


def test_spread_is_the_standard_deviation_of_the_known_scores() -> None:
    scores = np.random.default_rng(0).normal(size=(5, 30)).astype(np.float32)
    scores[:, ::7] = np.nan
    np.testing.assert_allclose(daily_dispersion(scores), np.nanstd(scores.astype(np.float64), axis=1))
    mask = np.random.default_rng(1).random(scores.shape) < 0.5
    np.testing.assert_allclose(daily_dispersion(scores, mask), daily_dispersion(np.where(mask, scores, np.nan)))


def test_collapse_counts_days_without_spread_whatever_the_size_of_the_scores() -> None:
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(8, 30)).astype(np.float32)
    scores[0] = 0.0
    scores[1] = 3.25
    scores[2] = np.nextafter(np.float32(1.0), np.float32(2.0)) - np.float32(1e-7) * rng.integers(0, 2, 30)
    assert collapse_share(scores) == pytest.approx(3 / 8)
    assert collapse_share(scores * np.float32(1e-6)) == pytest.approx(3 / 8)


def test_days_with_fewer_than_two_scores_do_not_count() -> None:
    scores = np.array([[1.0, np.nan], [1.0, 1.0], [1.0, 2.0]])
    assert np.isnan(daily_dispersion(scores)[0])
    assert collapse_share(scores) == pytest.approx(0.5)
    assert np.isnan(collapse_share(scores[:1]))
