"""A blend scores by the ranks of its parts, comes back from its files with the same bits, or not at all."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import rankdata

from atft_gat_fan.config.schema import DataConfig, GraphConfig
from atft_gat_fan.data.batches import DayBatches
from atft_gat_fan.data.durable_files import sealed
from atft_gat_fan.errors import ConfigError, StorageError
from atft_gat_fan.inference.blend import LIGHTGBM, NETWORK, Blend
from atft_gat_fan.inference.blend_files import booster_file
from atft_gat_fan.inference.bundle import Bundle, load_bundle, write_bundle
from atft_gat_fan.inference.predictor import predict_days
from atft_gat_fan.models import gradient_boosting
from atft_gat_fan.models.gradient_boosting import Booster, LightGBMParams, train_booster
from atft_gat_fan.models.network import ATFT_GAT_FAN
from atft_gat_fan.statistics.rank_combination import ChosenWeight
from tests.inference import examples

GRID = (0.0, 0.25, 0.5, 0.75, 1.0)
DAYS = np.arange(40, 50)
WEIGHTS = (0.25, 1.0)


def booster(seed: int) -> Booster:
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(300, 3)).astype(np.float32)
    return train_booster(
        features,
        features[:, seed % 3] * features[:, 0] + 0.1 * rng.normal(size=300),
        LightGBMParams(num_rounds=5, num_leaves=5, min_data_in_leaf=10),
        num_threads=1,
        seed=seed,
        progress=lambda share: None,
        otherwise="do without",
    )


def weight_of(value: float) -> ChosenWeight:
    return ChosenWeight(value, 0.0, 1.0, value, 60, np.linspace(0, 0.01, len(GRID)))


def blend_of(weights: tuple[float, ...] = WEIGHTS, seeds: int = 1) -> Blend:
    boosters = tuple(tuple(booster(10 * horizon + seed) for seed in range(seeds)) for horizon in range(2))
    return Blend(examples.HORIZONS, tuple(map(weight_of, weights)), GRID, boosters, {"seed": 1})


@pytest.fixture(scope="module")
def blend() -> Blend:
    try:
        return blend_of()
    except ConfigError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def batches(tmp_path_factory: pytest.TempPathFactory) -> DayBatches:
    return examples.batches(examples.store(tmp_path_factory.mktemp("store") / "s", examples.frame()))


@pytest.fixture(scope="module")
def model() -> ATFT_GAT_FAN:
    return examples.network()


def write(folder: Path, model: ATFT_GAT_FAN, blend: Blend | None) -> Path:
    write_bundle(
        folder,
        model=model,
        data=DataConfig(horizons=examples.HORIZONS, window=examples.WINDOW),
        graph=GraphConfig(),
        normalizer=examples.NORMALIZER,
        static_categories=examples.CATEGORIES,
        training={},
        blend=blend,
    )
    return folder


def scores(model: ATFT_GAT_FAN, batches: DayBatches, blend: Blend | None, days: np.ndarray = DAYS) -> np.ndarray:
    return predict_days(model, batches, days, blend=blend).scores


def ranks(values: np.ndarray) -> np.ndarray:
    """Of one day, absent stocks NaN."""
    known = np.isfinite(values).all(axis=1)
    found = np.full(values.shape, np.nan)
    found[known] = (rankdata(values[known], axis=0) - 1) / (known.sum() - 1)
    return found


def test_the_score_is_the_weighted_rank_of_network_and_lightgbm(blend, batches, model) -> None:
    alone, panel = scores(model, batches, None), batches.data
    found = predict_days(model, batches, DAYS, blend=blend)
    for row, day in enumerate(DAYS.tolist()):
        stocks = batches.stocks(day)
        features = panel.normalizer.apply(batches.store.block(day, 1, 1).features[0])
        held = np.searchsorted(batches.store.block(day, 1, 1).stocks, stocks)
        trees = np.full(alone[row].shape, np.nan)
        for horizon, (one,) in enumerate(blend.boosters):
            trees[stocks, horizon] = one.score(features[held], 1)
        expected = np.array(WEIGHTS) * ranks(alone[row]) + (1 - np.array(WEIGHTS)) * ranks(trees)
        np.testing.assert_allclose(found.scores[row], expected, atol=1e-6)
        np.testing.assert_allclose(found.parts[LIGHTGBM][row], ranks(trees), atol=1e-6)
    assert found.scores.dtype == np.float32
    np.testing.assert_array_equal(found.scores[..., 1], found.parts[NETWORK][..., 1], "a weight of one")
    np.testing.assert_array_equal(found.variable_weights, predict_days(model, batches, DAYS).variable_weights)


def test_a_day_is_scored_as_with_others_around_it(blend, batches, model) -> None:
    together = scores(model, batches, blend)
    np.testing.assert_array_equal(scores(model, batches, blend, DAYS[4:5])[0], together[4])


def test_several_seeds_are_ranked_by_the_mean_of_their_ranks(batches, blend) -> None:
    several = blend_of(seeds=3)
    stocks = batches.stocks(45)
    features = np.random.default_rng(0).normal(size=(len(stocks), 3)).astype(np.float32)
    by_seed = [
        np.stack([rankdata(seeds[seed].score(features, 1)) for seeds in several.boosters], axis=1) for seed in range(3)
    ]
    expected = (rankdata(np.mean(by_seed, axis=0).round(9), axis=0) - 1) / (len(stocks) - 1)
    np.testing.assert_allclose(several.lightgbm_ranks(features, 1), expected, atol=1e-6)


def test_stocks_that_the_network_cannot_score_are_not_ranked_among(blend) -> None:
    rng = np.random.default_rng(0)
    network, features = rng.normal(size=(6, 2)).astype(np.float32), rng.normal(size=(6, 3)).astype(np.float32)
    network[2, 1] = np.nan
    found = blend.of_day(network, features, 1)
    rest = [0, 1, 3, 4, 5]
    for name, values in blend.of_day(network[rest], features[rest], 1).items():
        np.testing.assert_array_equal(found[name][rest], values)
        assert np.isnan(found[name][2]).all()
    assert np.isnan(blend.of_day(network * np.nan, features, 1)[LIGHTGBM]).all()


def test_gains_are_shares(blend) -> None:
    gain = blend.gain
    assert gain.shape == (3, 2)
    np.testing.assert_allclose(gain.sum(axis=0), 1)
    np.testing.assert_allclose(gain[:, 1], blend.boosters[1][0].gain / blend.boosters[1][0].gain.sum())


def test_it_comes_back_from_its_files_with_the_same_bits(blend, batches, model, tmp_path) -> None:
    expected = scores(model, batches, blend)
    folder = Path(shutil.move(write(tmp_path / "model", model, blend), tmp_path / "elsewhere"))
    bundle: Bundle = load_bundle(folder)
    assert bundle.blend is not None
    np.testing.assert_array_equal(scores(bundle.model, batches, bundle.blend), expected)
    assert bundle.blend.weight_by_horizon == {"1d": 0.25, "3d": 1.0}
    np.testing.assert_equal([vars(w) for w in bundle.blend.weights], [vars(w) for w in blend.weights])
    assert write(tmp_path / "again", bundle.model, bundle.blend)
    for file in folder.iterdir():
        assert (tmp_path / "again" / file.name).read_bytes() == file.read_bytes(), file.name


def test_a_weight_that_nothing_is_known_of_comes_back(blend, model, tmp_path) -> None:
    nothing = ChosenWeight(0.5, np.nan, np.nan, np.nan, 0, np.full(len(GRID), np.nan))
    unknown = Blend(blend.horizons, (nothing,) * 2, GRID, blend.boosters, {})
    loaded = load_bundle(write(tmp_path, model, unknown)).blend
    assert loaded is not None
    np.testing.assert_equal(vars(loaded.weights[0]), vars(nothing))


def test_without_a_blend_the_bundle_says_nothing_of_one(blend, model, tmp_path) -> None:
    plain, other = write(tmp_path / "plain", model, None), write(tmp_path / "other", model, blend)
    assert sorted(file.name for file in plain.iterdir()) == ["model.json", "weights.safetensors"]
    assert "blend" not in (plain / "model.json").read_text()
    assert load_bundle(plain).blend is None
    assert load_bundle(plain).fingerprint != load_bundle(other).fingerprint
    write(other, model, None)
    for file in plain.iterdir():
        assert (other / file.name).read_bytes() == file.read_bytes()
    assert len(list(other.iterdir())) == len(list(plain.iterdir())), "nothing of the earlier model is left"


def test_another_weight_is_another_model(blend, model, tmp_path) -> None:
    one = load_bundle(write(tmp_path / "one", model, blend))
    other = load_bundle(
        write(tmp_path / "other", model, Blend(blend.horizons, blend.weights[::-1], GRID, blend.boosters, {}))
    )
    assert one.fingerprint != other.fingerprint


def damage(file: Path, change: Callable[[bytes], bytes]) -> None:
    file.write_bytes(change(file.read_bytes()))


TREES = booster_file(3, 0)
DAMAGES: dict[str, tuple[str, Callable[[Path], object]]] = {
    "a leaf": (TREES, lambda file: damage(file, lambda raw: raw.replace(b"leaf_value=", b"leaf_value=1", 1))),
    "cut short": (TREES, lambda file: damage(file, lambda raw: raw[:-100])),
    "missing trees": (TREES, lambda file: file.unlink()),
    "a link": (TREES, lambda file: (file.rename(file.parent / "x"), file.symlink_to(file.parent / "x"))),
    "too long": (TREES, lambda file: file.open("r+b").truncate(2**40)),
    "missing description": ("blend.json", lambda file: file.unlink()),
    "another weight": ("blend.json", lambda file: damage(file, lambda raw: raw.replace(b"0.25", b"0.75", 1))),
    "no json": ("blend.json", lambda file: file.write_bytes(b"[" * 100_000)),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_file_is_named(name: str, blend, model, tmp_path) -> None:
    folder = write(tmp_path / "model", model, blend)
    file, spoil = DAMAGES[name]
    spoil(folder / file)
    with pytest.raises(StorageError, match=f"{file}.*restore it"):
        load_bundle(folder)


def forge(folder: Path, change: Callable[[dict], object]) -> None:
    """Who forges a file forges the checksums of it as well."""
    body = json.loads((folder / "blend.json").read_bytes())
    change(body)
    content = json.dumps(sealed(body)).encode()
    (folder / "blend.json").write_bytes(content)
    description = json.loads((folder / "model.json").read_bytes())
    description["blend_sha256"] = hashlib.sha256(content).hexdigest()
    (folder / "model.json").write_text(json.dumps(sealed(description)))


FORGERIES: dict[str, Callable[[dict], object]] = {
    "another format": lambda body: body.update(format=2),
    "a weight beyond": lambda body: body["weights"]["1d"].update(network=1.5),
    "a weight in words": lambda body: body["weights"]["1d"].update(network="0.5"),
    "a horizon less": lambda body: body["weights"].pop("3d"),
    "other horizons": lambda body: body["boosters"].update({"5d": body["boosters"].pop("3d")}),
    "no boosters": lambda body: body["boosters"].update({"3d": []}),
    "more seeds at one horizon": lambda body: body["boosters"]["3d"].append("0" * 64),
    "a grid without a half": lambda body: body.update(grid=4),
    "a grid without end": lambda body: body.update(grid=10**9),
    "other means": lambda body: body["weights"]["3d"].update(rank_ic=[0.1]),
    "unknown keys": lambda body: body.update(file="/etc/passwd"),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_a_forged_description_is_refused(name: str, blend, model, tmp_path) -> None:
    folder = write(tmp_path / "model", model, blend)
    forge(folder, lambda body: None)
    load_bundle(folder)
    forge(folder, FORGERIES[name])
    with pytest.raises(StorageError, match=r"blend\.json"):
        load_bundle(folder)


def test_forged_trees_never_reach_lightgbm(blend, model, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(gradient_boosting, "load_lightgbm", lambda otherwise: pytest.fail("parsed"))
    folder = write(tmp_path / "model", model, blend)
    damage(folder / TREES, lambda raw: raw.replace(b"left_child=1", b"left_child=0", 1))
    digest = hashlib.sha256((folder / TREES).read_bytes()).hexdigest()
    forge(folder, lambda body: body["boosters"].update({"3d": [digest]}))
    with pytest.raises(StorageError, match=f"{TREES}.*tree"):
        load_bundle(folder)


def test_a_machine_without_lightgbm_says_so_before_the_network_scores(
    blend, model, batches, tmp_path, monkeypatch
) -> None:
    bundle = load_bundle(write(tmp_path, model, blend))

    def missing(otherwise: str) -> None:
        raise ConfigError(f"LightGBM does not load; install libgomp1, or {otherwise}")

    monkeypatch.setattr(gradient_boosting, "load_lightgbm", missing)
    monkeypatch.setattr(bundle.model, "forecast", lambda batch: pytest.fail("scored"))
    with pytest.raises(ConfigError, match="libgomp1"):
        predict_days(bundle.model, batches, DAYS, blend=bundle.blend, device=torch.device("cpu"))
    assert bundle.blend is not None
    assert bundle.blend.gain.sum() > 0, "what it looks at can be told all the same"
