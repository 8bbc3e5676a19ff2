"""What is left to look at when a training stops for numbers that are not finite."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from atft_gat_fan.training.debug_bundle import write_debug_bundle
from atft_gat_fan.types import RandomKey

KEY = RandomKey(7, 3)


@pytest.fixture
def network(make_network):
    return make_network().train()


def described(folder: Path) -> dict:
    return json.loads((folder / "debug.json").read_text())


def test_inputs_and_weights_can_be_loaded_and_computed_again(market, network, tmp_path: Path) -> None:
    batch = market.batch(10, 3)
    folder = write_debug_bundle(tmp_path, network, [batch], KEY, {"step": 4, "last_step": {"loss": math.nan}})
    tensors = load_file(folder / "batch_0.safetensors")
    again = replace(batch, features=tensors["features"], labels=tensors["labels"], present=tensors["present"])
    weights = load_file(folder / "weights.safetensors")
    assert weights.keys() == network.state_dict().keys()
    network.load_state_dict(weights)
    assert torch.equal(network.forecast(again, KEY).point, network.forecast(batch, KEY).point)
    assert torch.equal(tensors["neighbours.index"], batch.neighbours.index)
    report = described(folder)
    assert (report["step"], report["last_step"]["loss"]) == (4, None)
    assert report["batches"] == [
        {"days": ["1997-05-29", "1997-05-30", "1997-05-31"], "not_finite": {}, "first_module_not_finite": None}
    ]


def test_the_place_where_numbers_break_is_named(market, network, tmp_path: Path) -> None:
    batch = market.batch(10, 3)
    with torch.no_grad():
        network.temporal.lstm.weight_hh_l0[0, 0] = math.nan
    report = described(write_debug_bundle(tmp_path, network, [batch], KEY, {}))
    assert report["weights_not_finite"] == {"temporal.lstm.weight_hh_l0": 1}
    assert report["batches"][0]["first_module_not_finite"] == "temporal.lstm"


def test_bad_inputs_are_counted_and_unknown_labels_are_not(market, network, tmp_path: Path) -> None:
    good, bad = market.batch(10, 2), market.batch(20, 2)
    assert good.labels.isnan().any()
    bad.features[3, 5, 1] = math.inf
    report = described(write_debug_bundle(tmp_path, network, (good, bad), KEY, {}))
    assert [batch["not_finite"] for batch in report["batches"]] == [{}, {"features": 1}]
    assert report["batches"][1]["first_module_not_finite"].startswith("variable_selection")


def test_an_earlier_bundle_is_replaced_and_the_network_left_as_it_was(market, network, tmp_path: Path) -> None:
    write_debug_bundle(tmp_path, network, [market.batch(10, 2), market.batch(20, 2)], KEY, {})
    folder = write_debug_bundle(tmp_path, network, [], KEY, {})
    assert sorted(file.name for file in folder.iterdir()) == ["debug.json", "weights.safetensors"]
    assert network.training
    assert not any(module._forward_hooks for module in network.modules())
