import json
import math
import os

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from atft_gat_fan.errors import ConfigError
from atft_gat_fan.training.loggers import JsonlSink, Logger, open_logger


class Memory:
    def __init__(self):
        self.events, self.closed = [], False

    def write(self, event, step, values):
        self.events.append((event, step, values))

    def close(self):
        self.closed = True


class Broken(Memory):
    """Works until the step it fails at."""

    def __init__(self, fails_at):
        super().__init__()
        self.fails_at = fails_at

    def write(self, event, step, values):
        if step >= self.fails_at:
            raise OSError(28, "No space left on device")
        super().write(event, step, values)


def read(path):
    return [json.loads(line, parse_constant=pytest.fail) for line in path.read_text().splitlines()]


def test_each_event_is_one_strict_json_line(folder, make_settings):
    with open_logger(make_settings(), folder, 0, pytest.fail) as logger:
        logger.log("start", 0, device="cpu", resumed_from=None)
        logger.log("valid", 5, rank_ic=math.nan, best=True, text="line\nbreak ü")
    start, valid = read(folder.events)
    assert list(start)[:3] == ["time", "event", "step"]
    assert (start["event"], start["step"], start["device"], start["resumed_from"]) == ("start", 0, "cpu", None)
    assert (valid["rank_ic"], valid["best"], valid["text"]) == (None, True, "line\nbreak ü")


def test_an_event_is_on_the_disk_when_log_returns(folder, make_settings, monkeypatch):
    synced = []
    real = os.fsync
    monkeypatch.setattr(os, "fsync", lambda descriptor: (synced.append(os.fstat(descriptor).st_ino), real(descriptor)))
    with open_logger(make_settings(), folder, 0, pytest.fail) as logger:
        logger.log("train", 1, loss=0.5)
        assert [event["loss"] for event in read(folder.events)] == [0.5]
        assert synced == [folder.events.stat().st_ino]


def test_a_resumed_run_appends_and_drops_a_torn_line(tmp_path):
    path = tmp_path / "events.jsonl"
    path.write_text('{"event": "train", "step": 1}\n{"event": "tr')
    sink = JsonlSink(path)
    sink.write("train", 2, {})
    sink.close()
    assert [event["step"] for event in read(path)] == [1, 2]


def test_a_failing_sink_warns_once_and_the_others_go_on():
    good, bad, warnings = Memory(), Broken(fails_at=2), []
    with Logger([("bad", lambda: bad), ("good", lambda: good)], warnings.append) as logger:
        for step in range(5):
            logger.log("train", step)
    assert len(warnings) == 1
    assert "bad" in warnings[0]
    assert "No space left" in warnings[0]
    assert [step for event, step, _ in good.events if event == "train"] == list(range(5))
    assert [step for event, step, _ in good.events if event == "warning"] == [2]
    assert [step for _, step, _ in bad.events] == [0, 1]
    assert good.closed


def test_a_sink_that_cannot_open_or_close_is_a_warning_too():
    def unopenable():
        raise ConnectionError("no network")

    class Unclosable(Memory):
        def close(self):
            raise TimeoutError("still uploading")

    warnings = []
    with Logger([("net", unopenable), ("slow", Unclosable)], warnings.append) as logger:
        logger.log("train", 1)
    assert [("no network" in w, "still uploading" in w) for w in warnings] == [(True, False), (False, True)]


def test_the_record_learns_of_a_sink_that_fails_to_close():
    class Unclosable(Memory):
        def close(self):
            raise TimeoutError("still uploading")

    record, warnings = Memory(), []
    with Logger([("record", lambda: record), ("slow", Unclosable)], warnings.append) as logger:
        logger.log("train", 7)
    event, step, values = record.events[-1]
    assert (event, step, values["message"]) == ("warning", 7, warnings[0])
    assert record.closed


def test_sinks_that_fail_together_are_each_dropped_once():
    record, warnings = Memory(), []
    sinks = [("one", lambda: Broken(2)), ("two", lambda: Broken(2)), ("record", lambda: record)]
    with Logger(sinks, warnings.append) as logger:
        for step in range(5):
            logger.log("train", step)
    assert sorted(warning.split()[2] for warning in warnings) == ["one", "two"]
    assert [step for event, step, _ in record.events if event == "train"] == list(range(5))


def test_tensorboard_draws_numbers_and_hides_what_was_beyond_the_checkpoint(folder, make_settings):
    settings = make_settings(loggers=("tensorboard",))
    with open_logger(settings, folder, 0, pytest.fail) as logger:
        for step in (1, 2, 3):
            logger.log("train", step, loss=float(step), device="cpu", best=True)
    with open_logger(settings, folder, 1, pytest.fail) as logger:
        logger.log("train", 2, loss=20.0)
    curves = EventAccumulator(str(folder.tensorboard))
    curves.Reload()
    assert curves.Tags()["scalars"] == ["train/loss"]
    assert [(event.step, event.value) for event in curves.Scalars("train/loss")] == [(1, 1.0), (2, 20.0)]


def test_an_unknown_logger_is_refused(folder, make_settings):
    with pytest.raises(ConfigError, match="expected loggers among jsonl, tensorboard, wandb, got carrier-pigeon"):
        open_logger(make_settings(loggers=("carrier-pigeon",)), folder, 0, pytest.fail)
