import json
import math
import os
import subprocess
import sys

import pytest
from omegaconf import OmegaConf

from atft_gat_fan.config.schema import Config
from atft_gat_fan.errors import ConfigError, DataError, InterruptedRunError, NonFiniteError, StorageError
from atft_gat_fan.training.run_folder import RunFolder


def test_makes_the_folder_and_its_parents(tmp_path):
    with RunFolder(tmp_path / "a" / "b") as folder:
        assert folder.path.is_dir()


def test_a_folder_that_cannot_be_written_is_a_storage_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"file/run.*run\.dir") as caught:
        RunFolder(tmp_path / "file" / "run")
    assert caught.value.exit_code == 74


def test_a_second_holder_is_refused_until_the_first_lets_go(tmp_path):
    with RunFolder(tmp_path), pytest.raises(StorageError, match=f"in use by process {os.getpid()} on"):
        RunFolder(tmp_path)
    RunFolder(tmp_path).close()


def test_a_second_process_is_refused(tmp_path):
    code = f"from atft_gat_fan.training.run_folder import RunFolder; RunFolder({str(tmp_path)!r})"
    with RunFolder(tmp_path):
        second = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert second.returncode != 0
    assert (
        f"StorageError: {tmp_path}: expected a free run folder, found it in use by process {os.getpid()}"
        in second.stderr
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_json_is_strict_and_appears_whole(folder):
    folder.write_json_atomic("metrics.json", {"rank_ic": math.nan, "nested": [math.inf, (1.5, "a")]})
    assert json.loads((folder.path / "metrics.json").read_text(), parse_constant=pytest.fail) == {
        "rank_ic": None,
        "nested": [None, [1.5, "a"]],
    }
    (folder.path / "metrics.json").chmod(0o444)
    inode = (folder.path / "metrics.json").stat().st_ino
    folder.write_json_atomic("metrics.json", {})
    assert (folder.path / "metrics.json").stat().st_ino != inode, "replaced by a rename, never rewritten in place"
    assert not list(folder.path.glob("*.tmp"))


def test_the_written_config_is_the_resolved_one(folder):
    config = Config(seed=7)
    folder.write_config(config)
    assert Config.model_validate(OmegaConf.to_container(OmegaConf.load(folder.path / "config.yaml"))) == config


def test_clear_deletes_what_runs_write_and_nothing_else(folder):
    for name in ("checkpoints", "model", "tensorboard", "notes"):
        (folder.path / name).mkdir()
        (folder.path / name / "file").write_text("")
    for name in ("events.jsonl", "metrics.json", "run_state.json", "thesis.tex"):
        (folder.path / name).write_text("{}")
    folder.clear()
    assert sorted(path.name for path in folder.path.iterdir()) == [".lock", "notes", "thesis.tex"]
    with pytest.raises(StorageError):
        RunFolder(folder.path)


def test_clear_does_not_follow_links(folder, tmp_path):
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").write_text("")
    (folder.path / "checkpoints").symlink_to(precious)
    folder.clear()
    assert (precious / "file").exists()
    assert not (folder.path / "checkpoints").is_symlink()


def test_state_says_how_the_work_ended(folder):
    assert folder.read_state() is None
    with folder.recording():
        assert folder.read_state().status == "running"
    assert (folder.read_state().status, folder.read_state().resumable) == ("finished", False)


@pytest.mark.parametrize(
    ("error", "status", "resumable"),
    [
        (InterruptedRunError("SIGTERM", 143), "interrupted", True),
        (StorageError("disk full"), "failed", True),
        (NonFiniteError("diverged"), "failed", False),
        (ConfigError("wrong"), "failed", False),
        (DataError("wrong"), "failed", False),
        (RuntimeError("a bug"), "failed", True),
        (KeyboardInterrupt(), "failed", True),
    ],
)
def test_state_says_why_it_ended_and_whether_it_can_go_on(folder, error, status, resumable):
    with pytest.raises(type(error)), folder.recording():
        raise error
    state = folder.read_state()
    assert (state.status, state.resumable) == (status, resumable)
    assert str(error) in state.exit_reason


def test_a_damaged_state_is_named(folder):
    (folder.path / "run_state.json").write_text('{"status": ')
    with pytest.raises(StorageError, match=r"run_state\.json"):
        folder.read_state()


def test_a_folder_that_is_not_held_is_not_made_and_stands_beside_the_one_that_is(tmp_path):
    RunFolder(tmp_path / "run", hold=False).close()
    assert not (tmp_path / "run").exists()
    with RunFolder(tmp_path / "run"), RunFolder(tmp_path / "run", hold=False) as beside:
        assert beside.checkpoints == tmp_path / "run" / "checkpoints"
