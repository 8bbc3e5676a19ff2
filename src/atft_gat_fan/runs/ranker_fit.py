"""The training behind the facade's `fit`: the tool's own, and the promise that the model is of this panel."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl
from rich.console import Console

from atft_gat_fan.config.load import load_config, overridden
from atft_gat_fan.config.overrides import assignment
from atft_gat_fan.config.schema import Config
from atft_gat_fan.data.conversion import cached_store
from atft_gat_fan.data.sources.frame import FRAMES, keep_frame
from atft_gat_fan.errors import ConfigError
from atft_gat_fan.inference.bundle import load_bundle
from atft_gat_fan.runs.ranker_arguments import arguments
from atft_gat_fan.runs.run_files import BUNDLE
from atft_gat_fan.runs.run_status import unfinished
from atft_gat_fan.runs.stages import Stages
from atft_gat_fan.runs.train import train
from atft_gat_fan.signals import StopSignals


def fitted_run(parameters: Mapping[str, Any], panel: pl.DataFrame | str, run: Path, console: Console) -> Path:
    """The folder `run` of a finished training, made now or, where it is there already, taken over.

    `panel` is a frame or what `data.source` takes. Raises as `train` does, and ConfigError where the finished run is of
    other values at the same source: the tool would show such a run again, but to fit is to learn from these data.
    """
    config = _config(parameters, panel, run)
    finished = not unfinished(run) and not config.run.fresh
    train(config, console)
    if finished:
        with StopSignals() as signals, Stages(console, signals) as stages:
            now = cached_store(config, stages).fingerprint
        then = load_bundle(run / BUNDLE).training["source"]
        if now != then:
            raise ConfigError(
                f"{run}: expected a fit of this panel, found a finished one of other data (fingerprint {then[:16]}, "
                f"now {now[:16]}); choose another run_dir, or overrides={{'run.fresh': True}} to start over"
            )
    return run


def _config(parameters: Mapping[str, Any], panel: pl.DataFrame | str, run: Path) -> Config:
    # Where a frame is kept the configuration says, and so something must stand in for it until then.
    standing_in = [assignment("data.source", "sample"), assignment("run.dir", str(run))]
    config = load_config([*arguments(parameters), *standing_in])
    if isinstance(panel, pl.DataFrame):
        panel = str(keep_frame(panel, Path(config.data.cache) / FRAMES).resolve())
    return overridden(config, [assignment("data.source", panel)])
