"""Trainings of a second or two, for tests of what is done with finished runs."""

import io
from pathlib import Path

from rich.console import Console

from atft_gat_fan.config.load import load_config
from atft_gat_fan.config.overrides import assignment
from atft_gat_fan.runs.train import train

TINY = {
    "data.horizons": [1, 2],
    "graph.lookback": 20,
    "graph.min_periods": 10,
    "train.max_steps": 8,
    "train.tensorboard": False,
    "model.hidden_size": 8,
    "model.variable_size": 2,
    "compile": False,
    "run.num_threads": 1,
    "evaluation.baselines": ["reversal"],
}
"""Keys of a run on `tiny_panel`."""
MARKET = ["data=synthetic", "data.synthetic.num_days=330", "data.synthetic.num_stocks=12"]


def quiet() -> Console:
    return Console(file=io.StringIO())


def tiny_run(folder: Path, cache: Path, *arguments: str) -> Path:
    """Train on the synthetic market into `folder`."""
    keys = [f"{key}={str(value).replace(' ', '').replace(chr(39), '')}" for key, value in TINY.items()]
    places = [assignment("run.dir", str(folder)), assignment("data.cache", str(cache))]
    return train(load_config([*MARKET, *keys, *places, *arguments]), quiet())
