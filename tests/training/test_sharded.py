"""Steps and trainings of ranks that divide the weights among them, against those of one process that has them whole."""

import math
import time
from types import SimpleNamespace

import pytest
import torch
from torch.distributed.tensor import DTensor

from atft_gat_fan.config.plan import EmaPlan, ExecutorPlan
from atft_gat_fan.signals import StopRequested
from atft_gat_fan.training import sharded
from atft_gat_fan.training.executor import make_executor
from atft_gat_fan.training.layout import make_layout
from atft_gat_fan.training.objective import Objective
from atft_gat_fan.training.optim import build_optimizer, optimizer_tensors
from atft_gat_fan.training.runtime import Runtime, make_runtime
from atft_gat_fan.training.shares import step_share
from atft_gat_fan.training.step import TrainStep, UpdateLostError
from atft_gat_fan.training.weights import Weights
from tests.training.process_ranks import on_processes, values

CPU = torch.device("cpu")
NETWORK = {"dropout": 0.3, "freq_dropout_p": 0.5}
STEP = [(10, 3), (24, 5)]
AT_ONCE = 10.0
"""Seconds in which ranks end that do not have to wait for the time-out."""


class Bench:
    """One rank's part of a training, stepped by hand, its weights divided where there are several ranks."""

    def __init__(self, ranks, model, market, settings, *, poll=lambda: None, applied=lambda: None, scaler=None):
        self.ranks, self.model, self.market = ranks, model.train(), market
        self.layout = make_layout(ranks, CPU, sharded=not ranks.alone)
        self.weights = Weights(model, settings.ema, self.layout)
        self.optimizer = build_optimizer(model, settings)
        runtime, self.told = make_runtime(settings), []

        def stepped():
            applied()
            self.weights.stepped()

        step = TrainStep(
            Runtime(runtime.fabric, scaler),
            model,
            self.optimizer,
            Objective(settings, CPU),
            clip_norm=settings.clip_norm,
            seed=settings.seed,
            applied=stepped,
            poll=poll,
            layout=self.layout,
        )
        self.executor = make_executor(
            settings, step, ema=self.weights.ema, on_relief=lambda relief, why: self.told.append(relief)
        )

    def step(self, number, blocks=STEP):
        parts = step_share(blocks, self.ranks.rank, self.ranks.size, divisible=not self.model.spec.blockwise)
        return self.executor.train([part.of(self.market.batch(part.first, part.count)) for part in parts], number)

    def gradients(self):
        return {name: p.grad for name, p in self.model.named_parameters() if p.grad is not None}

    def state(self):
        average = {} if self.weights.ema is None else self.weights.ema.tensors()
        return {**self.model.state_dict(), **optimizer_tensors(self.optimizer, self.model), **average}

    def seen(self, reports=()):
        """What a test compares: everything whole."""
        whole = self.layout.whole
        return SimpleNamespace(
            reports=list(reports), gradients=whole(self.gradients()), state=dict(whole(self.state())), told=self.told
        )


@pytest.fixture
def on_ranks(make_network, make_settings, make_market, tmp_path):
    """What `work` makes of a Bench on each of `size` ranks; `hurt` by rank changes how that one is made."""

    def run(size, work, *, network=NETWORK, change=lambda market: None, hurt=None, scaled=False, **settings):
        values = {"ema": EmaPlan(0.9), **settings}

        def on(ranks):
            torch.set_num_threads(1)
            market = make_market()
            change(market)
            scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10) if scaled else None
            made = Bench(
                ranks,
                make_network(**network),
                market,
                make_settings(**values),
                scaler=scaler,
                **(hurt or {}).get(ranks.rank, {}),
            )
            return work(made)

        return on_processes(size, on, tmp_path / "ranks")

    return run


def one_step(bench, blocks=STEP):
    return bench.seen([bench.step(3, blocks)])


def two_steps(bench):
    return bench.seen([bench.step(3), bench.step(4)])


def assert_close(found, expected, relative=1e-6):
    assert found.keys() == expected.keys()
    scale = max(float(tensor.abs().max()) for tensor in expected.values())
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=relative, atol=relative * scale, msg=name)


def assert_same_step(ranks, alone):
    for seen in ranks:
        assert seen.reports == ranks[0].reports
        for report, expected in zip(seen.reports, alone.reports, strict=True):
            assert report.outcome == expected.outcome == "applied"
            assert report.loss == pytest.approx(expected.loss, rel=1e-6)
            assert report.loss_by_horizon == pytest.approx(expected.loss_by_horizon, rel=1e-6)
            assert report.grad_norm == pytest.approx(expected.grad_norm, rel=1e-6)
            assert report.grad_norm_by_group == pytest.approx(expected.grad_norm_by_group, rel=1e-5)
            assert report.samples == expected.samples
        assert_close(seen.gradients, alone.gradients)


@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("clip_norm", [None, 1e-4])
def test_a_step_on_divided_weights_is_the_step_of_one_process(on_ranks, size, clip_norm):
    """Dropout is on, blocks are divided in the middle, unknown labels spread unevenly over the shares."""

    def spoil(market):
        market.labels[24:27, :, 1] = torch.nan

    (alone,) = values(on_ranks(1, one_step, change=spoil, clip_norm=clip_norm))
    assert_same_step(values(on_ranks(size, one_step, change=spoil, clip_norm=clip_norm)), alone)


def test_a_rank_without_days_takes_part(on_ranks):
    (alone,) = values(on_ranks(1, lambda bench: one_step(bench, [(10, 2)])))
    assert_same_step(values(on_ranks(3, lambda bench: one_step(bench, [(10, 2)]))), alone)


def test_weights_moments_and_average_of_a_second_step_are_those_of_one_process(on_ranks):
    """Of AdamW, with its noise where gradients are near nothing: within a twentieth of the learning rate."""
    (alone,) = values(on_ranks(1, two_steps))
    for seen in values(on_ranks(2, two_steps)):
        assert seen.state.keys() == alone.state.keys()
        for name, tensor in alone.state.items():
            torch.testing.assert_close(seen.state[name], tensor, rtol=0, atol=0.05 * 0.01, msg=name)
        assert int(seen.state["n_averaged"]) == 3
        moments = [{n: t for n, t in each.items() if n.startswith("exp_avg.")} for each in (seen.state, alone.state)]
        assert_close(*moments, relative=1e-4)


@pytest.mark.parametrize("size", [2, 3])
def test_between_steps_a_rank_has_its_part_of_everything(on_ranks, size):
    def sizes(bench):
        bench.step(3)
        own = {**bench.state(), **{f"grad.{name}": tensor for name, tensor in bench.gradients().items()}}
        divided = {name: tensor for name, tensor in own.items() if isinstance(tensor, DTensor)}
        others = sum(tensor.numel() for name, tensor in own.items() if name not in divided)
        parameters = [(p.numel(), p.to_local().untyped_storage().nbytes()) for p in bench.model.parameters()]
        return {name: (tensor.to_local().numel(), tensor.numel()) for name, tensor in divided.items()}, others, parameters

    by_rank = values(on_ranks(size, sizes))
    for kind in ("exp_avg.", "exp_avg_sq.", "module.", "grad.", ""):
        parts = [[part for name, part in own.items() if name.startswith(kind)] for own, _, _ in by_rank]
        wholes = {sum(whole for _, whole in part) for part in parts}
        held = [sum(own for own, _ in part) for part in parts]
        (whole,) = wholes
        assert sum(held) == whole > 0
        assert max(held) < whole / size * 1.2
    for _, others, parameters in by_rank:
        assert others == len(parameters) + 1, "the counts of steps"
        assert sum(held for _, held in parameters) < sum(whole for whole, _ in parameters) * 4 / size * 1.2


def test_a_parameter_that_no_rank_uses_has_no_gradient(on_ranks):
    def unused(bench):
        def add(model):
            with bench.layout.gathered(model):
                used, other, *_ = model.parameters()
                if bench.ranks.rank:
                    used.grad = torch.ones_like(used)
                bench.executor._computing.train_step._sum((torch.tensor(1.0), torch.ones(2)))
            used, other, *_ = model.parameters()
            return float(used.grad.full_tensor().sum()) / used.numel(), other.grad

        return add(bench.model)

    assert values(on_ranks(2, unused)) == [(1.0, None)] * 2


@pytest.mark.parametrize("scaled", [False, True], ids=["unscaled", "with a loss scale"])
def test_what_is_not_finite_on_one_rank_is_skipped_by_all(on_ranks, scaled):
    def spoil(market):
        market.features[28, 3, 0] = torch.inf

    def skipped(bench):
        before = {name: tensor.clone() for name, tensor in bench.layout.whole(bench.state()).items()}
        report = bench.step(3)
        after = bench.layout.whole(bench.state())
        return report.outcome, bench.gradients(), all(torch.equal(after[name], before[name]) for name in before)

    for outcome, gradients, unchanged in values(on_ranks(2, skipped, change=spoil, scaled=scaled)):
        assert outcome == "non_finite"
        assert not gradients
        assert unchanged


def test_validation_and_predictions_have_the_bits_of_one_process(on_ranks):
    def scored(bench):
        batches = [bench.market.batch(*block) for block in bench.market.valid_blocks()[bench.ranks.rank :: bench.ranks.size]]
        scores = bench.executor.score(bench.weights.evaluated, batches)
        prediction = bench.executor.predict(bench.weights.evaluated, bench.market.batch(46, 4))
        return scores, prediction, bench.weights.ema.distance(bench.model)

    def after_a_step(bench):
        before = scored(bench)
        bench.step(3)
        return before, bench.weights.ema.distance(bench.model)

    ((alone, distance),) = values(on_ranks(1, after_a_step))
    for before, apart in values(on_ranks(2, after_a_step)):
        assert before[0] == alone[0]
        assert torch.equal(before[1], alone[1])
        assert before[2] == alone[2] == 0.0
        assert apart == pytest.approx(distance, rel=1e-3)
        assert apart > 0


def raises(error, *at):
    """Raises it the times that it is called that are told, counted from 1."""
    count = [0]

    def call():
        count[0] += 1
        if count[0] in at:
            raise error

    return call


def failed(bench):
    before = {name: tensor.clone() for name, tensor in bench.layout.whole(bench.state()).items()}
    try:
        bench.step(3)
    except (StopRequested, UpdateLostError) as error:
        after = bench.layout.whole(bench.state())
        return type(error), bench.gradients(), all(torch.equal(after[name], before[name]) for name in before)
    raise AssertionError("the step came through")


@pytest.mark.parametrize("at", [1, 2, 3], ids=["before the counts", "before a forward", "before a backward"])
def test_a_stop_request_of_one_rank_ends_the_step_of_all(on_ranks, at):
    ended = values(on_ranks(2, failed, hurt={1: {"poll": raises(StopRequested(), at)}}))
    assert ended == [(StopRequested, {}, True)] * 2


def test_memory_that_runs_out_in_a_pass_of_one_rank_is_relieved_on_all(on_ranks):
    (alone,) = values(on_ranks(1, one_step))
    settings = {"executor": ExecutorPlan("robust"), "hurt": {1: {"poll": raises(MemoryError(), 3, 6)}}}
    ranks = values(on_ranks(2, one_step, **settings))
    assert ranks[0].told == ranks[1].told
    assert [relief.days for relief in ranks[0].told] == [None, 2]
    assert_same_step(ranks, alone)


def test_an_update_that_one_rank_lost_is_lost_to_all(on_ranks):
    def lost(bench):
        try:
            bench.step(3)
        except UpdateLostError:
            return bench.told[-1].one_by_one

    settings = {"executor": ExecutorPlan("robust"), "hurt": {1: {"applied": raises(MemoryError(), 1)}}}
    assert values(on_ranks(2, lost, **settings)) == [True, True]


@pytest.mark.parametrize("where", ["gather", "sum_gradients"])
def test_memory_that_runs_out_between_the_ranks_ends_all_at_once(on_ranks, monkeypatch, where):
    """One of them is in an exchange that the other never comes to; recovery is on, and cannot be had."""

    def no_room(self, *arguments):
        raise torch.OutOfMemoryError("tried to allocate more than there is")

    def hurt(bench):
        if bench.ranks.rank == 1:
            monkeypatch.setattr(sharded._Shards, where, no_room)
        bench.step(3)

    began = time.monotonic()
    first, second = on_ranks(2, hurt, executor=ExecutorPlan("robust"))
    assert time.monotonic() - began < AT_ONCE
    assert second.error.startswith("MemoryLimitError: expected each rank to hold weights and gradients")
    assert first.error.startswith("RankError: ended with rank 1 of 2, which says: expected each rank to hold")


def test_a_loss_scale_is_that_of_one_process(on_ranks):
    def scales(bench):
        reports = [bench.step(3), bench.step(4)]
        scaler = bench.executor._computing.train_step._scaler
        return reports, scaler.get_scale(), bench.seen().gradients

    assert math.isfinite(values(on_ranks(1, scales, scaled=True))[0][1])
