"""An exported file gives the model's scores, also for other numbers of stocks, and describes itself."""

import json
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from atft_gat_fan.config.schema import DataConfig
from atft_gat_fan.errors import ConfigError, StorageError
from atft_gat_fan.inference import export as export_module
from atft_gat_fan.inference import export_check
from atft_gat_fan.inference.bundle import Bundle
from atft_gat_fan.inference.export import ExportableNetwork, export, exported_inputs
from atft_gat_fan.inference.export_check import TOLERANCE, Parity, parity, runner
from atft_gat_fan.inference.export_description import describe
from atft_gat_fan.models.chunks import Chunks
from tests.inference import examples

DAYS = np.array([12, 33, 59])


def bundle(**changes) -> Bundle:
    model = examples.network(**changes)
    return Bundle(
        model=model,
        data=DataConfig(horizons=examples.HORIZONS, window=examples.WINDOW, features=examples.NORMALIZER.feature_names),
        graph=examples.GRAPH,
        normalizer=examples.NORMALIZER,
        static_categories=examples.CATEGORIES if model.spec.num_categories else (),
        training={"seed": 1},
        numerics={},
        fingerprint="0123456789abcdef",
    )


@pytest.fixture(scope="module")
def panel(tmp_path_factory: pytest.TempPathFactory):
    return examples.store(tmp_path_factory.mktemp("store") / "s", examples.frame())


EVERYTHING = {
    "quantiles": (0.1, 0.5, 0.9),
    "fan_top_k": 2,
    "lstm_layers": 2,
    "head_layer_scale": 0.1,
    "gat_temperature": 0.5,
}
NOTHING = {"gat_heads": 0, "fan_top_k": 0, "num_categories": 0, "num_covariates": 0}

RANKING = {
    "gat_heads": 0, "fan_top_k": 0, "blockwise": True, "same_day_skip": True, "input_expansion": "polynomial",
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.usefixtures("without_shape_checks")
@pytest.mark.parametrize(
    ("form", "changes"),
    [
        ("torch", EVERYTHING),
        ("onnx", EVERYTHING),
        ("onnx", {"gat_heads": 0}),
        ("onnx", {"fan_top_k": 0}),
        ("onnx", NOTHING),
        ("onnx", RANKING),
    ],
    ids=str,
)
def test_exported_scores_are_the_models(panel, form: str, changes: dict) -> None:
    shipped = bundle(**changes)
    data = examples.batches(panel, graph=shipped.spec.gat_heads > 0, covariates=shipped.spec.num_covariates)
    inputs = exported_inputs(shipped.model, shipped.normalizer, data.canonical(40))
    content = export(shipped, inputs, form)
    run = runner(content, form)
    days = parity(run, shipped.model, shipped.normalizer, data, DAYS)
    for day in days:
        assert day.holds
        assert day.compared >= day.stocks / 2, "few stocks are near ties"
        assert 0 <= day.difference <= TOLERANCE
    assert len({day.stocks for day in days} - {inputs["features"].shape[1]}) > 1, "the example needs other sizes"
    for stocks in (1, 2, 500):
        many = drawn(inputs, stocks)
        with torch.no_grad():
            expected = ExportableNetwork(shipped)(**many)
        for found, wanted in zip(run(many), expected, strict=True):
            assert found.shape == tuple(wanted.shape)
            close = np.isclose(found, wanted.numpy(), rtol=0, atol=2e-5 * float(wanted.abs().max()))
            # Where frequencies tie to rounding, two programs may take different ones.
            assert close.reshape(stocks, -1).all(axis=1).mean() > (0.9 if shipped.spec.fan_top_k else 0.999)


def drawn(inputs: dict[str, torch.Tensor], stocks: int) -> dict[str, torch.Tensor]:
    """Stocks of the example at random, listening to each other at random."""
    generator = torch.Generator().manual_seed(stocks)
    chosen = torch.randint(inputs["features"].shape[1], (stocks,), generator=generator)
    result = {
        name: value[:, chosen] if name == "features" else value[chosen]
        for name, value in inputs.items()
        if name != "calendar"
    }
    if "calendar" in inputs:
        result["calendar"] = inputs["calendar"]
    if "neighbour_index" in inputs:
        slots = inputs["neighbour_index"].shape[1]
        index = torch.randint(stocks, (stocks, slots), generator=generator)
        index[:, 0] = torch.arange(stocks)
        result["neighbour_index"] = torch.where(result["neighbour_mask"], index, index[:, :1])
    return result


def test_the_exported_network_is_the_model_from_raw_rows_on(panel) -> None:
    """Before any exporter: the same function, however the model computes."""
    shipped = bundle(quantiles=(0.5, 0.9), gradient_checkpointing=True)
    shipped.model.chunks = Chunks(stocks=5, by_day=True, queries=3)
    data = examples.batches(panel)
    raw = data.canonical(40)
    inputs = {name: value.clone() for name, value in exported_inputs(shipped.model, shipped.normalizer, raw).items()}
    assert torch.isnan(inputs["features"]).any(), "the example needs missing values"
    with torch.inference_mode():
        forecast = shipped.model.forecast(data.to_device(raw, torch.device("cpu")))
        scores, quantiles = ExportableNetwork(shipped)(**inputs)
    torch.testing.assert_close(scores, forecast.point[0], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(quantiles, forecast.quantiles[0], rtol=1e-5, atol=1e-5)
    assert shipped.model.chunks == Chunks(stocks=5, by_day=True, queries=3), "the model is left as it was"


@pytest.mark.parametrize("changes", [{}, {"quantiles": (0.1, 0.5)}, NOTHING], ids=str)
def test_the_description_is_true_of_the_inputs(panel, changes: dict) -> None:
    shipped = bundle(**changes)
    data = examples.batches(panel, graph=shipped.spec.gat_heads > 0, covariates=shipped.spec.num_covariates)
    inputs = exported_inputs(shipped.model, shipped.normalizer, data.canonical(40))
    described = json.loads(json.dumps(describe(shipped, "onnx")))
    assert list(described["inputs"]) == list(inputs)
    sizes = {"stocks": inputs["features"].shape[1]}
    for name, entry in described["inputs"].items():
        assert [sizes.get(size, size) for size in entry["shape"]] == list(inputs[name].shape), name
        assert str(inputs[name].dtype) == f"torch.{entry['dtype']}"
        assert entry["missing"]
    assert described["inputs"]["features"]["order"] == list(examples.NORMALIZER.feature_names)
    assert described["horizons"] == list(examples.HORIZONS)
    with torch.no_grad():
        outputs = ExportableNetwork(shipped)(**inputs)
    for entry, output in zip(described["outputs"].values(), outputs, strict=True):
        assert [sizes.get(size, size) for size in entry["shape"]] == list(output.shape)


def test_a_file_that_gives_other_scores_is_found_out(panel) -> None:
    shipped = bundle(fan_top_k=0)
    data = examples.batches(panel)
    network = ExportableNetwork(shipped)

    def run(error: float):
        def scores(inputs):
            with torch.no_grad():
                (found,) = network(**inputs)
            found[0, 0] += error * float(found[:, 0].square().mean().sqrt())
            return [found.numpy()]

        return parity(scores, shipped.model, shipped.normalizer, data, DAYS[:1])[0]

    assert run(0.0).holds
    wrong = run(1e-4)
    assert not wrong.holds
    assert wrong.difference == pytest.approx(1e-4, rel=0.05)


def test_near_ties_are_left_out_but_not_all_stocks(panel, monkeypatch) -> None:
    shipped, data = bundle(), examples.batches(panel)
    look = export_check.look_inside

    def run(inputs):
        with torch.no_grad():
            (found,) = ExportableNetwork(shipped)(**inputs)
        found[0] += 1.0
        return [found.numpy()]

    def with_ties(ties):
        monkeypatch.setattr(export_check, "look_inside", lambda *args: replace(look(*args), near_ties=ties))
        return parity(run, shipped.model, shipped.normalizer, data, DAYS[:1])[0]

    stocks = len(data.stocks(int(DAYS[0])))
    first = torch.arange(stocks) == 0
    day: Parity = with_ties(first)
    assert (day.near_ties, day.compared) == (1, stocks - 1)
    assert day.at_near_ties > 0.1
    assert day.difference < TOLERANCE
    every = with_ties(torch.ones(stocks, dtype=torch.bool))
    assert every.compared == stocks
    assert not every.holds


@pytest.mark.parametrize("missing", ["onnx", "onnxscript"])
def test_without_the_packages_it_says_what_to_install(panel, monkeypatch, missing: str) -> None:
    shipped = bundle(**NOTHING)
    inputs = exported_inputs(shipped.model, shipped.normalizer, examples.batches(panel, graph=False).canonical(40))
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ConfigError, match=r"pip install 'atft-gat-fan\[onnx\]'"):
        export(shipped, inputs, "onnx")


def test_a_network_that_onnx_cannot_hold_is_refused(panel, monkeypatch) -> None:
    shipped = bundle(**NOTHING)
    inputs = exported_inputs(shipped.model, shipped.normalizer, examples.batches(panel, graph=False).canonical(40))
    monkeypatch.setattr(export_module, "MOST_ONNX_BYTES", 1000)
    with pytest.raises(StorageError, match="--format torch"):
        export(shipped, inputs, "onnx")


def test_without_a_runtime_nothing_is_claimed(monkeypatch) -> None:
    monkeypatch.setattr(export_check, "find_spec", lambda name: None)
    assert runner(b"", "onnx") is None
