"""What a worker does for a job, without a cluster: it must see the folder, and leaves no process behind."""

import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from atft_gat_fan.validation import ray_task
from atft_gat_fan.validation.ray_task import Task, run_task


def make_task(folder: Path, body: str, **changes) -> Task:
    (folder / "sign").write_text("a token")
    values = {
        "command": (sys.executable, "-c", body),
        "here": str(folder),
        "sign": "sign",
        "token": "a token",
        "log": "log",
        "grace": 20.0,
    }
    return Task(**{**values, **changes})


def test_the_process_runs_in_the_working_folder_and_its_words_are_kept(tmp_path: Path) -> None:
    ran = run_task(make_task(tmp_path, "import os; print(os.getcwd()); raise SystemExit(3)"))
    assert (ran.code, ran.complaint) == (3, "")
    assert (tmp_path / "log").read_text().strip() == str(tmp_path)
    assert run_task(make_task(tmp_path, "import os; os.kill(os.getpid(), 9)")).code == -signal.SIGKILL


def test_a_folder_of_another_machine_is_not_taken_for_the_jobs(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(ray_task, "SIGHT", 0.2)
    body = "open('ran', 'w')"
    for task, seen in (
        (make_task(tmp_path, body, token="another"), "does not see the trial's folder"),
        (make_task(tmp_path, body, sign="elsewhere/sign"), f"does not see the trial's folder {tmp_path}/elsewhere"),
        (make_task(tmp_path, body, here=str(tmp_path / "none")), f"sees no working folder {tmp_path}/none"),
    ):
        assert seen in run_task(task).complaint
    assert not (tmp_path / "ran").exists()


def test_an_installation_that_is_not_there_is_named(tmp_path: Path) -> None:
    ran = run_task(make_task(tmp_path, "", command=("/no/such/python",)))
    assert "cannot start /no/such/python: No such file" in ran.complaint


@pytest.mark.parametrize("started", [signal.default_int_handler, signal.SIG_IGN], ids=["as usual", "by nohup"])
@pytest.mark.parametrize(("grace", "code"), [(20.0, 143), (0.3, -signal.SIGKILL)])
def test_a_cancelled_task_has_its_process_save_and_end_or_kills_it(
    tmp_path: Path, grace: float, code: int, started
) -> None:
    body = """
import signal, sys, time
def told(*_):
    open("told", "w").close()
    time.sleep(1.0)
    sys.exit(143)
signal.signal(signal.SIGTERM, told)
open("begun", "w").close()
time.sleep(60)
"""

    def cancel() -> None:
        while not (tmp_path / "begun").exists():
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=cancel)
    before = signal.signal(signal.SIGINT, started)
    try:
        thread.start()
        ran = run_task(make_task(tmp_path, body, grace=grace))
        thread.join()
        assert signal.getsignal(signal.SIGINT) == started
    finally:
        signal.signal(signal.SIGINT, before)
    assert ran.code == code
    assert (tmp_path / "told").exists()
