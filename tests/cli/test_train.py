"""`atft train` among the processes of torchrun."""

import os
import subprocess
import sys

import pytest

RANK = {"WORLD_SIZE": "2", "RANK": "1", "LOCAL_RANK": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}


@pytest.mark.parametrize(
    ("option", "mend"),
    [("-m", "start torchrun for each run"), ("--supervise", "use torchrun --max-restarts")],
)
def test_processes_of_torchrun_train_one_run(option: str, mend: str) -> None:
    command = [sys.executable, "-m", "atft_gat_fan.cli", "train", option, "seed=1"]
    done = subprocess.run(command, env={**os.environ, **RANK}, capture_output=True, text=True, check=False)
    assert done.returncode == 78
    assert f"expected one training for the processes of torchrun, found {option}: {mend}" in done.stderr
