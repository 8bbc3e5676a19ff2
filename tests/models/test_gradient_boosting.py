"""A booster is its text: the same scores as in memory, and nothing that could lead its parser astray."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from atft_gat_fan.errors import ConfigError
from atft_gat_fan.models.booster_text import END, check_booster_text
from atft_gat_fan.models.gradient_boosting import Booster, LightGBMParams, load_lightgbm, train_booster
from tests.missing_lightgbm import without_lightgbm

NUM_FEATURES = 3
PARAMS = LightGBMParams(num_rounds=3, num_leaves=4, min_data_in_leaf=20, learning_rate=0.3)


def rows(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(400, NUM_FEATURES)).astype(np.float32)
    return features, features[:, 0] - features[:, 2] ** 2 + 0.1 * rng.normal(size=400)


def train(params: LightGBMParams = PARAMS, progress: Callable[[float], None] = lambda share: None) -> Booster:
    return train_booster(*rows(), params, num_threads=1, seed=1, progress=progress, otherwise="do without")


@pytest.fixture(scope="module")
def booster() -> Booster:
    try:
        return train()
    except ConfigError as error:  # its OpenMP library is not pip's to install
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def in_memory(booster: Booster) -> Any:
    lightgbm = load_lightgbm("")
    settings, (features, target) = PARAMS.settings(num_threads=1, seed=1), rows()
    return lightgbm.train(settings, lightgbm.Dataset(features, label=target, params=settings), num_boost_round=3)


def test_the_text_scores_as_what_was_trained(booster: Booster, in_memory: Any) -> None:
    features = rows(seed=5)[0]
    np.testing.assert_array_equal(booster.score(features, 1), in_memory.predict(features))
    np.testing.assert_array_equal(booster.score(features[7:8], 1), booster.score(features, 1)[7:8])


def test_the_gain_is_what_lightgbm_says(booster: Booster, in_memory: Any) -> None:
    np.testing.assert_allclose(booster.gain, in_memory.feature_importance("gain"), rtol=1e-5)
    assert booster.gain.argmin() == 1, "the feature that says nothing"


def test_trees_that_split_nothing_are_trees(booster: Booster) -> None:
    stumps = train(LightGBMParams(num_rounds=2, min_data_in_leaf=10_000))
    assert (stumps.gain == 0).all()
    assert np.ptp(stumps.score(rows()[0], 1)) == 0


def test_large_trees_pass_too(booster: Booster) -> None:
    large = train(LightGBMParams(num_rounds=20, num_leaves=60, min_data_in_leaf=2))
    assert large.text.count("Tree=") == 20


def test_the_progress_is_told_and_may_stop(booster: Booster) -> None:
    told: list[float] = []
    assert train(progress=told.append).text == booster.text
    assert told == pytest.approx([1 / 3, 2 / 3, 1])

    def stop(share: float) -> None:
        if share > 0.5:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        train(progress=stop)


def test_lightgbm_that_does_not_load_says_how_to_mend_it(monkeypatch: pytest.MonkeyPatch) -> None:
    without_lightgbm(monkeypatch)
    with pytest.raises(ConfigError, match=r"libgomp\.so\.1.*libgomp1.*or do without"):
        train()


def line(text: str, key: str) -> str:
    """The last tree's."""
    return next(line for line in reversed(text.split("\n")) if line.startswith(f"{key}="))


def with_line(text: str, key: str, value: str) -> str:
    """Another value in the last tree, whose size is forged as well."""
    old, new = line(text, key), f"{key}={value}"
    head, _, tail = text.rpartition(old)
    sizes = line(text, "tree_sizes").removeprefix("tree_sizes=").split(" ")
    sizes[-1] = str(int(sizes[-1]) + len(new) - len(old))
    return (head + new + tail).replace(line(text, "tree_sizes"), f"tree_sizes={' '.join(sizes)}")


FORGERIES: dict[str, tuple[Callable[[str], str], str]] = {
    "empty": (lambda text: "", "end of its trees"),
    "cut short": (lambda text: text[:-20], "end of its trees"),
    "more behind the trees": (lambda text: text + "parameters:\n", "end of its trees"),
    "no ascii": (lambda text: text.replace("Column_0", "Cölumn_0"), "end of its trees"),
    "no trees": (lambda text: text[: text.index("Tree=0")] + END, "tree_sizes"),
    "another objective": (lambda text: text.replace("=regression", "=binary sigmoid:1"), "objective"),
    "more features": (lambda text: text.replace("max_feature_idx=2", "max_feature_idx=9"), "max_feature_idx"),
    "a line more": (lambda text: text.replace("label_index", "evil=1\nlabel_index"), "other lines"),
    "sizes that lie": (lambda text: text.replace(line(text, "tree_sizes"), "tree_sizes=1 2 3"), "tree_sizes"),
    "size beyond numbers": (lambda text: text.replace("tree_sizes=", f"tree_sizes={'9' * 30} "), "whole numbers"),
    "leaves without end": (lambda text: with_line(text, "num_leaves", "999999999"), "num_leaves"),
    "no leaves": (lambda text: with_line(text, "num_leaves", "0"), "num_leaves"),
    "a leaf less": (lambda text: with_line(text, "num_leaves", "3"), "leaf_value"),
    "one leaf and splits": (lambda text: with_line(with_line(text, "num_leaves", "1"), "leaf_value", "1"), "single"),
    "categories": (lambda text: with_line(text, "num_cat", "1"), "categories"),
    "linear leaves": (lambda text: with_line(text, "is_linear", "1"), "linear"),
    "a feature beyond": (lambda text: with_line(text, "split_feature", "0 3 0"), "split_feature"),
    "a negative feature": (lambda text: with_line(text, "split_feature", "0 -1 0"), "split_feature"),
    "a categorical split": (lambda text: with_line(text, "decision_type", "2 1 2"), "decision_type"),
    "a circle": (lambda text: with_line(text, "left_child", "0 0 0"), "lead back"),
    "a child beyond": (lambda text: with_line(text, "left_child", "99 98 97"), "no tree"),
    "a leaf beyond": (lambda text: with_line(text, "left_child", "-9 -8 -7"), "no tree"),
    "one child twice": (lambda text: with_line(text, "left_child", "-1 -1 -1"), "no tree"),
    "a leaf of nan": (lambda text: with_line(text, "leaf_value", "nan 0 0 0"), "leaf_value"),
    "a leaf of infinity": (lambda text: with_line(text, "leaf_value", "1e999 0 0 0"), "leaf_value"),
    "a threshold in words": (lambda text: with_line(text, "threshold", "a b c"), "threshold"),
    "trees in another order": (lambda text: text.replace("Tree=1", "Tree=7"), "another number"),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_a_text_that_cannot_be_is_refused_before_lightgbm_sees_it(booster: Booster, name: str) -> None:
    forge, word = FORGERIES[name]
    forged = forge(booster.text)
    assert forged != booster.text
    with pytest.raises(ValueError, match=word):
        check_booster_text(forged, NUM_FEATURES)


def test_what_the_forgeries_are_made_of_passes(booster: Booster) -> None:
    """Else the refusals could be of how they are forged."""
    again = with_line(booster.text, "shrinkage", "0.25")
    assert again != booster.text
    np.testing.assert_array_equal(check_booster_text(again, NUM_FEATURES), booster.gain)
