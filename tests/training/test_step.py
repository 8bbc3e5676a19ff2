import math
from dataclasses import replace

import pytest
import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins import MixedPrecision

from atft_gat_fan.models.roles import ParameterRole
from atft_gat_fan.training.objective import Objective
from atft_gat_fan.training.optim import build_optimizer, optimizer_tensors
from atft_gat_fan.training.runtime import Runtime, make_runtime
from atft_gat_fan.training.step import TrainStep
from atft_gat_fan.types import Forecast


class Bench:
    """A model with its optimizer, ready to step."""

    def __init__(self, model, settings, runtime=None, **options):
        self.model, self.runtime = model.train(), runtime or make_runtime(settings)
        self.optimizer = build_optimizer(model, settings)
        objective = Objective(settings, torch.device("cpu"))
        self.step = TrainStep(
            self.runtime, model, self.optimizer, objective, clip_norm=settings.clip_norm, seed=settings.seed, **options
        )

    def tensors(self):
        state = {**self.model.state_dict(), **optimizer_tensors(self.optimizer, self.model)}
        return {name: tensor.clone() for name, tensor in state.items()}

    def gradients(self):
        return {name: p.grad.clone() for name, p in self.model.named_parameters() if p.grad is not None}


@pytest.fixture
def bench(make_network, make_settings):
    return lambda network={}, **settings: Bench(make_network(**network), make_settings(**settings))


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_micro_batches_may_take_turns_in_one_buffer(bench, market, make_network, make_settings, checkpointing):
    """As online normalisation has it: the features of a batch are gone when the next one is put on the device."""
    buffer = torch.empty(6 + 5 - 1, market.num_stocks, 4)
    settings = make_settings()

    def to_device(batch, device):
        return replace(batch.to(device), features=buffer[: len(batch.features)].copy_(batch.features))

    plain = bench({"gradient_checkpointing": checkpointing})
    taking_turns = Bench(make_network(gradient_checkpointing=checkpointing), settings, to_device=to_device)
    for step in range(2):
        batches = [market.batch(10 + 9 * step, 2), market.batch(12 + 9 * step, 6)]
        assert taking_turns.step(batches, step) == plain.step(batches, step)
    assert equal(taking_turns.tensors(), plain.tensors())


@pytest.mark.parametrize("transform", ["raw", "rank"])
def test_half_batches_add_up_to_the_whole(bench, market, transform):
    """Dropout is on: it must not depend on the split. Unknown labels are spread unevenly over the halves."""
    market.labels[10:12, :, 1] = torch.nan
    whole = bench(label_transform=transform, clip_norm=None)
    halves = bench(label_transform=transform, clip_norm=None)
    one = whole.step([market.batch(10, 8)], step=3)
    two = halves.step([market.batch(10, 2), market.batch(12, 6)], step=3)
    assert two.loss == pytest.approx(one.loss, rel=1e-6)
    assert two.loss_by_horizon == pytest.approx(one.loss_by_horizon, rel=1e-6)
    assert two.samples == one.samples == int(market.present[10:18].sum())
    gradients, expected = halves.gradients(), whole.gradients()
    scale = max(float(g.abs().max()) for g in expected.values())
    for name, gradient in expected.items():
        torch.testing.assert_close(gradients[name], gradient, rtol=1e-6, atol=1e-6 * scale, msg=name)


def test_the_loss_is_the_weighted_mean_over_labelled_days(bench, market):
    quiet = bench({"dropout": 0.0}, horizon_weights=(1.0, 0.5))
    batch = market.batch(10, 4)
    error = (quiet.model.forecast(batch).point - batch.labels).detach().square()
    by_horizon = error.nanmean(dim=1).nanmean(dim=0)
    report = quiet.step([batch], step=0)
    assert report.loss_by_horizon == pytest.approx(by_horizon.tolist(), rel=1e-5)
    assert report.loss == pytest.approx(float(by_horizon[0] + 0.5 * by_horizon[1]), rel=1e-5)


def test_quantiles_add_the_pinball_loss_with_its_weight(bench, market):
    def loss(weight):
        network = {"dropout": 0.0, "quantiles": (0.1, 0.5, 0.9)}
        return bench(network, quantiles=(0.1, 0.5, 0.9), quantile_weight=weight).step([market.batch(10, 4)], 0).loss

    assert loss(2.0) - loss(0.0) == pytest.approx(2 * (loss(1.0) - loss(0.0)), rel=1e-4)
    assert loss(1.0) > loss(0.0)


def test_dropout_is_a_function_of_seed_and_step(bench, market):
    losses = [
        bench(seed=seed).step([market.batch(10, 4)], step).loss for seed, step in ((1, 0), (1, 0), (1, 1), (2, 0))
    ]
    assert losses[0] == losses[1]
    assert len(set(losses)) == 3


@pytest.mark.parametrize("poison", [math.nan, math.inf])
def test_non_finite_gradients_change_nothing(bench, market, poison):
    bench = bench()
    bench.step([market.batch(20, 4)], step=0)
    before = bench.tensors()
    bad = market.batch(10, 4)
    features = bad.features.clone()
    features[-1, 3, 0] = poison
    report = bench.step([market.batch(14, 4), replace(bad, features=features)], step=1)
    assert report.outcome == "non_finite"
    assert equal(bench.tensors(), before)
    assert not bench.gradients()
    assert bench.step([market.batch(20, 4)], step=2).outcome == "applied"
    assert not equal(bench.tensors(), before)


def test_days_without_labels_change_nothing(bench, market):
    bench = bench()
    bench.step([market.batch(20, 4)], step=0)
    before = bench.tensors()
    batch = market.batch(10, 4)
    report = bench.step([replace(batch, labels=torch.full_like(batch.labels, torch.nan))], step=1)
    assert report.outcome == "no_labels"
    assert equal(bench.tensors(), before)


@pytest.mark.parametrize("clip_norm", [None, 1e-4])
def test_gradient_norms_by_layer_type_are_those_before_clipping(bench, market, clip_norm):
    free = bench(clip_norm=None)
    report = bench(clip_norm=clip_norm).step([market.batch(10, 4)], step=0)
    free.step([market.batch(10, 4)], step=0)
    roles = free.model.parameter_roles()
    assert report.grad_norm_by_group.keys() == {"embedding", "temporal", "graph", "head"}
    for group, norm in report.grad_norm_by_group.items():
        parts = [gradient.flatten() for name, gradient in free.gradients().items() if roles[name].group == group]
        assert norm == pytest.approx(float(torch.cat(parts).norm()), rel=1e-4)
    assert math.hypot(*report.grad_norm_by_group.values()) == pytest.approx(report.grad_norm, rel=1e-6)


def test_huber_deltas_change_the_loss_of_their_horizon(bench, market):
    def losses(deltas):
        return bench(huber_deltas=deltas).step([market.batch(10, 4)], step=0).loss_by_horizon

    squared = losses(None)
    assert losses((1.0, 1.0)) == pytest.approx([0.5 * loss for loss in squared], rel=1e-6)
    first_linear = losses((0.001, 1.0))
    assert first_linear[0] < 0.2 * squared[0]
    assert first_linear[1] == pytest.approx(0.5 * squared[1], rel=1e-6)


def test_adam_does_not_swallow_the_small_gradients_behind_a_small_head(bench, market):
    """Raw daily labels: next to a gradient of its own size, eps would decide the step."""
    small = bench({"dropout": 0.0, "head_init_std": 0.01, "head_layer_scale": 0.1})
    market.labels.mul_(0.5)  # standard deviation 0.01
    small.step([market.batch(10, 8)], step=0)
    sizes = torch.cat([gradient.flatten().abs() for gradient in small.gradients().values()])
    moving = sizes[sizes > 0]
    eps = small.optimizer.defaults["eps"]
    assert float((moving < 10 * eps).float().mean()) < 0.01
    assert float((moving < 10 * 1e-8).float().mean()) > 0.2, "torch's default eps would have"
    assert len(moving) > 0.8 * len(sizes)


def test_clipping_limits_the_norm_and_keeps_the_direction(bench, market):
    free, clipped = bench(clip_norm=None), bench(clip_norm=1e-4)
    reports = [each.step([market.batch(10, 4)], step=0) for each in (free, clipped)]
    assert reports[0].grad_norm == reports[1].grad_norm > 1e-4
    gradients, limited = free.gradients(), clipped.gradients()
    norm = torch.stack([g.norm() for g in limited.values()]).norm()
    assert float(norm) == pytest.approx(1e-4, rel=1e-2)  # torch divides by norm + 1e-6
    factor = 1e-4 / (reports[0].grad_norm + 1e-6)
    for name in gradients:
        torch.testing.assert_close(limited[name], gradients[name] * factor, rtol=1e-5, atol=0)


def test_bf16_rounds_the_forward_pass_but_neither_weights_nor_labels(bench, market):
    exact, rounded = bench(amp="none"), bench(amp="bf16")
    reports = [each.step([market.batch(10, 4)], step=0) for each in (exact, rounded)]
    assert reports[0].loss != reports[1].loss
    assert reports[1].loss == pytest.approx(reports[0].loss, rel=0.05)
    assert {tensor.dtype for tensor in rounded.tensors().values()} == {torch.float32}


class Linear(torch.nn.Module):
    """fp16 needs a GPU for the real network, whose LSTM no CPU runs in fp16; a linear map it can run."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(4, 2))

    def parameter_roles(self):
        return {"weight": ParameterRole("head", decay=True)}

    def forecast(self, batch, key=None):
        point = batch.features[-batch.num_days :] @ self.weight
        return Forecast(point, None, batch.features, batch.features)


def fp16_bench(make_settings, init_scale):
    scaler = torch.amp.GradScaler("cpu", init_scale=init_scale)
    fabric = Fabric(accelerator="cpu", devices=1, plugins=MixedPrecision("16-mixed", "cpu", scaler))
    return Bench(Linear(), make_settings(), Runtime(fabric, scaler))


def test_fp16_overflow_lowers_the_scale_and_changes_nothing_else(make_settings, market):
    bench = fp16_bench(make_settings, init_scale=2.0**40)
    before = bench.tensors()
    assert bench.step([market.batch(10, 4)], step=0).outcome == "rescaled"
    assert equal(bench.tensors(), before)
    assert bench.runtime.scaler.get_scale() == 2.0**39
    outcomes = [bench.step([market.batch(10, 4)], step=0).outcome for _ in range(40)]
    first = outcomes.index("applied")
    assert set(outcomes[:first]) == {"rescaled"}
    assert set(outcomes[first:]) == {"applied"}


def test_fp16_nan_is_not_taken_for_overflow(make_settings, market):
    bench = fp16_bench(make_settings, init_scale=1024.0)
    batch = market.batch(10, 4)
    poisoned = replace(batch, features=torch.full_like(batch.features, torch.nan))
    assert bench.step([poisoned], step=0).outcome == "non_finite"


def test_fp16_norm_and_update_are_those_of_the_unscaled_gradient(make_settings, market):
    exact, half = Bench(Linear(), make_settings()), fp16_bench(make_settings, init_scale=1024.0)
    reports = [bench.step([market.batch(10, 4)], step=0) for bench in (exact, half)]
    assert reports[1].outcome == "applied"
    assert reports[1].grad_norm == pytest.approx(reports[0].grad_norm, rel=0.01)
    torch.testing.assert_close(half.model.weight, exact.model.weight, rtol=0, atol=1e-4)
