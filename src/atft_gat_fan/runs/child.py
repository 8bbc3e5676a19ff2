"""A training in a process of its own: it ends with its parent, and waits for one that has not quite ended."""

import ctypes
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from atft_gat_fan.errors import AtftError, StorageError
from atft_gat_fan.signals import StopSignals
from atft_gat_fan.training.run_folder import RunFolder

PATIENCE = 40.0
"""Seconds; a training saves in less."""
PR_SET_PDEATHSIG = 1
"""linux/prctl.h"""


def free_folder(folder: Path, signals: StopSignals) -> RunFolder:
    """The run's folder, once an earlier process has let go of it: one whose parent was killed is still saving."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return RunFolder(folder)
        except StorageError:
            if time.monotonic() > deadline:
                raise
        signals.raise_if_received("while waiting for its folder", saved="nothing was begun")
        time.sleep(0.2)


def run_as_child(work: Callable[[Path], None]) -> None:
    """Do `work` on the folder of the command line. Exit codes are those of `atft`; messages go to stderr, which the
    parent keeps as a log.
    """
    if sys.platform == "linux":  # no orphans that hold the folders when the parent itself is killed
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    try:
        work(Path(sys.argv[1]))
    except AtftError as error:
        print(error, file=sys.stderr, flush=True)
        sys.exit(error.exit_code)
