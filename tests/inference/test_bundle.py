"""A bundle gives back the model it was made of, and anything else is refused by name."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from atft_gat_fan.config.plan import ModelSpec
from atft_gat_fan.config.schema import DataConfig, GraphConfig
from atft_gat_fan.data.durable_files import sealed
from atft_gat_fan.data.normalizer import Normalizer
from atft_gat_fan.errors import StorageError
from atft_gat_fan.inference import bundle as bundle_module
from atft_gat_fan.inference.bundle import Bundle, apply_numerics, load_bundle, write_bundle
from atft_gat_fan.models.chunks import Chunks
from atft_gat_fan.models.network import ATFT_GAT_FAN
from atft_gat_fan.models.onednn import use_onednn

SPEC = ModelSpec(
    num_features=3, horizons=(1, 5), window=6, num_categories=2, num_covariates=1, hidden_size=8, variable_size=4,
    num_heads=2, quantiles=(0.1, 0.5, 0.9), gat_heads=2,
)  # fmt: skip
NORMALIZER = Normalizer(
    input_names=("a", "b", "c", "d"),
    feature_names=("a", "b", "d"),
    mean=np.array([1 / 3, -2.0, 1e-9]),
    std=np.array([0.1, 3.0, 7.0]),
    counts=np.array([10, 9, 8]),
    dropped={"c": "constant"},
)
RECIPE: dict = {
    "data": DataConfig(horizons=(1, 5), window=6),
    "graph": GraphConfig(threshold=0.5),
    "normalizer": NORMALIZER,
    "static_categories": ("banks", "mines"),
    "training": {"seed": 1},
}


@pytest.fixture
def model() -> ATFT_GAT_FAN:
    torch.manual_seed(0)
    return ATFT_GAT_FAN(SPEC)


@pytest.fixture
def folder(model: ATFT_GAT_FAN, tmp_path: Path) -> Path:
    write_bundle(tmp_path / "model", model=model, **RECIPE)
    return tmp_path / "model"


def test_everything_comes_back(folder: Path, model: ATFT_GAT_FAN):
    bundle: Bundle = load_bundle(folder)
    assert bundle.spec == SPEC
    assert not bundle.model.training
    assert bundle.data == DataConfig(horizons=(1, 5), window=6)
    assert bundle.graph.threshold == 0.5
    assert bundle.static_categories == ("banks", "mines")
    assert bundle.normalizer.to_json() == NORMALIZER.to_json()
    for name, tensor in model.state_dict().items():
        assert torch.equal(bundle.model.state_dict()[name], tensor), name


@pytest.mark.parametrize(
    "changes",
    [
        {"blockwise": True, "fan_top_k": 0, "same_day_skip": True, "input_expansion": "polynomial"},
        {"lstm_layers": 0, "num_heads": 0, "fan_top_k": 0, "lstm_forget_bias": None},
    ],
    ids=str,
)
def test_networks_with_other_encoders_come_back(changes: dict, tmp_path: Path):
    made = ATFT_GAT_FAN(replace(SPEC, **changes))
    write_bundle(tmp_path, model=made, **RECIPE)
    found = load_bundle(tmp_path).model
    assert found.spec == made.spec
    assert all(torch.equal(tensor, made.state_dict()[name]) for name, tensor in found.state_dict().items())


def test_a_bundle_from_before_the_encoder_had_options_still_loads(folder: Path):
    description = json.loads((folder / "model.json").read_text())
    for key in ("input_expansion", "same_day_skip", "blockwise", "lstm_forget_bias"):
        del description["spec"][key]
    del description["sha256"]
    (folder / "model.json").write_text(json.dumps(sealed(description)))
    assert load_bundle(folder).spec == SPEC


def test_a_model_trained_in_pieces_computes_in_those_pieces(model: ATFT_GAT_FAN, tmp_path: Path):
    model.chunks = Chunks(stocks=32, queries=64)
    write_bundle(tmp_path, model=model, **RECIPE)
    bundle = load_bundle(tmp_path)
    assert bundle.model.chunks == Chunks()
    apply_numerics(bundle, warn=pytest.fail)
    assert bundle.model.chunks == model.chunks
    assert torch.backends.mkldnn.enabled == bundle.numerics["onednn"]


def test_each_model_computes_with_onednn_or_without_as_it_was_evaluated(model: ATFT_GAT_FAN, tmp_path: Path):
    write_bundle(tmp_path / "with", model=model, **RECIPE)
    use_onednn(False)
    try:
        write_bundle(tmp_path / "without", model=model, **RECIPE)
        for name in ("with", "without", "with"):
            apply_numerics(load_bundle(tmp_path / name), warn=pytest.fail)
            assert torch.backends.mkldnn.enabled == (name == "with")
    finally:
        use_onednn(True)


def test_a_model_of_another_machine_is_used_and_that_is_said(model: ATFT_GAT_FAN, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(bundle_module.torch, "__version__", "1.0")
    write_bundle(tmp_path, model=model, **RECIPE)
    monkeypatch.undo()
    told: list[str] = []
    apply_numerics(load_bundle(tmp_path), told.append)
    assert len(told) == 1
    assert f"torch 1.0 there, {torch.__version__} here" in told[0]
    assert "machine" not in told[0]


def test_the_fingerprint_changes_with_the_weights(folder: Path, model: ATFT_GAT_FAN):
    before = load_bundle(folder).fingerprint
    with torch.no_grad():
        next(model.parameters()).add_(1)
    write_bundle(folder, model=model, **RECIPE)
    assert load_bundle(folder).fingerprint != before


@pytest.mark.parametrize("name", ["model.json", "weights.safetensors"])
def test_a_missing_file_is_named(folder: Path, name: str):
    (folder / name).unlink()
    with pytest.raises(StorageError, match=name):
        load_bundle(folder)


def test_damaged_weights_are_noticed(folder: Path):
    content = bytearray((folder / "weights.safetensors").read_bytes())
    content[-5] ^= 1
    (folder / "weights.safetensors").write_bytes(content)
    with pytest.raises(StorageError, match=r"weights\.safetensors.*damaged"):
        load_bundle(folder)


def test_a_description_with_another_digit_is_noticed(folder: Path):
    description = json.loads((folder / "model.json").read_text())
    description["normalizer"]["std"][0] += 0.01
    (folder / "model.json").write_text(json.dumps(description))
    with pytest.raises(StorageError, match=r"model\.json.*checksum"):
        load_bundle(folder)


@pytest.mark.parametrize(
    "change",
    [
        {"format": 99},
        {"spec": {"num_features": "three"}},
        {"spec": {}},
        {"data": {"window": 6, "unheard_of": 1}},
        {"normalizer": {}},
        {"static_categories": None},
        {"unheard_of": 1},
    ],
)
def test_a_description_that_is_not_one_is_refused(folder: Path, change: dict):
    description = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps(sealed(description | change)))
    with pytest.raises(StorageError, match=r"model\.json"):
        load_bundle(folder)


def test_averaged_weights_are_loaded_and_the_raw_ones_kept_beside_them(folder: Path, model: ATFT_GAT_FAN):
    raw = {name: tensor + 1 for name, tensor in model.state_dict().items()}
    recipe = {"model": model, **RECIPE}
    write_bundle(folder, **recipe, raw_weights=raw)
    kept = load_file(folder / "weights_raw.safetensors")
    assert kept.keys() == raw.keys()
    assert all(torch.equal(kept[name], raw[name]) for name in raw)
    loaded = load_bundle(folder).model.state_dict()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in model.state_dict().items())
    (folder / "weights_raw.safetensors").unlink()
    load_bundle(folder)
    write_bundle(folder, **recipe, raw_weights=raw)
    write_bundle(folder, **recipe)
    assert not (folder / "weights_raw.safetensors").exists()


def test_a_bundle_from_before_the_improvements_is_the_network_without_them(folder: Path, model: ATFT_GAT_FAN):
    description = json.loads((folder / "model.json").read_text())
    newer = [name for name in description["spec"] if name.startswith(("head_", "gat_temp", "freq_"))]
    assert len(newer) == 6
    for name in newer:
        del description["spec"][name]
    del description["raw_weights_sha256"], description["sha256"]
    (folder / "model.json").write_text(json.dumps(description))
    bundle = load_bundle(folder)
    assert bundle.spec == SPEC
    for name, tensor in model.state_dict().items():
        assert torch.equal(bundle.model.state_dict()[name], tensor), name


def test_what_the_improvements_decide_about_the_network_comes_back(tmp_path: Path):
    spec = replace(
        SPEC, head_init_std=0.01, head_layer_scale=0.1, gat_temperature=0.8, freq_dropout_p=0.1,
        freq_dropout_max_width=2, freq_dropout_rescale=True,
    )  # fmt: skip
    model = ATFT_GAT_FAN(spec).eval()
    write_bundle(tmp_path, model=model, **RECIPE)
    bundle = load_bundle(tmp_path)
    assert bundle.spec == spec
    features = torch.randn(4, 6, 3, generator=torch.Generator().manual_seed(1))
    for name, scores in model(features)["predictions"].items():
        assert torch.equal(bundle.model(features)["predictions"][name], scores)
