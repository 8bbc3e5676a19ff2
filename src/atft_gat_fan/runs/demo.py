"""The main job on embedded real data, sized for a coffee break."""

from pathlib import Path

from rich.console import Console

from atft_gat_fan.config.load import load_config
from atft_gat_fan.config.overrides import assignment
from atft_gat_fan.runs.train import train


def demo(out: Path, console: Console) -> Path:
    """Build, train, evaluate and report in `out`; a finished demo is only shown again."""
    return train(load_config(["config=atft/demo", assignment("run.dir", str(out))]), console)
