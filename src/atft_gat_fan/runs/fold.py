"""One run of many, a fold's or a sweep's, in a process of its own: `python -m atft_gat_fan.runs.fold FOLDER`.

The folder is that of an ordinary run whose configuration has been written already; what an earlier process left there
is gone on with.
"""

from pathlib import Path

from rich.console import Console

from atft_gat_fan.config.load import read_config
from atft_gat_fan.runs.child import free_folder, run_as_child
from atft_gat_fan.runs.run_files import CONFIG
from atft_gat_fan.runs.train import train
from atft_gat_fan.signals import StopSignals


def run_fold(folder: Path) -> None:
    """Train, evaluate and report. Raises as `train`."""
    with StopSignals() as signals:
        free_folder(folder, signals).close()
    train(read_config(folder / CONFIG), Console(stderr=True))


if __name__ == "__main__":
    run_as_child(run_fold)
