import json
import math
import os
import signal
import threading
from dataclasses import replace
from itertools import starmap
from typing import ClassVar

import numpy as np
import pytest
import torch

from atft_gat_fan.config.plan import EmaPlan, GraphAttentionPlan
from atft_gat_fan.errors import ConfigError, DataError, InterruptedRunError, NonFiniteError, StorageError
from atft_gat_fan.losses.multi_horizon import label_counts, multi_horizon_loss
from atft_gat_fan.signals import StopSignals
from atft_gat_fan.training.checkpoint import load_newest, read_tensors
from atft_gat_fan.training.loop import fit
from atft_gat_fan.training.objective import Objective
from atft_gat_fan.training.run_folder import RunFolder
from atft_gat_fan.training.runtime import make_runtime
from atft_gat_fan.training.validation_pass import Scorer, evaluating, score_days
from atft_gat_fan.types import RandomKey


def validation_scores(model, market, settings):
    device = torch.device("cpu")
    scorer = Scorer(Objective(settings, device), device, market.to_device, make_runtime(settings).fabric.autocast)
    with evaluating(model):
        return score_days(scorer(model, batch) for batch in starmap(market.batch, market.valid_blocks()))


def events(folder, kind=None):
    lines = [json.loads(line, parse_constant=pytest.fail) for line in folder.events.read_text().splitlines()]
    return [line for line in lines if kind in (None, line["event"])]


def weights(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def newest(folder):
    return load_newest(folder.checkpoints, pytest.fail)


@pytest.fixture
def run(make_network, make_settings, console, tmp_path):
    """Train in a folder of its own name."""

    def train(market, name="run", network=None, **settings):
        with RunFolder(tmp_path / name) as folder, StopSignals() as signals:
            return fit(network or make_network(), market, make_settings(**settings), folder, console, signals), folder

    return train


def test_learns_the_planted_signal(run, make_market, make_network):
    result, _ = run(make_market(noise=0.1), max_epochs=6, early_stopping=False, lr=0.03)
    assert result.best_rank_ic > 0.3
    assert result.reason == "max_epochs"
    assert not result.model.training


def test_the_same_seed_gives_the_same_bits_and_another_seed_others(run, market):
    first, folder_1 = run(market, "1")
    again, folder_2 = run(market, "2")
    other, _ = run(market, "3", seed=43, max_epochs=1)
    assert equal(weights(first.model), weights(again.model))
    assert equal(newest(folder_1).optimizer, newest(folder_2).optimizer)
    assert first.history == again.history
    assert not equal(weights(first.model), weights(other.model))


def test_nothing_is_drawn_from_the_global_generator(run, market):
    torch.manual_seed(1)
    first, _ = run(market, "1")
    torch.manual_seed(2)
    state = torch.get_rng_state()
    second, _ = run(market, "2")
    assert torch.equal(torch.get_rng_state(), state)
    assert equal(weights(first.model), weights(second.model))


def test_threads_that_prepare_batches_change_nothing(run, market):
    threads = set()
    market.after_batch = lambda: threads.add(threading.current_thread().name)
    plain, _ = run(market, "plain", accumulate=3)
    assert threads == {threading.current_thread().name}
    threads.clear()
    ahead, _ = run(market, "ahead", accumulate=3, num_workers=2)
    assert threads
    assert threading.current_thread().name not in threads, "those of the validation too"
    assert ahead.history == plain.history
    assert equal(weights(ahead.model), weights(plain.model))


def test_accumulating_half_batches_trains_like_whole_batches(run, make_market):
    """Four blocks of 10 days against eight of 5, in pairs of the same days."""

    class Ordered(make_market):
        def blocks(self, epoch):
            return sorted(super().blocks(epoch))

    whole, _ = run(Ordered(batch_days=10), "whole", accumulate=1, max_epochs=2)
    halves, _ = run(Ordered(batch_days=5), "halves", accumulate=2, max_epochs=2)
    assert whole.steps == halves.steps == 8
    for a, b in zip(whole.history, halves.history, strict=True):
        assert b.train_loss == pytest.approx(a.train_loss, rel=1e-5)


def test_the_last_step_of_an_epoch_may_be_smaller(run, market):
    result, _ = run(market, accumulate=4, max_epochs=2)
    assert (len(market.blocks(0)), result.steps) == (10, 2 * 3)


def test_steps_are_planned_as_the_lesser_of_steps_and_epochs(run, market):
    epochs, folder_1 = run(market, "1", max_epochs=2, early_stopping=False)
    steps, folder_2 = run(market, "2", max_epochs=9, max_steps=13)
    assert (epochs.steps, epochs.epochs, epochs.reason) == (20, 2, "max_epochs")
    assert (steps.steps, steps.epochs, steps.reason) == (13, 2, "max_steps")
    assert [events(folder, "start")[0]["planned_steps"] for folder in (folder_1, folder_2)] == [20, 13]
    assert events(folder_2, "valid")[-1]["step"] == 13, "a cut epoch is validated too"


def test_the_schedule_reaches_the_optimizer(run, market):
    _, folder = run(market, max_epochs=2, log_every=1, lr=0.5e-3, scheduler="linear", warmup_steps=2)
    rates = [event["lr"] for event in events(folder, "train")]
    decay = [0.5e-3 * (1 - step / 18) for step in range(18)]
    assert rates == pytest.approx([0.25e-3, 0.5e-3, *decay])


@pytest.fixture
def turning(make_market):
    """From the third epoch on, training days show the opposite of what validation days show."""
    sign = np.ones(60, dtype=np.float32)
    sign[24:44] = -1

    class Turning(make_market):
        def blocks(self, epoch):
            return [(first, 4) for first in (range(4, 24, 4) if epoch < 2 else range(24, 44, 4))]

    return Turning(sign=sign, noise=0.1)


class TestEarlyStopping:
    SETTINGS: ClassVar = {"max_epochs": 12, "patience": 3, "smoothing": 0.3, "scheduler": "constant", "lr": 0.02}

    def test_stops_and_restores_the_best_weights(self, run, turning, make_settings):
        result, folder = run(turning, **self.SETTINGS)
        assert result.reason == "early_stopping"
        best = max(result.history, key=lambda record: record.smoothed_rank_ic)
        assert result.best_step == best.step < result.steps
        assert result.best_rank_ic == best.smoothed_rank_ic
        assert result.epochs == best.epoch + 3
        assert result.history[-1].rank_ic < best.rank_ic - 0.1
        restored = validation_scores(result.model, turning, make_settings())
        assert restored.rank_ic == best.rank_ic
        assert not equal(weights(result.model), dict(newest(folder).model))

    def test_can_be_turned_off_and_still_keeps_the_best(self, run, turning):
        result, _ = run(turning, **self.SETTINGS, early_stopping=False)
        assert (result.reason, result.epochs) == ("max_epochs", 12)
        assert result.best_step < result.steps

    def test_the_best_weights_survive_rotation_and_resuming(self, run, turning, make_network):
        result, folder = run(turning, **self.SETTINGS, keep_checkpoints=2, checkpoint_every=4)
        assert len(list(folder.checkpoints.iterdir())) == 2
        assert min(int(path.name[5:13]) for path in folder.checkpoints.iterdir()) > result.best_step
        again, _ = run(turning, network=make_network(seed=5), **self.SETTINGS)
        assert equal(weights(again.model), weights(result.model))


@pytest.mark.parametrize(
    ("stop_at", "steps", "every"), [(1, 0, "10m"), (5, 4, 4), (10, 9, "10m"), (13, 10, 4), (17, 12, 4)]
)
def test_a_stopped_run_goes_on_to_the_same_bits(run, market, make_network, stop_at, steps, every):
    """Stop requests at the first batch, mid-epoch, the last batch, in the validation, in the second epoch.

    The step under way is given up, not waited for.
    """
    expected, folder = run(market, "straight", checkpoint_every=every, max_epochs=2)
    expected_optimizer = newest(folder).optimizer
    market.after_batch = stop_after(stop_at)
    with pytest.raises(InterruptedRunError) as caught:
        run(market, "stopped", checkpoint_every=every, max_epochs=2)
    assert caught.value.exit_code == 143
    market.after_batch = lambda: None
    result, folder = run(market, "stopped", network=make_network(seed=9), checkpoint_every=every, max_epochs=2)
    assert [event["resumed_from"] for event in events(folder, "start")] == [None, steps]
    assert equal(weights(result.model), weights(expected.model))
    assert equal(newest(folder).optimizer, expected_optimizer)
    assert result.history == expected.history


def test_with_every_new_field_at_its_default_20_steps_are_plain_adamw(run, market, make_network, make_settings):
    """Against a loop written out by hand: dropout keyed by step, clipping, warm-up and cosine, one AdamW."""
    _, folder = run(market, max_epochs=2, early_stopping=False)
    model, settings = make_network().train(), make_settings()
    roles = model.parameter_roles()
    groups = [
        {
            "params": [p for name, p in model.named_parameters() if roles[name].decay == decay],
            "weight_decay": settings.weight_decay if decay else 0.0,
        }
        for decay in (True, False)
    ]
    optimizer = torch.optim.AdamW(groups, lr=settings.lr, betas=settings.betas, eps=settings.eps, foreach=False)
    weights_by_horizon = torch.tensor(settings.horizon_weights)
    for step, block in enumerate([*market.blocks(0), *market.blocks(1)]):
        factor = (step + 1) / 2 if step < 2 else 0.5 * (1 + math.cos(math.pi * (step - 2) / 18))
        for group in optimizer.param_groups:
            group["lr"] = settings.lr * factor
        batch = market.batch(*block)
        optimizer.zero_grad()
        point = model.forecast(batch, RandomKey(settings.seed, step)).point
        loss, _ = multi_horizon_loss(point, batch.labels, weights_by_horizon, label_counts(batch.labels))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), settings.clip_norm)
        optimizer.step()
    assert equal(weights(model), dict(newest(folder).model))
    assert sorted(path.name for path in max(folder.checkpoints.iterdir()).iterdir()) == sorted(
        ["best.safetensors", "manifest.json", "model.safetensors", "optimizer.safetensors", "progress.json"]
    )


class TestEma:
    EMA = EmaPlan(0.9)

    def test_raw_training_is_unchanged_and_the_average_is_of_its_steps(self, run, market, make_network):
        _, plain = run(market, "plain", checkpoint_every=1, keep_checkpoints=100, max_epochs=2)
        _, folder = run(market, "ema", checkpoint_every=1, keep_checkpoints=100, max_epochs=2, ema=self.EMA)
        assert equal(newest(plain).model, newest(folder).model)
        assert equal(newest(plain).optimizer, newest(folder).optimizer)
        average = weights(make_network())
        for n, path in enumerate(sorted(folder.checkpoints.iterdir())[1:]):  # the first is from before the first step
            decay = min(0.9, (1 + n) / (10 + n))
            for name, tensor in read_tensors(path / "model.safetensors").items():
                average[name].lerp_(tensor, 1 - decay)
        saved = newest(folder).ema
        assert int(saved["n_averaged"]) == 21
        for name, tensor in average.items():
            torch.testing.assert_close(saved[f"module.{name}"], tensor, rtol=1e-6, atol=1e-7)

    def test_averaged_weights_are_validated_kept_and_handed_back_with_the_raw_ones(
        self, run, market, make_settings, make_network
    ):
        result, folder = run(
            market, checkpoint_every=1000, keep_checkpoints=100, max_epochs=4, early_stopping=False, ema=self.EMA
        )
        (at_best,) = [path for path in folder.checkpoints.iterdir() if f"{result.best_step:08d}" in path.name]
        average = read_tensors(at_best / "ema.safetensors")
        assert equal(weights(result.model), {n: average[f"module.{n}"] for n in weights(result.model)})
        assert equal(result.raw_model_state, read_tensors(at_best / "model.safetensors"))
        assert not equal(weights(result.model), result.raw_model_state)
        again = validation_scores(result.model, market, make_settings())
        (record,) = [record for record in result.history if record.step == result.best_step]
        assert again.rank_ic == record.rank_ic

    def test_the_raw_weights_of_the_best_survive_rotation_and_resuming(self, run, turning, make_network):
        settings = {**TestEarlyStopping.SETTINGS, "ema": self.EMA, "checkpoint_every": 4}
        kept, folder = run(turning, "kept", keep_checkpoints=100, **settings)
        assert kept.best_step < kept.steps - 10
        (at_best,) = folder.checkpoints.glob(f"step_{kept.best_step:08d}_epoch_{kept.best_step // 5:04d}")
        rotated, _ = run(turning, "rotated", **settings)
        again, _ = run(turning, "rotated", network=make_network(seed=5), **settings)
        for result in (kept, rotated, again):
            assert equal(result.raw_model_state, read_tensors(at_best / "model.safetensors"))
        assert equal(weights(again.model), weights(kept.model))

    def test_without_a_best_the_last_weights_of_both_kinds_come_back(self, run, market):
        market.labels[44:] = math.nan
        result, folder = run(market, max_epochs=2, ema=self.EMA)
        last = newest(folder)
        assert equal(result.raw_model_state, dict(last.model))
        assert equal(weights(result.model), {name: last.ema[f"module.{name}"] for name in result.raw_model_state})

    def test_an_exception_in_the_validation_leaves_the_raw_weights_in_place(self, run, market, make_network):
        network = make_network()
        calls = []

        def fail():
            calls.append(1)
            if len(calls) == 12:
                raise RuntimeError("validation broke")

        _, plain = run(market, "plain", keep_checkpoints=9)
        (before,) = plain.checkpoints.glob("step_00000010_*")
        market.after_batch = fail
        with pytest.raises(RuntimeError, match="validation broke"):
            run(market, "broken", network=network, ema=self.EMA)
        assert equal(weights(network), read_tensors(before / "model.safetensors"))

    def test_skipped_steps_are_not_averaged(self, run, market):
        market.features[12, 0, 0] = math.inf
        result, folder = run(market, max_epochs=2, ema=self.EMA)
        assert result.skipped_steps == 4
        assert int(newest(folder).ema["n_averaged"]) - 1 == 16

    def test_it_is_watched(self, run, market):
        _, folder = run(market, max_epochs=2, log_every=5, ema=self.EMA)
        for kind, steps in (("train", [5, 10, 15, 20]), ("watch", [10, 20])):
            found = events(folder, kind)
            assert [event["step"] for event in found] == steps
            assert all(0 < event["ema_distance"] < 1 for event in found)


class TestTemperature:
    MOVING = GraphAttentionPlan(temperature=0.5, start=4.0, share=0.5)

    def test_it_moves_by_step_and_survives_resuming(self, run, market, make_network):
        network = {"gat_temperature": 0.5}
        straight, folder = run(
            market, "straight", network=make_network(**network), max_epochs=2, log_every=1, temperature=self.MOVING
        )
        told = [event["gat_temperature"] for event in events(folder, "train")]
        assert told == pytest.approx([max(0.5, 4.0 - 0.35 * step) for step in range(20)])
        constant, _ = run(market, "constant", network=make_network(**network), max_epochs=2)
        assert not equal(weights(straight.model), weights(constant.model))
        market.after_batch = stop_after(5)
        with pytest.raises(InterruptedRunError):
            run(market, "stopped", network=make_network(**network), max_epochs=2, temperature=self.MOVING)
        market.after_batch = lambda: None
        resumed, _ = run(market, "stopped", network=make_network(**network), max_epochs=2, temperature=self.MOVING)
        assert equal(weights(resumed.model), weights(straight.model))

    @pytest.mark.parametrize("ema", [None, EmaPlan(0.9)], ids=["raw", "ema"])
    def test_evaluation_always_has_the_final_one(self, run, market, make_network, make_settings, ema):
        slow = replace(self.MOVING, share=1.0)
        result, _ = run(
            market, network=make_network(gat_temperature=0.5), max_epochs=1, temperature=slow, ema=ema, lr=1e-9
        )
        fixed = make_network(gat_temperature=0.5)
        fixed.load_state_dict(result.model.state_dict())
        scores = validation_scores(fixed, market, make_settings())
        assert result.history[-1].loss_by_horizon == scores.loss_by_horizon
        batch = market.batch(46, 4)
        with torch.no_grad():
            assert torch.equal(result.model.forecast(batch).point, fixed.eval().forecast(batch).point)


def stop_after(batches):
    calls = []

    def stop():
        calls.append(1)
        if len(calls) == batches:
            os.kill(os.getpid(), signal.SIGTERM)

    return stop


def test_a_finished_training_started_again_returns_the_same_result(run, market, make_network):
    first, _ = run(market)
    market.after_batch = lambda: pytest.fail("no data should be touched")
    again, _ = run(market, network=make_network(seed=5))
    assert equal(weights(first.model), weights(again.model))
    assert replace(again, model=None, peak_rss_bytes=0) == replace(first, model=None, peak_rss_bytes=0)


def test_a_checkpoint_of_another_configuration_is_refused(run, market):
    run(market, max_epochs=1)
    with pytest.raises(ConfigError, match=r"this configuration \(other\).*run\.fresh=true"):
        run(market, max_epochs=1, digest="other")


def test_a_checkpoint_of_other_data_is_refused_as_such(run, market):
    run(market, max_epochs=1, data="prices of May")
    with pytest.raises(ConfigError, match=r"this data \(prices of June\).*other prices.*\(prices of May\)"):
        run(market, max_epochs=1, data="prices of June")


def test_a_checkpoint_of_another_model_is_refused_by_name(run, market, make_network):
    run(market, max_epochs=1)
    with pytest.raises(StorageError, match=r"parameters(?s:.)*heads"):
        run(market, max_epochs=1, network=make_network(quantiles=(0.1, 0.5, 0.9)))


def test_a_damaged_checkpoint_is_reported_and_the_older_one_used(run, market, console):
    straight, _ = run(market, "straight")
    _, folder = run(market)
    victim = max(folder.checkpoints.iterdir()) / "model.safetensors"
    victim.write_bytes(b"")
    result, _ = run(market)
    assert equal(weights(result.model), weights(straight.model))
    (message,) = [event["message"] for event in events(folder, "warning")]
    assert str(victim) in message
    assert f"warning: {message}" in console.file.getvalue()


class TestDivergence:
    def test_poisoned_days_are_skipped_and_counted(self, run, market, console):
        market.features[12, 0, 0] = math.inf  # in the window of days 12..16: two blocks an epoch
        result, folder = run(market, max_epochs=2)
        assert (result.skipped_steps, result.steps) == (4, 20)
        assert all(torch.isfinite(tensor).all() for tensor in result.model.state_dict().values())
        assert len(events(folder, "warning")) == 4
        assert "skipped: loss" in console.file.getvalue()
        assert all(math.isfinite(record.train_loss) for record in result.history)

    def test_bad_numbers_that_stay_end_the_run_with_a_bundle_and_finite_checkpoints(self, run, market, tmp_path):
        calls = []

        def poison_later():
            calls.append(1)
            if len(calls) == 7:
                market.features.fill_(math.nan)

        market.after_batch = poison_later
        with pytest.raises(NonFiniteError, match="steps 1 to 10, after going back to a checkpoint 2 times") as caught:
            run(market, checkpoint_every=8, max_epochs=5)
        assert caught.value.exit_code == 70
        folder = RunFolder(tmp_path / "run")
        assert [event["lr_factor"] for event in events(folder, "return")] == [0.5, 0.25]
        state = newest(folder)
        assert state.name == "step_00000000_epoch_0000_return_0002"
        assert all(torch.isfinite(tensor).all() for tensor in [*state.model.values(), *state.optimizer.values()])
        assert str(tmp_path / "run" / "debug") in str(caught.value)
        told = json.loads((tmp_path / "run" / "debug" / "debug.json").read_text())
        assert told["batches"][0]["not_finite"]["features"] > 0
        assert (told["step"], told["lr_factor"]) == (10, 0.25)

    def test_after_going_back_it_goes_on_more_slowly(self, run, market, healing):
        market.after_batch = healing(market, "run")
        result, folder = run(market, **self.HEALING)
        (back,) = events(folder, "return")
        assert (back["step"], back["lost_steps"], back["lr_factor"]) == (4, 6, 0.25)
        assert "steps 7 to 10" in back["why"]
        lr = {event["step"]: event["lr"] for event in events(folder, "train")}  # the later of two counts
        straight, other = run(market, "straight", **{**self.HEALING, "max_epochs": 3})
        full = {event["step"]: event["lr"] for event in events(other, "train")}
        assert [lr[step] / full[step] for step in sorted(lr)] == pytest.approx([1.0] * 4 + [0.25] * 26)
        assert (result.steps, result.skipped_steps) == (30, 0)
        assert not equal(weights(result.model), weights(straight.model))

    @pytest.mark.parametrize("stop_at", [8, 11, 12, 25])
    def test_a_run_that_went_back_resumes_to_the_same_bits(self, run, market, healing, stop_at, make_network):
        market.after_batch = healing(market, "straight")
        expected, _ = run(market, "straight", **self.HEALING)
        poison, stop = healing(market, "stopped"), stop_after(stop_at)
        market.after_batch = lambda: (poison(), stop())
        with pytest.raises(InterruptedRunError):
            run(market, "stopped", **self.HEALING)
        market.after_batch = poison
        result, _ = run(market, "stopped", network=make_network(seed=9), **self.HEALING)
        assert equal(weights(result.model), weights(expected.model))
        assert result.history == expected.history

    def test_weights_that_overflow_are_not_saved_but_gone_back_from(self, run, market, make_network):
        """A finite gradient can still carry a weight beyond float32."""
        network = make_network()
        calls = []

        def overflow():
            calls.append(1)
            if len(calls) == 6:
                with torch.no_grad():
                    network.heads.point.bias[0] = math.inf

        market.after_batch = overflow
        result, folder = run(market, network=network, checkpoint_every=1, max_epochs=1, max_skipped_steps=100)
        (back,) = events(folder, "return")
        assert (back["step"], back["lost_steps"]) == (5, 5)
        assert "infinity in weight heads.point.bias" in back["why"]
        assert all(torch.isfinite(tensor).all() for tensor in result.model.state_dict().values())

    HEALING: ClassVar = {"checkpoint_every": 4, "log_every": 1, "max_skipped_steps": 4, "rollback_lr": 0.25}

    @pytest.fixture
    def healing(self, tmp_path):
        """Poison from the 7th batch on, until training has gone back: whatever its order, a run meets it there."""

        def make(market, name):
            clean, calls = market.features.clone(), []

            def after_batch():
                calls.append(1)
                back = any((tmp_path / name / "checkpoints").glob("*_return_*"))
                fresh = max((path.name for path in (tmp_path / name / "checkpoints").glob("step_*")), default="")
                poisoned = not back and (len(calls) >= 7 or fresh > "step_00000004_epoch_0000")
                market.features.copy_(clean.new_full((), math.nan) if poisoned else clean)

            return after_batch

        return make


def test_unknown_rank_ic_keeps_the_last_weights(run, market):
    market.labels[44:] = math.nan
    result, folder = run(market, max_epochs=2)
    assert result.best_rank_ic is None
    assert result.best_step == result.steps == 20
    assert equal(weights(result.model), dict(newest(folder).model))
    assert events(folder, "valid")[0]["rank_ic"] is None


@pytest.mark.parametrize("days", ["train_days", "valid_days"])
def test_no_days_are_a_data_error(run, make_market, days):
    with pytest.raises(DataError, match="found none"):
        run(make_market(**{days: np.array([], dtype=np.int64)}))


def test_training_outlives_its_record(run, market, monkeypatch, console):
    expected, _ = run(market, "straight")
    monkeypatch.setattr(os, "fsync", fail_on_events(os.fsync))
    result, _ = run(market, "silent")
    assert equal(weights(result.model), weights(expected.model))
    assert console.file.getvalue().count("logging to jsonl stopped") == 1


def fail_on_events(fsync):
    def maybe(descriptor):
        if os.readlink(f"/proc/self/fd/{descriptor}").endswith("events.jsonl"):
            raise OSError(28, "No space left on device")
        fsync(descriptor)

    return maybe


def test_the_record_tells_the_whole_story(run, market):
    result, folder = run(market, max_epochs=2, checkpoint_every=5, log_every=4)
    told = events(folder)
    assert [told[0]["event"], told[-1]["event"]] == ["start", "finish"]
    assert told[0]["parameters"] == sum(parameter.numel() for parameter in result.model.parameters())
    assert (told[0]["device"], told[0]["digest"], told[0]["warmup_steps"]) == ("cpu", "tiny", 2)
    train = events(folder, "train")
    assert [event["step"] for event in train] == [4, 8, 12, 16, 20]
    assert [event["epoch"] for event in train] == [1, 1, 2, 2, 2]
    for event in train:
        assert event["loss"] == pytest.approx(event["loss_1d"] + 0.5 * event["loss_5d"])
        assert min(event[key] for key in ("lr", "grad_norm", "samples_per_second", "peak_rss_bytes")) > 0
        for group in ("embedding", "temporal", "graph", "head"):
            assert event[f"lr_{group}"] == event["lr"]
            assert 0 < event[f"grad_norm_{group}"] < event["grad_norm"]
        assert "gat_temperature" not in event
        assert "ema_distance" not in event
    for event, record in zip(events(folder, "valid"), result.history, strict=True):
        assert (event["rank_ic_1d"], event["rank_ic_5d"]) == record.rank_ic_by_horizon
        assert (event["rank_ic"], event["smoothed_rank_ic"], event["best"]) == (
            record.rank_ic,
            record.smoothed_rank_ic,
            record.best,
        )
    assert [(event["step"], event["epoch"]) for event in events(folder, "watch")] == [(10, 1), (20, 2)]
    assert all(event["prediction_p5_1d"] < event["prediction_p95_1d"] for event in events(folder, "watch"))
    assert [event["step"] for event in events(folder, "checkpoint")] == [0, 5, 10, 15, 20]
    assert (told[-1]["reason"], told[-1]["best_step"]) == (result.reason, result.best_step)


def test_samples_are_present_stock_windows(run, market):
    present = int(market.present[market.train_days].sum())
    result, folder = run(market, max_epochs=2)
    seconds = newest(folder).progress["history"]["train_seconds"]
    assert result.samples_per_second == pytest.approx(2 * present / seconds)
    assert result.peak_rss_bytes > 10_000_000
