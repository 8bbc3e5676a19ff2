"""The migration memo's FAQ: defaults change nothing, and setting a switch back is the whole rollback."""

import io
import json
import shutil
from pathlib import Path

import polars as pl
import pytest
import torch
import yaml
from rich.console import Console

from atft_gat_fan.config.load import load_config
from atft_gat_fan.config.plan import ModelSpec
from atft_gat_fan.config.schema import ImprovementsConfig
from atft_gat_fan.data.calendar import CALENDAR_COVARIATES
from atft_gat_fan.models.network import ATFT_GAT_FAN
from atft_gat_fan.runs.assembly import Assembly, assemble, build_model
from atft_gat_fan.runs.huber_deltas import huber_deltas
from atft_gat_fan.signals import StopSignals
from atft_gat_fan.training.loop import FitResult, fit
from atft_gat_fan.training.run_folder import RunFolder
from atft_gat_fan.training.settings import TrainSettings

TREE = Path(__file__).parents[2] / "configs" / "atft"
SWITCHED_BACK = [
    f"improvements.{name}={field.default}".lower() for name, field in ImprovementsConfig.model_fields.items()
]
Weights = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def trained(cache: Path, tmp_path: Path):
    """Weights after 20 steps under overrides: those that a run would export."""

    def train(*overrides: str) -> Weights:
        assembly = assembled(cache, *overrides)
        settings = TrainSettings.from_config(assembly.config, assembly.plan, huber_deltas(assembly))
        return run(build_model(assembly), assembly, settings, tmp_path / f"run{len(list(tmp_path.iterdir()))}")

    return train


def assembled(cache: Path, *overrides: str) -> Assembly:
    small = [
        "data=synthetic", "data.synthetic.num_days=260", "data.synthetic.num_stocks=8", "data.horizons=[1,5]",
        "model=small", "batch_size=4", "train.max_steps=20", "train.tensorboard=false",
        "graph.threshold=0.1",  # edges on every day: without any, a temperature has nothing to divide
    ]  # fmt: skip
    return assemble(load_config([*overrides, *small, f"data.cache={cache}"]), lambda stage, share: None)


def run(model: ATFT_GAT_FAN, assembly: Assembly, settings: TrainSettings, folder: Path) -> Weights:
    with RunFolder(folder) as opened:
        result: FitResult = fit(model, assembly, settings, opened, Console(file=io.StringIO()), StopSignals())
    assert result.steps == 20
    return result.model.state_dict()


def assert_same_bits(one: Weights, other: Weights) -> None:
    assert list(one) == list(other)
    for name, tensor in one.items():
        assert torch.equal(tensor, other[name]), name


@pytest.fixture(scope="module")
def without_block(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Weights:
    """Of a configuration that never had the improvements block."""
    folder = tmp_path_factory.mktemp("without")
    shutil.copytree(TREE, folder / "configs" / "atft")
    primary = folder / "configs" / "atft" / "config.yaml"
    content = yaml.safe_load(primary.read_text())
    del content["improvements"]
    primary.write_text(yaml.safe_dump(content))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assembly = assembled(cache)
    settings = TrainSettings.from_config(assembly.config, assembly.plan, huber_deltas(assembly))
    return run(build_model(assembly), assembly, settings, folder / "run")


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["~improvements"],
        SWITCHED_BACK,
        ["config=atft/config_full", *SWITCHED_BACK],
        ["config=atft/train/production", "loss.multi_horizon_weights=null"],
    ],
    ids=["defaults", "deleted", "all off", "everything switched back", "production"],
)
def test_all_off_trains_the_bits_of_a_run_without_the_block(trained, without_block: Weights, overrides: list[str]):
    assert_same_bits(trained(*overrides), without_block)


def test_all_off_is_the_network_and_training_from_before_the_improvements(
    cache: Path, without_block: Weights, tmp_path: Path
):
    """Built by hand with nothing but the fields there were then."""
    assembly = assembled(cache)
    config = assembly.config
    spec = ModelSpec(
        num_features=len(assembly.normalizer.feature_names), horizons=(1, 5), window=20,
        num_categories=len(assembly.store.static_categories), num_covariates=len(CALENDAR_COVARIATES), hidden_size=16,
        variable_size=4, num_heads=2, dropout=0.1, fan_top_k=1, gat_heads=2,
    )  # fmt: skip
    settings = TrainSettings(
        digest="by hand", horizons=(1, 5), horizon_weights=config.horizon_weights, seed=42, batch_size=4, max_epochs=8,
        max_steps=20, lr=1e-3, weight_decay=0.01, device="auto",
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(42)
        model = ATFT_GAT_FAN(spec)
    assert_same_bits(run(model, assembly, settings, tmp_path / "run"), without_block)


@pytest.mark.parametrize(
    ("switch", "keys"),
    [
        ("improvements.output_head_small_init=true", True),
        ("improvements.gat_temperature=0.8", False),
        ("improvements.freq_dropout_p=0.5", False),
        ("improvements.huber_loss=true", False),
        ("improvements.use_ema=true", False),
        ("optimizer.groups.head.lr=0.5", False),
        ("model.gat.temperature_start=2.0", False),
    ],
)
def test_each_switch_changes_the_weights_and_only_the_layer_scale_adds_any(
    trained, without_block: Weights, switch: str, keys: bool
):
    changed = trained(switch)
    assert without_block.keys() <= changed.keys()
    assert (changed.keys() > without_block.keys()) == keys
    assert any(not torch.equal(tensor, changed[name]) for name, tensor in without_block.items())


# What a finished run of the tool says under other switches.


def test_resuming_under_other_switches_names_them_and_the_ways_out(atft, finished_run):
    switches = ["improvements.use_ema=true", "loss.type=huber", "data.num_workers=1"]
    other = atft("train", *finished_run.arguments, *switches)
    assert other.code == 78
    assert "improvements.use_ema: false there, true now" in other.err
    assert 'loss.type: "mse" there, "huber" now' in other.err
    assert "data.num_workers" not in other.err  # changes no weight
    for way_out in ("set them back", "another run.dir", "run.fresh=true"):
        assert way_out in other.err


def test_resuming_under_switches_that_change_no_weight_works_and_says_so(atft, finished_run):
    weights = (finished_run.folder / "model" / "weights.safetensors").read_bytes()
    same = atft("train", *finished_run.arguments, "improvements.enable_wandb=true", "data.num_workers=1")
    assert same.code == 0, same.err
    assert "improvements.enable_wandb: false there, true now" in same.err
    assert "changes no weight" in same.err
    assert (finished_run.folder / "model" / "weights.safetensors").read_bytes() == weights


def test_predicting_needs_the_bundle_and_no_switch(atft, finished_run, tmp_path):
    shutil.copytree(finished_run.folder / "model", tmp_path / "shipped" / "model")
    out = tmp_path / "scores.parquet"
    result = atft(
        "predict", str(tmp_path / "shipped"), "--data", str(finished_run.panel), "--out", str(out), cwd=tmp_path
    )
    assert result.code == 0, result.err
    evaluated = pl.read_parquet(finished_run.folder / "predictions.parquet")
    same_days = pl.read_parquet(out).join(evaluated.select("date", "code"), on=["date", "code"], how="semi")
    assert same_days.equals(evaluated)


def test_a_run_records_the_switches_it_was_trained_under(finished_run):
    plan = json.loads((finished_run.folder / "plan.json").read_text())
    training = json.loads((finished_run.folder / "model" / "model.json").read_text())["training"]
    assert training["plan"] == plan
    assert plan["ema"] is None
    assert plan["loss"]["kind"] == "mse"
    assert training["huber_deltas"] is None
    assert not (finished_run.folder / "model" / "weights_raw.safetensors").exists()
