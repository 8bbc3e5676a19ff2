"""Steps of ranks that divide the weights among them, against those of one process that has them whole.

What the ranks do is a scenario, a function below that a Bench is made for. All that leave the ranks alive run in one
set of processes, one after the other: a process that has divided weights for the first time is slow.
"""

import time
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins import MixedPrecision
from torch.distributed.tensor import DTensor

from atft_gat_fan.config.plan import EmaPlan, ExecutorPlan
from atft_gat_fan.models.compiler import compiler_problem
from atft_gat_fan.signals import StopRequested
from atft_gat_fan.training import sharded
from atft_gat_fan.training.executor import make_executor
from atft_gat_fan.training.layout import make_layout
from atft_gat_fan.training.objective import Objective
from atft_gat_fan.training.optim import build_optimizer, optimizer_tensors
from atft_gat_fan.training.relief import Relief
from atft_gat_fan.training.runtime import Runtime, make_runtime
from atft_gat_fan.training.shares import step_share
from atft_gat_fan.training.step import TrainStep, UpdateLostError
from atft_gat_fan.training.weights import Weights
from tests.training.conftest import TinyMarket, tiny_network, tiny_settings
from tests.training.process_ranks import TIMEOUT, on_processes, values

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")
STEP = [(10, 3), (24, 5)]
LR = 0.01
ROBUST = {"executor": ExecutorPlan("robust")}


class Bench:
    """One rank's part of a training, stepped by hand, its weights divided where there are several ranks."""

    def __init__(
        self, ranks, *, change=lambda market: None, poll=lambda: None, applied=lambda: None, scale=None, **more
    ):
        settings = tiny_settings(**{"ema": EmaPlan(0.9), "lr": LR, **more})
        self.ranks, self.market = ranks, TinyMarket()
        change(self.market)
        self.model = tiny_network(dropout=0.3, freq_dropout_p=0.5).train()
        self.layout = make_layout(ranks, CPU, sharded=not ranks.alone)
        self.weights = Weights(self.model, settings.ema, self.layout)
        self.optimizer = build_optimizer(self.model, settings)
        self.runtime, self.told = make_runtime(settings), []
        if scale is not None:
            scaler = torch.amp.GradScaler("cpu", init_scale=scale)
            precision = MixedPrecision("16-mixed", "cpu", scaler)
            precision.forward_context = lambda: torch.autocast("cpu", torch.bfloat16)  # no fp16 LSTM on a CPU
            self.runtime = Runtime(Fabric(accelerator="cpu", devices=1, plugins=precision), scaler)

        def stepped():
            applied()
            self.weights.stepped()

        self.train_step = TrainStep(
            self.runtime,
            self.model,
            self.optimizer,
            Objective(settings, CPU),
            clip_norm=settings.clip_norm,
            seed=settings.seed,
            applied=stepped,
            poll=poll,
            layout=self.layout,
        )
        self.executor = make_executor(
            settings, self.train_step, ema=self.weights.ema, on_relief=lambda relief, why: self.told.append(relief)
        )

    def step(self, number=3, blocks=STEP):
        parts = step_share(blocks, self.ranks.rank, self.ranks.size)
        return self.executor.train([part.of(self.market.batch(part.first, part.count)) for part in parts], number)

    def gradients(self):
        return {name: p.grad for name, p in self.model.named_parameters() if p.grad is not None}

    def own(self):
        """Weights, moments and average, as they lie on the rank."""
        state = {**self.model.state_dict(), **optimizer_tensors(self.optimizer, self.model)}
        return {**state, **self.weights.ema.tensors()}

    def parts(self):
        """Copies of this rank's parts."""
        return {name: self.layout.own(tensor).clone() for name, tensor in self.own().items()}

    def seen(self, *reports):
        gradients = self.layout.whole(self.gradients())
        return SimpleNamespace(reports=reports, gradients=dict(gradients), told=self.told)


def equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(tensor, other[name]) for name, tensor in one.items())


def raises(error, *at):
    """Raises it the times that it is called that are told, counted from 1."""
    count = [0]

    def call():
        count[0] += 1
        if count[0] in at:
            raise error

    return call


def on_rank_1(ranks, **hurt):
    return hurt if ranks.rank == 1 else {}


def unknown_labels(market):
    market.labels[24:27, :, 1] = torch.nan


def infinite_feature(market):
    market.features[28, 3, 0] = torch.inf


def far_labels(market):
    market.labels[26] *= 1e6


def step(ranks, blocks=STEP, **settings):
    """Dropout is on, blocks are divided in the middle, unknown labels spread unevenly over the shares."""
    bench = Bench(ranks, change=unknown_labels, **settings)
    return bench.seen(bench.step(blocks=blocks))


def two_steps(ranks, **settings):
    bench = Bench(ranks, **settings)
    bench.step(3)
    bench.step(4)
    return {name: tensor.clone() for name, tensor in bench.layout.whole(bench.own()).items()}


def sizes(ranks):
    """Elements of each tensor, here and of all; elements of what is not divided; bytes that weights take."""
    bench = Bench(ranks)
    bench.step()
    own = {**bench.own(), **{f"grad.{name}": gradient for name, gradient in bench.gradients().items()}}
    divided = {name: tensor for name, tensor in own.items() if isinstance(tensor, DTensor)}
    storages = [parameter.to_local().untyped_storage().nbytes() for parameter in bench.model.parameters()]
    return SimpleNamespace(
        elements={name: (tensor.to_local().numel(), tensor.numel()) for name, tensor in divided.items()},
        others=sum(tensor.numel() for name, tensor in own.items() if name not in divided),
        bytes=sum(storages),
    )


def unused(ranks):
    """Sum and presence of gradients where one rank has one for the first parameter, and none has one for others."""
    bench = Bench(ranks)
    with bench.layout.gathered(bench.model):
        first = next(bench.model.parameters())
        if ranks.rank == 1:
            first.grad = torch.ones_like(first)
        bench.layout.step_sum(bench.model, CPU)((torch.tensor(1.0), torch.ones(2)))
    first, *others = bench.model.parameters()
    return bool((first.grad.full_tensor() == 1).all()), [other.grad for other in others]


def skipped(ranks, **settings):
    bench = Bench(ranks, change=infinite_feature, **settings)
    before = bench.parts()
    outcome = bench.step().outcome
    return outcome, bench.gradients(), equal(bench.parts(), before)


def scaled(ranks):
    """A loss scale that is too large for the gradients of the second rank's days, until it has come down."""
    bench = Bench(ranks, change=far_labels, scale=2.0**124)
    outcomes = [bench.step().outcome for _ in range(10)]
    return outcomes, bench.runtime.scaler.get_scale()


def scored(ranks):
    bench = Bench(ranks)
    batches = [bench.market.batch(*block) for block in bench.market.valid_blocks()[ranks.rank :: ranks.size]]
    scores = bench.executor.score(bench.weights.evaluated, batches)
    prediction = bench.executor.predict(bench.weights.evaluated, bench.market.batch(46, 4))
    near = bench.weights.ema.distance(bench.model)
    bench.step()
    return scores, prediction, near, bench.weights.ema.distance(bench.model)


def stopped(ranks, at):
    bench = Bench(ranks, **on_rank_1(ranks, poll=raises(StopRequested(), at)))
    before = bench.parts()
    with pytest.raises(StopRequested):
        bench.step()
    return bench.gradients(), equal(bench.parts(), before)


def relieved(ranks):
    bench = Bench(ranks, change=unknown_labels, **on_rank_1(ranks, poll=raises(MemoryError(), 3, 6)), **ROBUST)
    return bench.seen(bench.step())


def lost(ranks):
    bench = Bench(ranks, **on_rank_1(ranks, applied=raises(MemoryError(), 1)), **ROBUST)
    with pytest.raises(UpdateLostError):
        bench.step()
    return bench.told


def rehearsed(ranks):
    bench = Bench(ranks)
    before = bench.parts()
    bench.executor.rehearse([bench.market.batch(10, 2)])
    return bench.gradients(), equal(bench.parts(), before)


def with_an_average_on_the_host(ranks):
    """As a checkpoint from one process may say, where it saves memory."""
    bench = Bench(ranks, **ROBUST)
    bench.executor.restore(Relief(ema_on_host=True))
    outcome = bench.step().outcome
    bench.executor.predict(bench.weights.evaluated, bench.market.batch(46, 4))
    return outcome, bench.weights.ema.on_host


def made_plain(ranks):
    bench = Bench(ranks)
    bench.step()
    plain = bench.layout.plain(bench.model)
    expected = bench.layout.whole(bench.model.state_dict())
    return not any(isinstance(tensor, DTensor) for tensor in plain.state_dict().values()), equal(
        plain.state_dict(), dict(expected)
    )


SCENARIOS = {
    "step": step,
    "clipped": partial(step, clip_norm=1e-4),
    "few days": partial(step, blocks=[(10, 2)]),
    "two steps": two_steps,
    "sizes": sizes,
    "unused": unused,
    "skipped": skipped,
    "skipped with a loss scale": partial(skipped, scale=1024.0),
    "scaled": scaled,
    "scored": scored,
    "stopped before the counts": partial(stopped, at=1),
    "stopped before a forward": partial(stopped, at=2),
    "stopped before a backward": partial(stopped, at=3),
    "relieved": relieved,
    "lost": lost,
    "rehearsed": rehearsed,
    "an average on the host": with_an_average_on_the_host,
    "made plain": made_plain,
}
OF_THREE = ("step", "clipped", "few days", "sizes")


def results(size, names, folder):
    """What became of each scenario, by rank."""

    def run(ranks):
        torch.set_num_threads(1)
        return {name: SCENARIOS[name](ranks) for name in names}

    by_rank = values(on_processes(size, run, folder))
    return {name: [each[name] for each in by_rank] for name in names}


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    return results(2, SCENARIOS, tmp_path_factory.mktemp("two"))


@pytest.fixture(scope="module")
def of(two, tmp_path_factory):
    """What became of it, by number of ranks."""
    return {2: two, 3: results(3, OF_THREE, tmp_path_factory.mktemp("three"))}


@pytest.fixture
def alone(tmp_path):
    return lambda name: results(1, [name], tmp_path)[name][0]


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
@pytest.mark.parametrize("name", ["step", "clipped", "few days"])
def test_a_step_on_divided_weights_is_the_step_of_one_process(of, alone, size, name):
    """The last: a rank of three has none of them."""
    assert_same_step(of[size][name], alone(name))


def test_weights_moments_and_average_of_a_second_step_are_those_of_one_process(two, alone):
    """Of AdamW, which raises the noise of gradients that are near nothing: within a twentieth of the learning rate."""
    expected = alone("two steps")
    for state in two["two steps"]:
        assert state.keys() == expected.keys()
        assert int(state["n_averaged"]) == int(expected["n_averaged"]) == 3
        for name, tensor in expected.items():
            torch.testing.assert_close(state[name], tensor, rtol=0, atol=0.05 * LR, msg=name)


@pytest.mark.parametrize("size", [2, 3])
def test_between_steps_a_rank_has_its_part_of_everything(of, size):
    by_rank = of[size]["sizes"]
    parameters = [name.removeprefix("grad.") for name in by_rank[0].elements if name.startswith("grad.")]
    for kind in ("", "grad.", "exp_avg.", "exp_avg_sq.", "module."):
        parts = [[seen.elements[f"{kind}{name}"] for name in parameters] for seen in by_rank]
        held, (whole,) = (
            [sum(own for own, _ in part) for part in parts],
            {sum(all_ for _, all_ in part) for part in parts},
        )
        assert sum(held) == whole
        assert max(held) < 1.2 * whole / size
    for seen in by_rank:
        assert seen.others == len(parameters) + 1, "the counts of steps and of updates"
        assert seen.bytes < 4 * 1.2 * whole / size, "nothing whole is held behind the parts"


def test_a_parameter_that_no_rank_uses_has_no_gradient(two):
    for summed, others in two["unused"]:
        assert summed
        assert set(others) == {None}


@pytest.mark.parametrize("name", ["skipped", "skipped with a loss scale"])
def test_what_is_not_finite_on_one_rank_is_skipped_by_all(two, name):
    assert two[name] == [("non_finite", {}, True)] * 2


def test_a_loss_scale_comes_down_as_that_of_one_process(two, alone):
    outcomes, scale = alone("scaled")
    assert outcomes[0] == "rescaled"
    assert outcomes[-1] == "applied"
    assert two["scaled"] == [(outcomes, scale)] * 2


def test_validation_predictions_and_the_distance_of_the_average_are_those_of_one_process(two, alone):
    scores, prediction, near, apart = alone("scored")
    for found in two["scored"]:
        assert found[0] == scores
        assert torch.equal(found[1], prediction)
        assert found[2] == near == 0.0
        assert found[3] == pytest.approx(apart, rel=1e-3)


@pytest.mark.parametrize("at", ["the counts", "a forward", "a backward"])
def test_a_stop_request_of_one_rank_ends_the_step_of_all(two, at):
    assert two[f"stopped before {at}"] == [({}, True)] * 2


def test_memory_that_runs_out_in_a_pass_of_one_rank_is_relieved_on_all(two, alone):
    ranks = two["relieved"]
    assert ranks[0].told == ranks[1].told
    assert [relief.days for relief in ranks[0].told] == [None, 2]
    assert_same_step(ranks, alone("step"))


def test_an_update_that_one_rank_lost_is_lost_to_all(two):
    assert two["lost"][0] == two["lost"][1]
    assert two["lost"][0][-1].one_by_one


def test_rehearsing_changes_nothing(two):
    assert two["rehearsed"] == [({}, True)] * 2


def test_a_part_of_the_average_stays_where_it_is(two, alone):
    assert alone("an average on the host") == ("applied", True)
    assert two["an average on the host"] == [("applied", False)] * 2


def test_one_process_can_go_on_with_the_whole(two):
    assert two["made plain"] == [(True, True)] * 2


@pytest.mark.exhaustive
@pytest.mark.usefixtures("without_shape_checks")
def test_a_compiled_step_is_that_of_one_process(tmp_path):
    if (problem := compiler_problem()) is not None:
        pytest.skip(problem)

    def compiled(ranks):
        bench = Bench(ranks)
        bench.model.compiled = True
        return bench.seen(bench.step(3), bench.step(4))

    ranks = values(on_processes(2, compiled, tmp_path))
    (alone,) = values(on_processes(1, compiled, tmp_path))
    for seen in ranks:
        assert [report.outcome for report in seen.reports] == ["applied", "applied"]
        assert_close(seen.gradients, alone.gradients, relative=1e-5)  # of the second step, on updated weights


@pytest.mark.parametrize("where", ["gather", "sum_gradients"])
def test_memory_that_runs_out_between_the_ranks_ends_all_at_once(tmp_path, monkeypatch, where):
    """One of them is in an exchange that the other never comes to; recovery is on, and cannot be had."""

    def no_room(self, *arguments):
        raise torch.OutOfMemoryError("tried to allocate more than there is")

    def hurt(ranks):
        bench = Bench(ranks, **ROBUST)
        if ranks.rank == 1:
            monkeypatch.setattr(sharded._Shards, where, no_room)
        bench.step()

    began = time.monotonic()
    first, second = on_processes(2, hurt, tmp_path)
    assert time.monotonic() - began < TIMEOUT / 2, "nobody waited for the time-out"
    assert second.error.startswith("MemoryLimitError: expected each rank to hold weights and gradients")
    assert first.error.startswith("RankError: ended with rank 1 of 2, which says: expected each rank to hold")
