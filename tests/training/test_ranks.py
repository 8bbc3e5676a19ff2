"""Steps, scores and trainings of several ranks against those of one."""

import threading
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from atft_gat_fan.config.plan import EmaPlan, ExecutorPlan
from atft_gat_fan.errors import AtftError, ConfigError, InterruptedRunError, MemoryLimitError
from atft_gat_fan.signals import StopRequested, StopSignals
from atft_gat_fan.training.executor import make_executor
from atft_gat_fan.training.gradient_sum import GradientSum
from atft_gat_fan.training.layout import Layout
from atft_gat_fan.training.loop import fit
from atft_gat_fan.training.objective import Objective
from atft_gat_fan.training.optim import build_optimizer, optimizer_tensors
from atft_gat_fan.training.ranks import Ranks, Trouble
from atft_gat_fan.training.run_folder import RunFolder
from atft_gat_fan.training.runtime import make_runtime
from atft_gat_fan.training.shares import step_share, whole_blocks
from atft_gat_fan.training.step import TrainStep, UpdateLostError
from tests.training.thread_ranks import on_ranks

CPU = torch.device("cpu")
NETWORK = {"dropout": 0.3, "freq_dropout_p": 0.5}
STEP = [(10, 3), (24, 5)]


@pytest.fixture
def one_step(make_network, make_settings, market):
    """Trains one step of `blocks` on each of `size` ranks: report, gradients and what it left, or what was raised."""

    def run(size, blocks=STEP, *, network=NETWORK, hurt=None, applied=None, executor="plain", **settings):
        settings = make_settings(executor=ExecutorPlan(executor), **settings)
        told, models = {}, [make_network(**network).train() for _ in range(size)]

        def on(ranks):
            model = models[ranks.rank]
            optimizer = build_optimizer(model, settings)
            hurts = (hurt or {}).get(ranks.rank, lambda: None)
            step = TrainStep(
                make_runtime(settings),
                model,
                optimizer,
                Objective(settings, CPU),
                clip_norm=settings.clip_norm,
                seed=settings.seed,
                applied=(applied or {}).get(ranks.rank, lambda: None),
                poll=hurts,
                layout=Layout(ranks),
            )
            told[ranks.rank] = []
            runs = make_executor(settings, step, on_relief=lambda relief, why: told[ranks.rank].append(relief))
            before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
            parts = step_share(blocks, ranks.rank, ranks.size, divisible=not model.spec.blockwise)
            outcome = SimpleNamespace(error=None, report=None, told=told[ranks.rank])
            try:
                outcome.report = runs.train([part.of(market.batch(part.first, part.count)) for part in parts], 3)
            except (StopRequested, MemoryLimitError, UpdateLostError) as error:
                outcome.error = type(error)
            outcome.unchanged = all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
            outcome.gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
            outcome.state = {**model.state_dict(), **optimizer_tensors(optimizer, model)}
            return outcome

        outcomes = on_ranks(size, on)
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome
        return outcomes

    return run


def assert_same_step(ranks, alone):
    """Gradients within 1e-6 of one device's, and every rank with the bits of the first."""
    scale = max(float(gradient.abs().max()) for gradient in alone.gradients.values())
    for outcome in ranks:
        assert outcome.report == ranks[0].report
        assert outcome.gradients.keys() == alone.gradients.keys()
        assert all(torch.equal(tensor, ranks[0].state[name]) for name, tensor in outcome.state.items())
        for name, gradient in alone.gradients.items():
            torch.testing.assert_close(outcome.gradients[name], gradient, rtol=1e-6, atol=1e-6 * scale, msg=name)
    assert ranks[0].report.loss == pytest.approx(alone.report.loss, rel=1e-6)
    assert ranks[0].report.loss_by_horizon == pytest.approx(alone.report.loss_by_horizon, rel=1e-6)
    assert ranks[0].report.samples == alone.report.samples
    assert ranks[0].report.outcome == alone.report.outcome == "applied"


@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("settings", [{}, {"label_transform": "rank", "huber_deltas": (0.5, 0.5)}], ids=str)
def test_a_step_of_several_ranks_is_the_step_of_one(one_step, market, size, settings):
    """Dropout is on, blocks are divided in the middle, and unknown labels spread unevenly over the shares."""
    market.labels[24:27, :, 1] = torch.nan
    (alone,) = one_step(1, clip_norm=None, **settings)
    assert_same_step(one_step(size, clip_norm=None, **settings), alone)


@pytest.mark.parametrize("size", [2, 3])
def test_blocks_that_the_lstm_runs_over_as_one_are_trained_whole(one_step, size):
    network = {"dropout": 0.3, "fan_top_k": 0, "blockwise": True}
    (alone,) = one_step(1, clip_norm=None, network=network)
    assert_same_step(one_step(size, clip_norm=None, network=network), alone)


def test_clipping_sees_the_norm_of_the_whole_step(one_step):
    (alone,) = one_step(1, clip_norm=1e-4)
    ranks = one_step(2, clip_norm=1e-4)
    assert ranks[0].report.grad_norm == pytest.approx(alone.report.grad_norm, rel=1e-6)
    assert_same_step(ranks, alone)


def test_a_rank_without_days_or_labels_takes_part(one_step, market):
    (alone,) = one_step(1, [(10, 2)])
    assert_same_step(one_step(3, [(10, 2)]), alone)
    market.labels[10:14] = torch.nan
    (alone,) = one_step(1, [(10, 8)])
    assert_same_step(one_step(2, [(10, 8)]), alone)
    market.labels[10:18] = torch.nan
    for outcome in one_step(2, [(10, 8)]):
        assert outcome.report.outcome == "no_labels"
        assert outcome.unchanged


def test_what_is_not_finite_on_one_rank_is_skipped_by_all(one_step, market):
    market.features[28, 3, 0] = torch.inf
    for outcome in one_step(2):
        assert outcome.report.outcome == "non_finite"
        assert outcome.unchanged
        assert not outcome.gradients


def raises(error, at):
    """Raises it the `at`-th time it is called, and no more."""
    left = [at]

    def call():
        left[0] -= 1
        if left[0] == 0:
            raise error

    return call


@pytest.mark.parametrize("at", [1, 2, 3], ids=["before the counts", "before a forward", "before a backward"])
def test_a_stop_request_of_one_rank_ends_the_step_of_all(one_step, at):
    for outcome in one_step(3, hurt={1: raises(StopRequested(), at)}):
        assert outcome.error is StopRequested
        assert outcome.unchanged
        assert not outcome.gradients


def test_memory_that_runs_out_on_one_rank_fails_all_where_nothing_is_done_about_it(one_step):
    for outcome in one_step(2, hurt={1: raises(MemoryError(), 3)}):
        assert outcome.error is MemoryLimitError
        assert outcome.unchanged


def test_memory_that_runs_out_on_one_rank_is_relieved_on_all(one_step):
    def runs_out_twice():
        count = iter(range(100))

        def call():
            if next(count) in (2, 5):
                raise MemoryError

        return call

    (alone,) = one_step(1, clip_norm=None)
    ranks = one_step(2, hurt={1: runs_out_twice()}, executor="robust", clip_norm=None)
    assert ranks[0].told == ranks[1].told
    assert [relief.days for relief in ranks[0].told] == [None, 2], "half of the longest piece of any rank"
    assert_same_step(ranks, alone)


def test_an_update_that_one_rank_lost_is_lost_to_all(one_step):
    ranks = one_step(2, applied={1: raises(MemoryError(), 1)}, executor="robust")
    assert [outcome.error for outcome in ranks] == [UpdateLostError] * 2
    assert ranks[0].told == ranks[1].told
    assert ranks[0].told[-1].one_by_one


def test_a_parameter_that_no_rank_uses_has_no_gradient(make_network):
    models = [make_network(), make_network()]

    def summed(ranks):
        model = models[ranks.rank]
        used, other, *_ = model.parameters()
        if ranks.rank == 1:
            used.grad = torch.ones_like(used)
        loss = GradientSum(ranks, model, CPU)((torch.tensor(1.0), torch.ones(2)))[0]
        return float(loss), float(used.grad.sum()) / used.numel(), other.grad

    assert on_ranks(2, summed) == [(2.0, 1.0, None)] * 2


def test_work_together_is_done_on_all_or_on_none():
    def both(ranks):
        return ranks.together(raises(MemoryError("no room"), 1) if ranks.rank == 1 else lambda: ranks.rank)

    first, second = on_ranks(2, both)
    assert isinstance(first, MemoryError)
    assert str(first) == "memory ran out on another rank"
    assert str(second) == "no room"
    assert on_ranks(2, lambda ranks: ranks.together(lambda: ranks.rank)) == [0, 1]


def test_alone_there_is_nobody_to_ask():
    alone, values = Ranks(), torch.ones(2)
    assert alone.sum(values) is values
    assert alone.gather("x") == ["x"]
    assert list(alone.rounds("ab")) == [["a"], ["b"]]
    assert [alone.any(flag) for flag in (True, False)] == [alone.every(flag) for flag in (True, False)] == [True, False]
    error = StopRequested()
    with pytest.raises(StopRequested) as caught:
        alone.together(raises(error, 1))
    assert caught.value is error
    assert Trouble(ran_out=False).signs != Trouble(ran_out=True).signs


def test_rounds_go_on_until_no_rank_has_an_item_left():
    assert on_ranks(3, lambda ranks: list(ranks.rounds(range(ranks.rank)))) == [
        [[], []],
        [[0], []],
        [[0], [1]],
    ]


@pytest.mark.parametrize("executor", ["plain", "robust"])
@pytest.mark.parametrize("size", [2, 3, 5])
def test_a_validation_has_the_bits_of_one_rank(make_network, make_settings, make_market, size, executor):
    """4 blocks: fewer than five ranks."""
    settings, models = make_settings(executor=ExecutorPlan(executor)), [make_network() for _ in range(size)]

    def scores(ranks):
        market, model = make_market(), models[ranks.rank]
        step = TrainStep(
            make_runtime(settings),
            model,
            build_optimizer(model, settings),
            Objective(settings, CPU),
            clip_norm=None,
            seed=0,
            layout=Layout(ranks),
        )
        parts = whole_blocks(market.valid_blocks(), ranks.rank, ranks.size)
        return make_executor(settings, step).score(model, [market.batch(part.first, part.count) for part in parts])

    assert on_ranks(size, scores) == [scores(Ranks())] * size


class Training:
    """Trainings of several ranks in one folder."""

    def __init__(self, folder, make_network, make_settings, make_market, console):
        self.folder, self.network, self.settings, self.market = folder, make_network, make_settings, make_market
        self.console = console

    def __call__(self, size, change=lambda rank, parts: None, signals=None, **settings):
        values = {"max_epochs": 2, "ema": EmaPlan(0.9), **settings}
        # Not in the threads: initial weights are drawn from the one generator of the process.
        all_parts = [
            SimpleNamespace(model=self.network(), market=self.market(), settings=self.settings(**values))
            for _ in range(size)
        ]
        for rank, parts in enumerate(all_parts):
            change(rank, parts)

        def on(ranks):
            parts = all_parts[ranks.rank]
            heard = (signals or {}).get(ranks.rank) or StopSignals()
            with RunFolder(self.folder, hold=ranks.first) as folder:
                return fit(parts.model, parts.market, parts.settings, folder, self.console, heard, ranks)

        return on_ranks(size, on)

    @property
    def checkpoints(self):
        return sorted(path.name for path in self.folder.glob("checkpoints/step_*"))


@pytest.fixture
def training(tmp_path, make_network, make_settings, make_market, console):
    return Training(tmp_path / "run", make_network, make_settings, make_market, console)


def weights(result):
    return {**result.model.state_dict(), **{f"raw.{name}": value for name, value in result.raw_model_state.items()}}


def test_a_training_says_the_same_on_every_rank_and_only_the_first_writes(training):
    first, second = training(2)
    assert replace(
        first, model=None, raw_model_state=None, seconds=0, samples_per_second=0, peak_rss_bytes=0
    ) == replace(second, model=None, raw_model_state=None, seconds=0, samples_per_second=0, peak_rss_bytes=0)
    assert all(torch.equal(weights(second)[name], tensor) for name, tensor in weights(first).items())
    events = (training.folder / "events.jsonl").read_text()
    assert events.count('"event": "start"') == 1
    assert '"ranks": 2' in events


@pytest.mark.parametrize("what", ["configuration", "data", "initial weights", "distributed.strategy"])
def test_ranks_that_were_started_differently_refuse_to_train(training, make_network, what):
    def change(rank, parts):
        if rank == 1 and what == "initial weights":
            parts.model = make_network(seed=1)
        elif rank == 1:
            other = {
                "configuration": {"digest": "x"},
                "data": {"data": "x"},
                "distributed.strategy": {"sharded": True},
            }
            parts.settings = replace(parts.settings, **other[what])

    for error in training(2, change):
        assert isinstance(error, ConfigError)
        assert f"rank 1: {what})" in str(error)
    assert not training.checkpoints


def test_a_stop_request_of_one_rank_is_saved_once_and_ends_all_with_its_code(training):
    signals = StopSignals()

    def change(rank, parts):
        if rank == 1:
            asked = iter(range(100))
            parts.market.after_batch = lambda: signals.hear(15) if next(asked) == 4 else None

    for error in training(2, change, signals={1: signals}):
        assert isinstance(error, InterruptedRunError)
        assert error.exit_code == 143
        assert "by SIGTERM after step 4" in str(error)
    assert training.checkpoints[-1].startswith("step_00000004")


def test_weights_that_drift_apart_are_not_saved(training):
    def change(rank, parts):
        if rank == 1:
            asked = iter(range(100))
            spoil = parts.model.state_dict()
            parts.market.after_batch = lambda: next(iter(spoil.values())).add_(1e-6) if next(asked) == 4 else None

    errors = training(2, change)
    assert all(isinstance(error, AtftError) and "others on rank 1" in str(error) for error in errors), errors
    assert len(training.checkpoints) == 1, "the one from before the first step"


def test_checkpoints_by_the_clock_are_due_when_rank_0_says_so(training):
    first, second = training(2, max_epochs=1, checkpoint_every="1m")
    assert first.steps == second.steps == 10
    assert threading.active_count() < 20
