"""The real wandb, offline; and stand-ins for one that is slow or broken, put before it on the path."""

import sys
import time
from pathlib import Path

import pytest

from atft_gat_fan.signals import StopSignals
from atft_gat_fan.training import wandb_sink
from atft_gat_fan.training.loggers import open_logger
from atft_gat_fan.training.loop import fit
from atft_gat_fan.training.settings import WandbSettings
from atft_gat_fan.training.wandb_sink import WandbSink

KEY = "planted0key1that2must3never4be5written6down"


@pytest.fixture(autouse=True)
def no_account(tmp_path, monkeypatch):
    """No login key, and none of the settings of whoever runs the tests."""
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_DIR", "WANDB_PROJECT", "NETRC", "WANDB_CONFIG_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """A wandb whose `init` runs the given code."""

    def install(code: str) -> None:
        package = tmp_path / "stand_in"
        package.mkdir()
        (package / "wandb.py").write_text(
            "class Settings:\n    mode = 'offline'\n    def __init__(self, **k): self.settings = self\n"
            f"def setup(settings): return settings\ndef init(**k):\n    {code}\n"
        )
        monkeypatch.setenv("PYTHONPATH", f"{package}:{':'.join(sys.path)}")

    return install


def content(folder: Path) -> bytes:
    return b"".join(file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file())


def recorded(run: Path) -> list[Path]:
    return sorted((run / "wandb").glob("*-run-*/*.wandb"))


def test_without_a_login_it_records_offline_below_the_run(tmp_path):
    sink = WandbSink(tmp_path, WandbSettings(project="ours", tags=("a-tag",), config={"model": {"hidden_size": 64}}))
    sink.write("train", 10, {"loss_1d": 0.5, "device": "cpu-word", "best": True, "unknown": float("nan")})
    sink.close()
    (file,) = recorded(tmp_path)
    assert file.parent.name.startswith("offline-run")
    told = file.read_bytes()
    for word in (b"train/loss_1d", b"ours", b"a-tag", b"hidden_size"):
        assert word in told, word
    for word in (b"cpu-word", b"train/best", b"train/unknown"):
        assert word not in told, word


def test_a_resumed_run_goes_on_under_its_name_and_a_fresh_one_gets_another(tmp_path, folder):
    def start() -> str:
        WandbSink(folder.path, WandbSettings()).close()
        return recorded(folder.path)[-1].stem

    first = start()
    assert start() == first
    folder.clear()
    assert not (folder.path / "wandb").exists()
    assert start() != first


@pytest.mark.parametrize("key", [KEY, KEY[:12], f" {KEY}"], ids=["well-formed", "too short", "malformed"])
def test_the_login_key_is_in_no_file_the_run_leaves(
    key, folder, make_network, market, make_settings, console, monkeypatch
):
    monkeypatch.setenv("WANDB_API_KEY", key)
    monkeypatch.setenv("WANDB_MODE", "offline")
    settings = make_settings(loggers=("jsonl", "tensorboard", "wandb"), max_epochs=1, log_every=2)
    fit(make_network(), market, settings, folder, console, StopSignals())
    left = content(folder.path)
    assert b"run_state" not in left
    assert b"grad_norm_head" in left
    assert key.strip().encode() not in left
    assert key.strip() not in console.file.getvalue()
    if key == KEY:
        assert b"train/grad_norm_head" in b"".join(file.read_bytes() for file in recorded(folder.path))
        assert "stopped" not in console.file.getvalue()


def test_a_login_without_a_network_neither_blocks_nor_shows_the_key(folder, make_settings, monkeypatch):
    """The real wandb, online, against a port where nobody listens."""
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setattr(wandb_sink, "CLOSE_SECONDS", 4.0)
    warnings = []
    with open_logger(make_settings(loggers=("jsonl", "wandb")), folder, 0, warnings.append) as logger:
        began = time.monotonic()
        for step in range(100):
            logger.log("train", step, loss=0.1)
        assert time.monotonic() - began < 2
    (warning,) = warnings
    assert "logging to wandb stopped" in warning
    assert "wandb sync" in warning or "WANDB_MODE=offline" in warning
    assert b"wandb" in content(folder.path)
    assert KEY.encode() not in content(folder.path)
    assert KEY not in warning


def test_a_failing_wandb_is_one_warning_that_does_not_quote_it(stand_in, folder, make_settings):
    stand_in(f"raise ConnectionError('no network for {KEY}')")
    warnings = []
    with open_logger(make_settings(loggers=("jsonl", "wandb")), folder, 0, warnings.append) as logger:
        for step in range(50):
            logger.log("train", step, loss=0.1)
            time.sleep(0.02)
    (warning,) = warnings
    assert "logging to wandb stopped" in warning
    assert "ConnectionError" in warning
    assert KEY.encode() not in content(folder.path)
    assert folder.events.read_text().count('"train"') == 50


def test_a_wandb_that_hangs_never_blocks_and_is_ended(stand_in, folder, make_settings, monkeypatch):
    stand_in("import time; time.sleep(600)")
    monkeypatch.setattr(wandb_sink, "CLOSE_SECONDS", 0.5)
    warnings, sink = [], None
    began = time.monotonic()
    with open_logger(make_settings(loggers=("wandb",)), folder, 0, warnings.append) as logger:
        sink = logger._sinks["wandb"]
        for step in range(200):
            logger.log("train", step, loss=0.1)
        logged = time.monotonic() - began
    assert logged < 1
    (warning,) = warnings
    assert "not finished" in warning
    assert sink._worker.returncode == -9


def test_a_full_pipe_drops_the_sink_and_not_the_training(stand_in, folder, make_settings):
    stand_in("import time; time.sleep(600)")
    warnings = []
    began = time.monotonic()
    with open_logger(make_settings(loggers=("wandb",)), folder, 0, warnings.append) as logger:
        for step in range(100):
            logger.log("train", step, text="x" * 50_000)
    assert time.monotonic() - began < 5
    (warning,) = warnings
    assert "does not keep up" in warning


def test_without_wandb_installed_it_says_what_to_install(folder, make_settings, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    warnings = []
    with open_logger(make_settings(loggers=("jsonl", "wandb")), folder, 0, warnings.append) as logger:
        logger.log("train", 1, loss=0.1)
    (warning,) = warnings
    assert "pip install" in warning
    assert '"loss": 0.1' in folder.events.read_text()
