"""What happens when memory runs out, on a machine that counts what lives in it."""

import gc
import math
import weakref
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from atft_gat_fan.config.plan import EmaPlan, ExecutorPlan
from atft_gat_fan.errors import MemoryLimitError
from atft_gat_fan.models.onednn import use_onednn
from atft_gat_fan.training.executor import make_executor
from atft_gat_fan.training.objective import Objective
from atft_gat_fan.training.optim import build_optimizer, optimizer_tensors
from atft_gat_fan.training.relief import Relief
from atft_gat_fan.training.runtime import make_runtime
from atft_gat_fan.training.step import TrainStep, UpdateLostError
from atft_gat_fan.training.weights import Weights

NETWORK = {"dropout": 0.3, "freq_dropout_p": 0.5}


class Machine(TorchDispatchMode):
    """Has `size` bytes for new tensors, forward and backward: refuses those that do not fit beside the living ones."""

    def __init__(self, size=math.inf):
        super().__init__()
        self.size, self.used, self.peak, self.refused = size, 0, 0, 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        given = {storage(tensor).data_ptr() for tensor in tree_leaves((args, kwargs)) if isinstance(tensor, Tensor)}
        out = func(*args, **(kwargs or {}))
        new = {storage(tensor).data_ptr(): storage(tensor) for tensor in tree_leaves(out) if isinstance(tensor, Tensor)}
        for pointer, each in new.items():
            if pointer not in given:
                if self.used + each.nbytes() > self.size:
                    self.refused += 1
                    raise torch.OutOfMemoryError(f"out of memory: tried to allocate {each.nbytes()} bytes")
                self.used += each.nbytes()
                weakref.finalize(each, self.freed, each.nbytes())
        self.peak = max(self.peak, self.used)
        return out

    def freed(self, size):
        self.used -= size


def storage(tensor):
    return tensor.untyped_storage()


class Bench:
    """A training whose steps and scorings an executor runs."""

    def __init__(self, model, settings, poll=lambda: None, applied=lambda: None):
        self.model, self.runtime = model.train(), make_runtime(settings)
        self.optimizer = build_optimizer(model, settings)
        self.weights = Weights(model, settings.ema)

        def stepped():
            applied()
            self.weights.stepped()

        objective = Objective(settings, torch.device("cpu"))
        self.step = TrainStep(
            self.runtime,
            model,
            self.optimizer,
            objective,
            clip_norm=settings.clip_norm,
            seed=settings.seed,
            applied=stepped,
            poll=poll,
        )
        self.told = []
        self.executor = make_executor(
            settings, self.step, ema=self.weights.ema, on_relief=lambda *told: self.told.append(told)
        )

    def tensors(self):
        average = {} if self.weights.ema is None else self.weights.ema.tensors()
        state = {**self.model.state_dict(), **optimizer_tensors(self.optimizer, self.model), **average}
        return {name: tensor.clone() for name, tensor in state.items()}

    def gradients(self):
        return {name: p.grad.clone() for name, p in self.model.named_parameters() if p.grad is not None}


@pytest.fixture
def bench(make_network, make_settings):
    def make(kind="robust", network=NETWORK, poll=lambda: None, applied=lambda: None, allow_bf16=False, **settings):
        plan = ExecutorPlan(kind, allow_bf16)
        return Bench(make_network(**network), make_settings(executor=plan, **settings), poll, applied)

    return make


@pytest.fixture
def market(make_market):
    return make_market(num_stocks=80)


@pytest.fixture(autouse=True)
def onednn():
    """A training that gave it up has given it up for its process."""
    yield
    use_onednn(True)


def test_where_onednn_found_no_memory_the_step_is_done_without_it(bench, market):
    bench = bench()
    failed = []

    def fail_once(module, inputs):
        if not failed:
            failed.append(True)
            torch._C._set_mkldnn_enabled(False)  # as torch does by itself, with a warning, after a failed product

    bench.model.heads.register_forward_pre_hook(fail_once)
    bench.executor.train([market.batch(10, 4)], step=0)
    assert bench.executor.relief == Relief(freed=True, without_onednn=True)
    assert bench.told[0][1] == "oneDNN ran out of memory"
    assert not torch.backends.mkldnn.enabled


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def relative_difference(found, expected):
    """|found - expected| / |expected| over all tensors together, and the worst of one tensor's scale."""
    difference = torch.cat([(found[name] - expected[name]).flatten() for name in expected])
    return float(difference.norm() / torch.cat([each.flatten() for each in expected.values()]).norm())


RUNGS = [
    Relief(freed=True),
    Relief(freed=True, days=4),
    Relief(freed=True, days=3),
    Relief(freed=True, days=1),
    Relief(freed=True, days=1, stocks=32),
    Relief(freed=True, days=1, stocks=32, by_day=True),
    Relief(freed=True, days=1, stocks=32, by_day=True, queries=64),
    Relief(freed=True, days=2, queries=64),
    Relief(freed=True, without_onednn=True),
]


@pytest.mark.parametrize("relief", RUNGS, ids=str)
@pytest.mark.parametrize(
    "network", [NETWORK, {**NETWORK, "gradient_checkpointing": True}], ids=["plain", "checkpointing"]
)
def test_every_rung_has_the_gradients_of_the_whole_batch(bench, market, relief, network):
    """With dropout of values and of frequencies: every draw has to be the one of the whole batch."""
    whole, pieces = bench(network=network, clip_norm=None), bench(network=network, clip_norm=None)
    pieces.executor.restore(relief)
    batches = [market.batch(10, 8), market.batch(20, 3)]
    expected, found = whole.executor.train(batches, step=3), pieces.executor.train(batches, step=3)
    assert found.loss == pytest.approx(expected.loss, rel=1e-5)
    assert found.samples == expected.samples
    assert relative_difference(pieces.gradients(), whole.gradients()) < 1e-5
    if relief.stamp == "exact":
        assert equal(pieces.tensors(), whole.tensors())
    elif not relief.without_onednn:
        assert not equal(pieces.gradients(), whole.gradients()), "else nothing was done in pieces"


def test_a_batch_that_does_not_fit_is_done_in_pieces_as_if_they_had_been_from_the_start(bench, market):
    """Nothing of the failed attempts is left in weights, optimizer, average or random draws: the same bits."""
    surprised, prepared = bench(ema=EmaPlan(0.9)), bench(ema=EmaPlan(0.9))
    first, batch, last = market.batch(20, 8), market.batch(10, 8), market.batch(30, 8)
    for each in (surprised, prepared):
        each.executor.train([first], step=0)
    with Machine() as large:
        bench(ema=EmaPlan(0.9)).executor.train([batch], step=1)
    with Machine(large.peak // 3) as machine:
        surprised.executor.train([batch], step=1)
        refused = machine.refused
        surprised.executor.train([last], step=2)
    assert refused == machine.refused > 2, "it never climbs back by itself"
    relief = surprised.executor.relief
    assert relief.days is not None
    assert relief.stocks is None
    assert [told[0] for told in surprised.told][-1] == relief
    assert len(surprised.told) == refused
    assert "tried to allocate" in surprised.told[0][1]
    prepared.executor.restore(relief)
    for step, each in ((1, batch), (2, last)):
        prepared.executor.train([each], step)
    assert equal(surprised.tensors(), prepared.tensors())


@pytest.mark.parametrize("share", [0.8, 0.6])
def test_stocks_and_activations_follow_where_days_are_not_enough(bench, market, share):
    whole, small = bench(clip_norm=None), bench(clip_norm=None)
    with Machine() as large:
        bench().executor.train([market.batch(10, 1)], step=1)
    whole.executor.train([market.batch(10, 4)], step=1)
    with Machine(int(share * large.peak)) as machine:
        small.executor.train([market.batch(10, 4)], step=1)
    assert machine.refused
    assert small.executor.relief.stocks is not None
    assert relative_difference(small.gradients(), whole.gradients()) < 1e-5


def test_a_block_that_a_recurrence_runs_over_is_split_by_stocks_and_never_by_days(bench, market):
    """A piece of it would have seen fewer days before its own: other numbers, not the same in smaller pieces."""
    network = {"fan_top_k": 0, "blockwise": True, "same_day_skip": True, "dropout": 0.3}
    whole, small = bench(network=network, clip_norm=None), bench(network=network, clip_norm=None)
    with Machine() as large:
        whole.executor.train([market.batch(10, 8)], step=1)
    with Machine(int(0.75 * large.peak)) as machine:
        small.executor.train([market.batch(10, 8)], step=1)
    assert machine.refused
    assert small.executor.relief.stocks is not None
    assert small.executor.relief.days is None
    assert relative_difference(small.gradients(), whole.gradients()) < 1e-5


def test_nothing_holds_the_tensors_of_a_failed_attempt_when_it_is_done_again(bench, market):
    bench, seen, alive, failed = bench(), [], [], []
    bench.model.temporal.register_forward_hook(lambda module, inputs, output: seen.append(weakref.ref(output[0])))

    def failing_once(gradient):
        if not failed:
            failed.append(True)
            raise torch.OutOfMemoryError("out of memory in the backward pass")
        return gradient

    bench.model.variable_selection.output.weight.register_hook(failing_once)
    bench.model.temporal.register_forward_pre_hook(lambda module, inputs: alive.append([r() is not None for r in seen]))
    gc.disable()
    try:
        bench.executor.train([market.batch(10, 4)], step=0)
    finally:
        gc.enable()
    assert bench.executor.relief == Relief(freed=True)
    assert alive[-1] == [False]


@pytest.mark.parametrize("call", [1, 2, 3, 4])
def test_what_is_raised_while_polling_leaves_everything_as_it_was(bench, market, call):
    class StopError(Exception):
        pass

    calls = []

    def poll():
        calls.append(1)
        if len(calls) == call + 4:
            raise StopError

    bench = bench(poll=poll, ema=EmaPlan(0.9))
    two = [market.batch(10, 4), market.batch(20, 4)]
    bench.executor.train(two, step=0)
    assert len(calls) == 4, "before each forward and each backward pass, and never after"
    before = bench.tensors()
    with pytest.raises(StopError):
        bench.executor.train(two, step=1)
    assert equal(bench.tensors(), before)
    assert not bench.gradients()
    assert bench.executor.relief == Relief()


def test_scoring_polls_before_each_piece_and_lets_it_pass(bench, market):
    calls = []

    def poll():
        calls.append(1)
        if len(calls) == 3:
            raise KeyError("stop")

    bench = bench(poll=poll)
    bench.executor.restore(Relief(freed=True, days=2))
    with pytest.raises(KeyError):
        bench.executor.score(bench.model, [market.batch(46, 4), market.batch(50, 4)])
    assert bench.model.training
    assert all(parameter.grad is None for parameter in bench.model.parameters())


def test_errors_that_are_not_about_memory_pass_through(bench, market):
    wrong = market.batch(10, 4)
    wrong = replace(wrong, present=wrong.present, static=wrong.static, labels=wrong.labels[:, :5])
    with pytest.raises((RuntimeError, AssertionError, TypeError)) as error:
        bench().executor.train([wrong], step=0)
    assert not isinstance(error.value, torch.OutOfMemoryError)


class TestUpdate:
    """From clipping on, a step cannot be done again."""

    @staticmethod
    def failing(times):
        left = [None] * times

        def applied():
            if left:
                left.pop()
                raise MemoryError("in the average")

        return applied

    def test_the_loss_is_said_after_the_relief_has_grown(self, bench, market):
        bench = bench(applied=self.failing(2), ema=EmaPlan(0.9))
        for expected in (Relief(freed=True, one_by_one=True), Relief(freed=True, days=2, one_by_one=True)):
            with pytest.raises(UpdateLostError, match="in the average"):
                bench.executor.train([market.batch(10, 4)], step=0)
            assert bench.executor.relief == expected == bench.told[-1][0]
            assert not bench.gradients()
        assert bench.executor.train([market.batch(10, 4)], step=0).outcome == "applied"

    def test_off_it_is_the_end(self, bench, market):
        with pytest.raises(MemoryLimitError, match="in the average"):
            bench("plain", applied=self.failing(1)).executor.train([market.batch(10, 4)], step=0)

    def test_one_parameter_at_a_time_is_the_same_update(self, bench, market):
        together, one_by_one = bench(), bench()
        one_by_one.executor.restore(Relief(one_by_one=True))
        for each in (together, one_by_one):
            for step in range(3):
                each.executor.train([market.batch(10, 4)], step)
        found, expected = one_by_one.tensors(), together.tensors()
        for name, tensor in expected.items():
            torch.testing.assert_close(found[name], tensor, rtol=1e-6, atol=1e-8, msg=name)

    def test_one_parameter_at_a_time_needs_no_copy_of_the_weights(self, bench, market):
        def largest_need(one_by_one):
            running = bench()
            running.executor.restore(Relief(one_by_one=one_by_one))
            running.executor.train([market.batch(10, 1)], step=0)
            with Machine() as machine:
                running.optimizer.step()
            return machine.peak, sum(parameter.nbytes for parameter in running.model.parameters())

        together, weights = largest_need(False)
        alone, _ = largest_need(True)
        assert together > 0.5 * weights, "all of a group at once"
        assert alone < 0.5 * together

    def test_the_memory_of_the_optimizer_is_there_before_the_first_step(self, bench, market):
        bench = bench()
        before = {name: tensor.data_ptr() for name, tensor in optimizer_tensors(bench.optimizer, bench.model).items()}
        assert sum("exp_avg" in name for name in before) == 2 * len(list(bench.model.parameters()))
        bench.executor.train([market.batch(10, 4)], step=0)
        after = {name: tensor.data_ptr() for name, tensor in optimizer_tensors(bench.optimizer, bench.model).items()}
        assert after == before


class TestScoring:
    def test_a_batch_that_does_not_fit_is_scored_again_in_pieces(self, bench, market):
        whole, small = bench(), bench()
        batches = [market.batch(46, 7), market.batch(53, 7)]
        expected = whole.executor.score(whole.model, batches)
        with Machine() as large, torch.no_grad():
            bench().model.forecast(batches[0])
        with Machine(large.peak // 2) as machine:
            found = small.executor.score(small.model, batches)
        assert machine.refused == len(small.told) >= 2
        assert found.rank_ic_by_horizon == pytest.approx(expected.rank_ic_by_horizon, abs=1e-6)
        assert found.loss_by_horizon == pytest.approx(expected.loss_by_horizon, rel=1e-6)
        assert small.model.training

    def test_the_average_is_scored_in_the_pieces_of_the_training(self, bench, market):
        bench = bench(ema=EmaPlan(0.9))
        bench.executor.restore(Relief(days=1, stocks=32, queries=64, ema_on_host=True))
        average = bench.weights.evaluated
        bench.executor.score(average, [market.batch(46, 4)])
        assert average.chunks == bench.executor.relief.chunks
        assert average.graph.chunk_size == 64

    def test_predictions_in_pieces_are_those_of_the_whole(self, bench, market):
        whole, small = bench(), bench()
        batch = market.batch(46, 6)
        expected = whole.executor.predict(whole.model.eval(), batch)
        with Machine() as large, torch.no_grad():
            bench().model.forecast(batch)
        with Machine(large.peak // 2) as machine:
            found = small.executor.predict(small.model.eval(), batch)
        assert machine.refused
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-8)
        assert not found.requires_grad

    def test_rehearsing_finds_what_fits_and_changes_nothing(self, bench, market):
        bench = bench()
        before = bench.tensors()
        with Machine() as large:
            bench.executor.rehearse([market.batch(10, 8)])
        with Machine(large.peak // 3) as machine:
            bench.executor.rehearse([market.batch(10, 8)])
        assert machine.refused
        assert bench.executor.relief.days is not None
        assert equal(bench.tensors(), before)
        assert not bench.gradients()


class TestNothingLeft:
    def test_a_day_that_never_fits_ends_with_what_it_would_need(self, bench, market):
        bench = bench()
        before = bench.tensors()
        with Machine(20_000), pytest.raises(MemoryLimitError) as error:
            bench.executor.train([market.batch(10, 4)], step=0)
        message = str(error.value)
        for words in (
            "80 stocks",
            "4 features",
            "1 days at a time",
            "32 stocks at a time",
            "tried to allocate",
            "free",
        ):
            assert words in message
        assert "gradients, optimizer and averages" in message
        assert equal(bench.tensors(), before)
        assert error.value.exit_code == 69

    def test_rounding_comes_last_and_only_where_it_is_allowed(self, bench, market):
        bench = bench(allow_bf16=True)
        with Machine(20_000), pytest.raises(MemoryLimitError):
            bench.executor.train([market.batch(10, 4)], step=5)
        assert bench.executor.relief.stamp == "approximate@5"
        assert [told[0].stamp for told in bench.told].count("approximate@5") == 1
        dtypes = []
        bench.model.temporal.lstm.register_forward_hook(lambda module, inputs, output: dtypes.append(output[0].dtype))
        bench.executor.train([market.batch(10, 1)], step=5)
        assert set(dtypes) == {torch.bfloat16}

    def test_off_the_levers_are_named_with_the_values_of_this_run(self, bench, market):
        def levers(network=NETWORK, **settings):
            running = bench("plain", network, **settings)
            before = running.tensors()
            with Machine(100_000), pytest.raises(MemoryLimitError) as error:
                running.executor.train([market.batch(10, 4)], step=0)
            assert equal(running.tensors(), before)
            assert running.executor.relief == Relief()
            head, *lines = str(error.value).splitlines()
            assert "tried to allocate" in head
            return [line.strip() for line in lines]

        batch, pair, average, switch = levers(ema=EmaPlan(0.9), batch_size=8, accumulate=3)
        assert batch == "batch_size=4 instead of 8 (with accumulate_grad_batches=6 it trains alike)"
        assert pair == "improvements.online_normalization=true gradient_checkpointing=true"
        assert average == "improvements.use_ema=false"
        assert switch.startswith("improvements.auto_recover_oom=true")
        pulled = {"batch_size": 1, "online_normalization": True}
        assert levers({**NETWORK, "gradient_checkpointing": True}, **pulled) == [switch]
        assert "gradient_checkpointing=true" in levers(**pulled)
        by_key = EmaPlan(0.9, by=("improvements.use_ema", "ema.enabled"))
        assert "improvements.use_ema=false ema.enabled=false" in levers(ema=by_key)

    def test_off_scoring_fails_at_once_too(self, bench, market):
        bench, batch = bench("plain"), market.batch(46, 7)
        with Machine(10_000), pytest.raises(MemoryLimitError):
            bench.executor.score(bench.model, [batch])
        assert bench.model.training


def test_while_memory_suffices_on_trains_the_bits_of_off(bench, market):
    on, off = bench("robust", ema=EmaPlan(0.9)), bench("plain", ema=EmaPlan(0.9))
    for each in (on, off):
        for step in range(50):
            each.executor.train([market.batch(4 + step % 30, 4)], step)
    assert equal(on.tensors(), off.tensors())
    scores = [each.executor.score(each.weights.evaluated, [market.batch(46, 7)]) for each in (on, off)]
    assert scores[0] == scores[1]
    assert on.told == []


class TestReading:
    def test_a_batch_is_read_again_once_memory_is_freed(self, bench, market):
        executor = bench().executor
        tried = []

        def read():
            tried.append(1)
            if len(tried) == 1:
                raise MemoryError("Unable to allocate 3 GiB")
            return market.batch(10, 4)

        assert executor.load(read).num_days == 4
        assert executor.relief == Relief(), "of computing, nothing has to change"

    @pytest.mark.parametrize("kind", ["robust", "plain"])
    def test_one_that_never_can_be_is_named(self, bench, kind):
        def read():
            raise MemoryError("Unable to allocate 3 GiB")

        with pytest.raises(MemoryLimitError, match=r"allocate 3 GiB(?s:.)*batch_size") as caught:
            bench(kind=kind).executor.load(read)
        assert caught.value.exit_code == 69

    def test_other_errors_pass_through(self, bench):
        def read():
            raise ValueError("no such day")

        with pytest.raises(ValueError, match="no such day"):
            bench().executor.load(read)
