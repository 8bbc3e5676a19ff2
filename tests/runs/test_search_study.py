"""The record of a search: seeded, gone on with as if it had not been stopped, and only what was asked counts."""

import math
import time
from pathlib import Path

import pytest

from atft_gat_fan.config.schema import SearchConfig
from atft_gat_fan.config.search_space import read_space
from atft_gat_fan.errors import StorageError

pytest.importorskip("optuna")

from atft_gat_fan.runs.search_study import JOURNAL, Study

SPACE = read_space(["optimizer.lr=tag(log,interval(1e-4,1e-2))", "model.hidden_size=choice(16,32)"])
SETTINGS = SearchConfig(num_trials=20, startup_trials=5, pruning_startup_trials=2, pruning_warmup_epochs=1)


def value_of(arguments: tuple[str, ...]) -> float:
    """Best at a learning rate of 1e-3 with 32 units."""
    lr = float(arguments[0].split("=")[1])
    return -abs(math.log10(lr) + 3) + (0.1 if arguments[1].endswith("32") else 0.0)


def try_some(study: Study, count: int) -> None:
    for _ in range(count):
        tried = study.draw()
        study.finish(tried.number, value_of(tried.arguments))


def test_the_same_seed_draws_the_same_also_when_it_was_stopped_in_between(tmp_path: Path) -> None:
    for name in ("whole", "stopped", "other"):
        (tmp_path / name).mkdir()
    whole = Study(tmp_path / "whole", SPACE, SETTINGS)
    try_some(whole, 12)
    try_some(Study(tmp_path / "stopped", SPACE, SETTINGS), 7)
    again = Study(tmp_path / "stopped", SPACE, SETTINGS)
    try_some(again, 5)
    assert again.tried == whole.tried
    other = Study(tmp_path / "other", SPACE, SETTINGS.model_copy(update={"seed": 1}))
    try_some(other, 3)
    assert [each.arguments for each in other.tried] != [each.arguments for each in whole.tried[:3]]


def test_it_learns_what_is_good(tmp_path: Path) -> None:
    study = Study(tmp_path, SPACE, SETTINGS)
    try_some(study, 30)
    values = [each.value for each in study.tried if each.value is not None]
    assert sum(values[-10:]) / 10 > sum(values[:5]) / 5
    importance = study.importances()
    assert set(importance) == {"optimizer.lr", "model.hidden_size"}
    assert importance["optimizer.lr"] > importance["model.hidden_size"]


def test_a_trial_below_the_median_of_the_others_is_hopeless_after_the_warm_up(tmp_path: Path) -> None:
    study = Study(tmp_path, SPACE, SETTINGS)
    for level in (0.04, 0.05, 0.06):
        number = study.draw().number
        for epoch in (1, 2, 3):
            study.report(number, epoch, level)
            assert not study.hopeless(number)
        study.finish(number, level)
    bad, good = study.draw().number, study.draw().number
    for number, level in ((bad, 0.01), (good, 0.09)):
        study.report(number, 1, level)
    assert study.hopeless(bad)
    assert not study.hopeless(good)
    study.prune(bad)
    study.fail(good, "the disk is full")
    again = Study(tmp_path, SPACE, SETTINGS).tried
    assert [each.state for each in again] == ["complete"] * 3 + ["pruned", "failed"]
    assert again[3].by_epoch == {1: 0.01}
    assert again[4].why == "the disk is full"
    never = Study(tmp_path, SPACE, SETTINGS.model_copy(update={"pruning": False}))
    assert not never.hopeless(never.draw().number)


def test_a_running_trial_is_there_again_and_can_be_settled(tmp_path: Path) -> None:
    number = Study(tmp_path, SPACE, SETTINGS).draw().number
    again = Study(tmp_path, SPACE, SETTINGS)
    (tried,) = again.tried
    assert tried.state == "running"
    again.report(number, 1, 0.1)
    again.report(number, 1, 0.1)
    again.finish(number, 0.2)
    assert again.tried[0].value == 0.2


def test_a_lock_that_a_killed_process_left_is_not_waited_for(tmp_path: Path) -> None:
    began = time.monotonic()
    (tmp_path / f"{JOURNAL}.lock").touch()
    try_some(Study(tmp_path, SPACE, SETTINGS), 1)
    (tmp_path / f"{JOURNAL}.lock").touch()
    assert len(Study(tmp_path, SPACE, SETTINGS).tried) == 1
    assert time.monotonic() - began < 15, "Optuna waits for 30 s"


def test_a_torn_last_line_is_cut_off_and_what_is_no_journal_is_refused(tmp_path: Path) -> None:
    study = Study(tmp_path, SPACE, SETTINGS)
    try_some(study, 3)
    journal = tmp_path / JOURNAL
    with journal.open("ab") as file:
        file.write(b'{"op_code": 4, "wor')
    again = Study(tmp_path, SPACE, SETTINGS)
    assert len(again.tried) == 3
    try_some(again, 1)
    assert len(Study(tmp_path, SPACE, SETTINGS).tried) == 4
    for content in (b"not json\n", b'{"op_code": 0}\n', b'["x"]\n'):
        journal.write_bytes(content)
        with pytest.raises(StorageError, match="expected the journal of this search"):
            Study(tmp_path, SPACE, SETTINGS)
    journal.unlink()
    journal.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StorageError, match="a link"):
        Study(tmp_path, SPACE, SETTINGS)
