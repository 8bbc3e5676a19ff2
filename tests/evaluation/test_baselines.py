"""Baselines learn from training labels alone, repeat themselves bit for bit, and say why when they cannot run."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from atft_gat_fan.evaluation import baselines
from atft_gat_fan.evaluation.baselines import BaselineData, LightGBMParams, baseline_scores
from atft_gat_fan.metrics.rank_ic import daily_rank_ic
from tests.missing_lightgbm import NO_OPENMP, without_lightgbm

ALL = ("reversal", "momentum", "ridge", "lightgbm")
SMALL_TREES = LightGBMParams(num_rounds=15, min_data_in_leaf=20, num_leaves=7)


@pytest.fixture(scope="module")
def needs_lightgbm() -> None:
    try:
        import lightgbm  # noqa: F401
    except OSError as error:  # its OpenMP library is not pip's to install
        pytest.skip(f"LightGBM does not load ({error}); install libgomp1")


def identity(labels: np.ndarray) -> np.ndarray:
    return labels


@dataclass(frozen=True)
class Arrays:
    """A panel in memory."""

    values: np.ndarray
    labels: np.ndarray
    present: np.ndarray
    returns: np.ndarray

    @property
    def num_stocks(self) -> int:
        return self.present.shape[1]

    @property
    def num_features(self) -> int:
        return self.values.shape[2]

    @property
    def num_horizons(self) -> int:
        return self.labels.shape[2]

    def features(self, day: int, stocks: np.ndarray) -> np.ndarray:
        return self.values[day, stocks]

    def column(self, name: str, days: slice) -> np.ndarray:
        return getattr(self, name)[days]

    def split(self, train: np.ndarray | None = None, predict: np.ndarray | None = None) -> BaselineData:
        train, predict = np.arange(100) if train is None else train, np.arange(110, 160) if predict is None else predict
        return BaselineData(self, train, predict)


def panel(seed: int = 0, days: int = 160, stocks: int = 25) -> Arrays:
    """Labels depend on the first feature; a tenth of everything is missing."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(days, stocks, 4)).astype(np.float32)
    labels = 0.01 * features[..., :1] + 0.01 * rng.normal(size=(days, stocks, 2)).astype(np.float32)
    present = rng.random((days, stocks)) < 0.9
    labels[~present] = np.nan
    labels[rng.random(labels.shape) < 0.1] = np.nan
    features[rng.random(features.shape) < 0.1] = np.nan
    returns = np.where(present, rng.normal(scale=0.02, size=present.shape), np.nan).astype(np.float32)
    return Arrays(features, labels.astype(np.float32), present, returns)


def scores_of(panel: Arrays, **options: Any) -> dict[str, np.ndarray]:
    settings = {"label_transform": identity, "lightgbm": SMALL_TREES, **options}
    result = baseline_scores(panel.split(), ALL, **settings)
    assert not result.unavailable
    return result.scores


@pytest.fixture(scope="module")
def scores(needs_lightgbm: None) -> dict[str, np.ndarray]:
    return scores_of(panel())


def test_labels_outside_the_training_days_change_nothing(scores: dict[str, np.ndarray]) -> None:
    data = panel()
    labels = data.labels.copy()
    labels[100:] = np.random.default_rng(9).normal(size=labels[100:].shape)
    for name, changed in scores_of(replace(data, labels=labels)).items():
        np.testing.assert_array_equal(changed, scores[name], err_msg=name)


def test_training_labels_do_matter(scores: dict[str, np.ndarray]) -> None:
    data = panel()
    labels = data.labels.copy()
    labels[:100] *= -1
    changed = scores_of(replace(data, labels=labels))
    for name in ("ridge", "lightgbm"):
        assert np.nanmax(np.abs(changed[name] - scores[name])) > 0


def test_the_same_inputs_give_the_same_bits(scores: dict[str, np.ndarray]) -> None:
    for name, again in scores_of(panel()).items():
        np.testing.assert_array_equal(again, scores[name], err_msg=name)


def test_being_told_of_the_progress_changes_nothing(scores: dict[str, np.ndarray]) -> None:
    told: list[tuple[str, float]] = []
    for name, values in scores_of(panel(), progress=lambda *share: told.append(share)).items():
        np.testing.assert_array_equal(values, scores[name])
    assert tuple(dict.fromkeys(name for name, _ in told)) == ALL
    for name in ALL:
        shares = [share for of, share in told if of == name]
        assert shares == sorted(shares)
        assert 0 <= shares[0] <= shares[-1] <= 1


@pytest.mark.parametrize("name", ["ridge", "lightgbm"])
def test_what_the_progress_raises_ends_a_fit(needs_lightgbm: None, name: str) -> None:
    def stop(of: str, share: float) -> None:
        if of == name and share > 0:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        scores_of(panel(), progress=stop)


def test_absent_stocks_are_not_scored_and_present_ones_are(scores: dict[str, np.ndarray]) -> None:
    present = panel().present[110:]
    for name in ("reversal", "ridge", "lightgbm"):
        np.testing.assert_array_equal(np.isfinite(scores[name]).all(axis=2), present, err_msg=name)
    assert not np.isfinite(scores["momentum"])[~present].any()


@pytest.mark.parametrize("name", ["ridge", "lightgbm"])
def test_learned_baselines_find_a_plain_signal(scores: dict[str, np.ndarray], name: str) -> None:
    labels = panel().labels[110:]
    assert np.nanmean(daily_rank_ic(scores[name][..., 0], labels[..., 0])) > 0.4


def test_reversal_is_minus_the_trailing_return(scores: dict[str, np.ndarray]) -> None:
    expected = -panel().returns[110:]
    for horizon in range(2):
        np.testing.assert_array_equal(scores["reversal"][..., horizon], expected)


def test_momentum_compounds_a_year_and_skips_the_last_month() -> None:
    rng = np.random.default_rng(3)
    returns = rng.normal(scale=0.02, size=(300, 6))
    returns[100:120, 2] = np.nan
    zeros = np.zeros((300, 6, 1), np.float32)
    data = Arrays(zeros, zeros, np.ones((300, 6), bool), returns).split(np.arange(200), np.array([270, 299]))
    score = baseline_scores(data, ["momentum"], label_transform=identity).scores["momentum"]
    for row, day in enumerate((270, 299)):
        window = returns[day - 251 : day - 20]  # 252 days, the last 21 left out
        np.testing.assert_allclose(score[row, :, 0], np.nansum(np.log1p(window), axis=0), rtol=1e-5)


def test_momentum_takes_what_there_is_but_not_less_than_sixty_returns() -> None:
    full = replace(panel(days=90), returns=np.full((90, 25), 0.01), present=np.ones((90, 25), bool))
    data = full.split(np.arange(20), np.array([79, 80, 89]))
    score = baseline_scores(data, ["momentum"], label_transform=identity).scores["momentum"][..., 0]
    assert np.isnan(score[0]).all()
    np.testing.assert_allclose(score[1], 60 * np.log1p(0.01), rtol=1e-5)
    short = baseline_scores(full.split(np.arange(20), np.array([50])), ["momentum"], label_transform=identity)
    assert "no stock has 60 returns" in short.unavailable["momentum"]["unavailable"]


@pytest.mark.usefixtures("needs_lightgbm")
def test_lightgbm_learns_the_label_of_the_model() -> None:
    data = panel()
    seen: list[tuple[int, ...]] = []

    def sign(labels: np.ndarray) -> np.ndarray:
        seen.append(labels.shape)
        return np.where(np.isfinite(labels), np.sign(labels), np.nan)

    result = baseline_scores(data.split(), ["lightgbm"], label_transform=sign, lightgbm=SMALL_TREES)
    assert seen == [(64, 25, 2), (36, 25, 2)], "whole days, a stretch at a time"
    assert np.nanmax(np.abs(result.scores["lightgbm"])) > 0.2  # signs, not returns of 0.01


@pytest.mark.usefixtures("needs_lightgbm")
def test_the_newest_rows_are_kept() -> None:
    data = panel()
    few = replace(SMALL_TREES, max_rows=600)
    kept = scores_of(data, lightgbm=few)
    old_labels = data.labels.copy()
    old_labels[:60] = 5.0
    for name, changed in scores_of(replace(data, labels=old_labels), lightgbm=few).items():
        np.testing.assert_array_equal(changed, kept[name], err_msg=name)
    old_labels[99] = -5.0
    assert np.nanmax(np.abs(scores_of(replace(data, labels=old_labels), lightgbm=few)["ridge"] - kept["ridge"])) > 0


def gathered(data: Arrays, days: np.ndarray, mask: np.ndarray) -> np.ndarray:
    day, stock = np.nonzero(mask)
    return np.nan_to_num(data.values[days[day], stock])


def within_day(labels: np.ndarray) -> np.ndarray:
    return np.stack([(day - np.nanmean(day, axis=0)) / np.nanstd(day, axis=0) for day in labels.astype(np.float64)])


@pytest.mark.usefixtures("needs_lightgbm")
@pytest.mark.parametrize("rows_at_a_time", [64, 2**16])
def test_reading_by_stretches_is_the_regression_on_all_rows_at_once(
    monkeypatch: pytest.MonkeyPatch, rows_at_a_time: int
) -> None:
    """The oracle gathers everything first, as a script would."""
    import lightgbm
    from sklearn.linear_model import Ridge

    monkeypatch.setattr(baselines, "ROWS_AT_A_TIME", rows_at_a_time)
    data, params = panel(seed=5), SMALL_TREES
    found = scores_of(data)
    train, predict = np.arange(100), np.arange(110, 160)
    rows = data.present[train] & np.isfinite(data.labels[train]).any(axis=2)
    features, inputs = gathered(data, train, rows), gathered(data, predict, data.present[predict])
    settings = {
        "objective": "regression", "learning_rate": params.learning_rate, "num_leaves": params.num_leaves,
        "min_data_in_leaf": params.min_data_in_leaf, "feature_fraction": params.feature_fraction,
        "bagging_fraction": params.bagging_fraction, "bagging_freq": 1, "deterministic": True, "force_row_wise": True,
        "num_threads": 1, "seed": 0, "verbosity": -1,
    }  # fmt: skip
    for horizon in range(2):
        zscores, label = within_day(data.labels[train])[rows][:, horizon], data.labels[train][rows][:, horizon]
        known = np.isfinite(label)
        ridge = Ridge(alpha=0.01 * known.sum(), solver="cholesky").fit(features[known], zscores[known])
        np.testing.assert_allclose(found["ridge"][data.present[predict]][:, horizon], ridge.predict(inputs), rtol=1e-6)
        trees = lightgbm.train(
            settings, lightgbm.Dataset(features[known], label=label[known], params=settings), num_boost_round=15
        )
        expected = trees.predict(inputs).astype(np.float32)
        np.testing.assert_array_equal(found["lightgbm"][data.present[predict]][:, horizon], expected)


def test_no_more_training_days_are_read_than_rows_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Features of the newest days that fit and of the predicted days; nothing of the rest of the panel."""
    data, read = panel(), set()
    plain = Arrays.features

    def counted(self: Arrays, day: int, stocks: np.ndarray) -> np.ndarray:
        read.add(day)
        return plain(self, day, stocks)

    monkeypatch.setattr(Arrays, "features", counted)
    few = replace(SMALL_TREES, max_rows=200)
    baseline_scores(data.split(), ["ridge"], label_transform=identity, lightgbm=few)
    trained = sorted(read - set(range(110, 160)))
    assert trained == list(range(trained[0], 100))
    mask = data.present & np.isfinite(data.labels).any(axis=2)
    assert mask[trained].sum() <= 200 < mask[trained[0] - 1 : 100].sum()
    read.clear()
    baseline_scores(data.split(), ["ridge"], label_transform=identity, lightgbm=replace(few, max_rows=1))
    assert sorted(read) == [99, *range(110, 160)], "the newest day is kept in any case"


def test_missing_features_count_as_the_training_mean(scores: dict[str, np.ndarray]) -> None:
    data = panel()
    filled = scores_of(replace(data, values=np.where(np.isfinite(data.values), data.values, np.float32(0))))
    for name in ("ridge", "lightgbm"):
        np.testing.assert_array_equal(filled[name], scores[name])
    assert np.isnan(data.values).any()


@pytest.mark.parametrize("error", [NO_OPENMP, ImportError("no module")])
def test_lightgbm_that_does_not_load_says_how_to_mend_it(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    without_lightgbm(monkeypatch, error)
    result = baseline_scores(panel().split(), ["reversal", "lightgbm"], label_transform=identity)
    assert list(result.scores) == ["reversal"]
    assert str(error) in result.unavailable["lightgbm"]["unavailable"]
    assert "libgomp1" in result.unavailable["lightgbm"]["unavailable"]


@pytest.mark.usefixtures("needs_lightgbm")
def test_without_returns_or_labels_the_reason_is_given() -> None:
    unknown = np.full((160, 25, 2), np.nan, np.float32)
    data = replace(panel(), returns=unknown[..., 0], labels=unknown)
    result = baseline_scores(data.split(), ALL, label_transform=identity, lightgbm=SMALL_TREES)
    assert not result.scores
    for name in ("reversal", "momentum"):
        assert "returns are unknown" in result.unavailable[name]["unavailable"]
    for name in ("ridge", "lightgbm"):
        assert "no training day has features and labels" in result.unavailable[name]["unavailable"]
