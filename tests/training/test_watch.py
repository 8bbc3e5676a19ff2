import numpy as np
import pytest
import torch

from atft_gat_fan.config.plan import EmaPlan
from atft_gat_fan.training.executor import make_executor
from atft_gat_fan.training.history import History
from atft_gat_fan.training.objective import Objective
from atft_gat_fan.training.optim import build_optimizer
from atft_gat_fan.training.runtime import make_runtime
from atft_gat_fan.training.step import StepReport, TrainStep
from atft_gat_fan.training.watch import Watch
from atft_gat_fan.training.weights import Weights
from atft_gat_fan.types import DayBatch

STATISTICS = ("mean", "std", "p5", "p50", "p95")


def watching(settings, model, weights, to_device=DayBatch.to):
    runtime, optimizer = make_runtime(settings), build_optimizer(model, settings)
    objective = Objective(settings, torch.device("cpu"))
    step = TrainStep(runtime, model, optimizer, objective, clip_norm=None, seed=0, to_device=to_device)
    return Watch(settings, runtime, optimizer, weights, make_executor(settings, step))


@pytest.fixture
def watch(make_settings, market):
    def make(model, ema=None):
        settings = make_settings(ema=ema)
        weights = Weights(model, ema)
        watch = watching(settings, model, weights)
        watch.seen(market.batch(46, 4))
        return watch, weights

    return make


def test_the_probe_is_moved_as_the_data_says_each_time_it_is_looked_at(make_settings, make_network, market):
    """Features of a raw batch are normalised in a buffer that the next batch overwrites: they cannot be kept."""
    settings, model, moved = make_settings(), make_network(), []

    def to_device(batch, device):
        moved.append(batch.dates)
        return batch.to(device)

    watch = watching(settings, model, Weights(model, None), to_device=to_device)
    probe = market.batch(46, 4)
    watch.seen(probe)
    watch.epoch(history())
    watch.epoch(history(8))
    assert moved == [probe.dates] * 2


def history(step=7):
    return History(step=step, samples=100, train_seconds=2.0)


def test_the_distribution_is_that_of_the_present_stocks_in_evaluation_mode(watch, make_network, market):
    model = make_network(dropout=0.5).train()
    told = watch(model)[0].epoch(history())
    assert model.training
    batch = market.batch(46, 4)
    model.eval()
    with torch.no_grad():
        point = model.forecast(batch).point
    for h, name in enumerate(("1d", "5d")):
        scores = point[..., h][batch.present].numpy()
        expected = [scores.mean(), scores.std(), *np.quantile(scores, (0.05, 0.5, 0.95))]
        found = [told[f"prediction_{statistic}_{name}"] for statistic in STATISTICS]
        assert found == pytest.approx(expected, rel=1e-4, abs=1e-7)
    assert not any("freq_dropout" in key for key in told)
    assert (told["samples_per_second"], told["peak_rss_bytes"] > 10_000_000) == (50.0, True)


def test_only_the_first_batch_is_looked_at(watch, make_network, market):
    watching, _ = watch(make_network())
    first = watching.epoch(history())
    assert watching.seen(market.batch(50, 4)).dates == market.batch(50, 4).dates
    again = watching.epoch(history())
    assert {key: first[key] for key in first if "prediction" in key} == {
        key: again[key] for key in again if "prediction" in key
    }


def test_freq_dropout_is_switched_on_alone_and_is_drawn_from_the_step(watch, make_network):
    plain = watch(make_network(dropout=0.5))[0].epoch(history())
    watching, _ = watch(make_network(dropout=0.5, freq_dropout_p=0.5).train())
    one, same, other = (watching.epoch(history(step)) for step in (7, 7, 8))
    keys = [f"{statistic}_{name}" for statistic in STATISTICS for name in ("1d", "5d")]

    def read(told, name="prediction_freq_dropout"):
        return [told[f"{name}_{key}"] for key in keys]

    assert read(one, "prediction") == read(plain, "prediction")
    assert read(one) == read(same)
    assert read(one) not in (read(one, "prediction"), read(other))


def test_with_an_ema_its_weights_are_watched_and_their_distance(watch, make_network):
    model = make_network()
    watching, weights = watch(model, EmaPlan(0.9))
    before = watching.epoch(history())
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.25)
    after = watching.epoch(history())
    assert (before["ema_distance"], after["ema_distance"]) == (0, pytest.approx(0.2, rel=1e-6))
    assert after["prediction_std_1d"] == before["prediction_std_1d"]
    weights.stepped()
    assert watching.epoch(history())["prediction_std_1d"] != before["prediction_std_1d"]


def test_a_step_tells_loss_gradient_and_rate_by_layer_type(watch, make_network):
    watching, _ = watch(make_network())
    told = watching.step(StepReport("applied", 0.5, (0.3, 0.4), 5.0, 10, {"head": 3.0, "graph": 4.0}))
    assert told == {
        "loss": 0.5,
        "loss_1d": 0.3,
        "loss_5d": 0.4,
        "grad_norm": 5.0,
        "grad_norm_head": 3.0,
        "grad_norm_graph": 4.0,
        **{f"lr_{group}": 0.01 for group in ("embedding", "temporal", "graph", "head")},
    }


def test_speed_is_counted_between_two_records(watch, make_network):
    watching, _ = watch(make_network())
    watching.start(history())
    now = history()
    now.samples, now.train_seconds = 400, 4.0
    assert watching.throughput(now)["samples_per_second"] == 150
    now.samples, now.train_seconds = 500, 5.0
    assert watching.throughput(now)["samples_per_second"] == 100
