"""Every lever of the migration memo, and every improvement, changes the computation it names and nothing else."""

import io
from dataclasses import asdict
from typing import Any

import pytest
import torch
from rich.console import Console

from atft_gat_fan.config.load import load_config
from atft_gat_fan.runs.assembly import Assembly, assemble, build_model
from atft_gat_fan.runs.huber_deltas import huber_deltas
from atft_gat_fan.signals import StopSignals
from atft_gat_fan.training import runtime
from atft_gat_fan.training.loop import fit
from atft_gat_fan.training.optim import parameter_groups
from atft_gat_fan.training.run_folder import RunFolder
from atft_gat_fan.training.schedule import Schedule
from atft_gat_fan.training.settings import TrainSettings
from atft_gat_fan.training.training_data import planned_steps, step_groups
from atft_gat_fan.types import RandomKey


@pytest.fixture(scope="module")
def assembled(tmp_path_factory: pytest.TempPathFactory):
    cache = tmp_path_factory.mktemp("cache")

    def make(*overrides: str) -> Assembly:
        small = ["data=synthetic", "data.synthetic.num_days=260", "data.synthetic.num_stocks=8", "model=small"]
        return assemble(load_config([*small, f"data.cache={cache}", *overrides]), lambda stage, share: None)

    return make


def settings(assembly: Assembly) -> TrainSettings:
    return TrainSettings.from_config(assembly.config, assembly.plan, huber_deltas(assembly))


def differences(one: Any, other: Any) -> dict[str, Any]:
    """New values of the fields in which two dataclasses differ; digests and what W&B shows differ with any key."""
    old, new = asdict(one), asdict(other)
    return {name: new[name] for name in old if old[name] != new[name] and name not in ("digest", "wandb")}


# Each lever of docs/improvements.md: what it becomes in the training's settings and in the network's.
LEVERS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "gradient_checkpointing=true": ({}, {"gradient_checkpointing": True}),
    "batch_size=4": ({"batch_size": 4}, {}),
    "accumulate_grad_batches=3": ({"accumulate": 3}, {}),
    "warmup_steps=2000": ({"warmup_steps": 2000}, {}),
    "optimizer.lr=0.0008": ({"lr": 0.0008}, {}),
    "early_stopping.patience=5": ({"patience": 5}, {}),
    "scheduler=linear": ({"scheduler": "linear"}, {}),
    "seed=7": ({"seed": 7}, {}),
    "grad_scaler.init_scale=1024": ({"init_scale": 1024.0}, {}),
    "amp=bf16": ({"amp": "bf16"}, {}),
    "data.num_workers=2": ({"num_workers": 2}, {}),
    "improvements.gat_temperature=0.8": (
        {"temperature": {"temperature": 0.8, "start": None, "share": 0.0}},
        {"gat_temperature": 0.8},
    ),
    "improvements.freq_dropout_p=0.1": ({}, {"freq_dropout_p": 0.1}),
    "improvements.output_head_small_init=true": ({}, {"head_init_std": 0.01, "head_layer_scale": 0.1}),
    "improvements.huber_loss=true": ({"huber_deltas": (0.01,) * 5}, {}),
    "improvements.use_ema=true": (
        {"ema": {"decay": 0.999, "warmup": True, "by": ("improvements.use_ema",)}},
        {},
    ),
    "improvements.enable_wandb=true": ({"loggers": ("jsonl", "tensorboard", "wandb")}, {}),
}


@pytest.mark.parametrize("lever", LEVERS)
def test_a_lever_reaches_what_it_names_and_nothing_else(assembled, lever: str):
    without, pulled = assembled(), assembled(lever)
    in_training, in_network = LEVERS[lever]
    assert differences(settings(without), settings(pulled)) == in_training
    assert differences(without.spec, pulled.spec) == in_network


def test_batch_size_is_the_days_of_a_batch(assembled):
    for size in (2, 8):
        assembly = assembled(f"batch_size={size}")
        counts = [count for _, count in assembly.blocks(epoch=0)]
        assert max(counts) == size
        assert sum(counts) == len(assembly.train_days)
        assert assembly.batch(*assembly.blocks(epoch=0)[0]).num_days <= size


def test_accumulation_makes_one_step_of_several_batches(assembled):
    one, four = assembled(), assembled("accumulate_grad_batches=4")
    assert one.blocks(epoch=1) == four.blocks(epoch=1)
    groups = step_groups(four, settings(four), epoch=1)
    assert [block for group in groups for block in group] == four.blocks(epoch=1)
    assert {len(group) for group in groups[:-1]} == {4}
    assert planned_steps(four, settings(four)) < planned_steps(one, settings(one)) / 3


def test_warm_up_is_longer_where_the_run_is_long_enough(assembled):
    def rates(lever: str, planned: int) -> list[float]:
        knobs = settings(assembled(lever))
        schedule = Schedule(knobs.scheduler, planned, knobs.warmup_steps)
        return [schedule(step) for step in range(planned)]

    for lever, peak in (("warmup_steps=1500", 1500), ("warmup_steps=2000", 2000)):
        long = rates(lever, planned=30_000)
        assert long.index(1.0) == peak - 1
        assert long[: peak - 1] == sorted(long[: peak - 1])
        assert rates(lever, planned=200).index(1.0) == 19  # a tenth of a short run


@pytest.mark.parametrize(("kind", "halfway", "last"), [("cosine", 0.5, 0.0), ("linear", 0.5, 0.0), ("constant", 1, 1)])
def test_the_schedule_is_the_learning_rate_after_the_warm_up(assembled, kind: str, halfway: float, last: float):
    schedule = Schedule(settings(assembled(f"scheduler={kind}")).scheduler, 2000, 0)
    assert schedule(1000) == pytest.approx(halfway)
    assert schedule(1999) == pytest.approx(last, abs=1e-3)
    assert (schedule(500) > 0.8) == (kind != "linear")


def test_the_base_rate_scales_every_group(assembled):
    def rates(*levers: str) -> list[float]:
        assembly = assembled(*levers)
        return [group.lr for group in parameter_groups(build_model(assembly), settings(assembly))]

    assert rates("optimizer.lr=0.0008") == pytest.approx([0.8 * rate for rate in rates()])
    halved = rates("optimizer.lr=0.0008", "optimizer.groups.head.lr=0.5")
    assert min(halved) == pytest.approx(0.0004)


def test_the_seed_decides_order_weights_and_dropout(assembled):
    one, same, other = assembled(), assembled(), assembled("seed=7")
    assert one.blocks(epoch=0) == same.blocks(epoch=0) != other.blocks(epoch=0)
    weights = [build_model(assembly).state_dict()["heads.point.weight"] for assembly in (one, same, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    network, batch = build_model(one).train(), one.batch(*one.blocks(epoch=0)[0])
    drawn = [network.forecast(batch, RandomKey(assembly.config.seed, 3)).point for assembly in (one, same, other)]
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


def test_checkpointing_saves_memory_and_keeps_the_gradients(assembled):
    saved, gradients = {}, {}
    for lever in ("gradient_checkpointing=false", "gradient_checkpointing=true"):
        assembly = assembled(lever)
        network = build_model(assembly).train()
        kept: dict[int, int] = {}

        def keep(tensor: torch.Tensor, kept: dict[int, int] = kept) -> torch.Tensor:
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            point = network.forecast(assembly.batch(*assembly.blocks(epoch=0)[0]), RandomKey(0, 0)).point
        saved[lever] = sum(kept.values())
        point.square().mean().backward()
        gradients[lever] = torch.cat([parameter.grad.flatten() for parameter in network.parameters()])
    kept_all, recomputed = saved.values()
    assert recomputed < 0.5 * kept_all
    torch.testing.assert_close(*gradients.values(), rtol=1e-5, atol=1e-7)


def test_the_first_loss_scale_of_fp16_is_the_configured_one(assembled, monkeypatch):
    """A GPU's scaler, made on a machine that may have none: of all that is made here only Fabric needs the device."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(runtime, "Fabric", lambda **_: None)
    for scale in (1024.0, 65536.0):
        fp16 = settings(assembled("amp=fp16", "run.device=cuda", f"grad_scaler.init_scale={scale}"))
        scaler = runtime.make_runtime(fp16).scaler
        assert scaler is not None
        assert scaler.get_scale() == scale


def test_patience_is_how_many_validations_may_disappoint(assembled, tmp_path):
    """On labels without any signal the second validation or a later one is the best, and training goes on as told."""
    stopped = {}
    for patience in (1, 3):
        assembly = assembled(
            f"early_stopping.patience={patience}", "early_stopping.smoothing=0", "train.max_epochs=40",
            "batch_size=64", "data.synthetic.signal=0", "train.tensorboard=false",
        )  # fmt: skip
        result = run_fit(assembly, tmp_path / f"{patience}")
        assert result.reason == "early_stopping"
        ranks = [record.rank_ic for record in result.history]
        best = ranks.index(max(ranks))
        assert len(ranks) == best + 1 + patience
        stopped[patience] = len(ranks)
    assert stopped[1] < stopped[3]


def run_fit(assembly: Assembly, folder):
    with RunFolder(folder) as opened:
        return fit(
            build_model(assembly), assembly, settings(assembly), opened, Console(file=io.StringIO()), StopSignals()
        )
