"""Online normalisation on against off: predictions, speed and private memory of the same training on the same panel.

    python -m benchmarks.online_normalization [--quick] [--panel nasdaq_2003_2017.parquet] [key=value ...]

Each run trains 50 steps in a process of its own, by turns, after the store was built. Predictions of the first
20 validation days are compared in units of their standard deviation. A third run has it off and every feature one
rounding away, to show what arithmetic in float32 would do to a training. Peak private memory (RssAnon) and speed are
medians over the repetitions. The panel is the NASDAQ one of Feng et al. 2019, else a synthetic market; arguments in
Hydra's grammar change either.
"""

import io
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from atft_gat_fan.config.load import load_config
from atft_gat_fan.data.conversion import cached_store
from atft_gat_fan.data.materialised import MaterialisedPanel
from atft_gat_fan.inference.predictor import predict_days
from atft_gat_fan.runs.assembly import assemble, build_model
from atft_gat_fan.runs.huber_deltas import huber_deltas
from atft_gat_fan.runs.private_memory import peak_private_bytes
from atft_gat_fan.runs.process import prepare_process
from atft_gat_fan.signals import StopSignals
from atft_gat_fan.training.loop import fit
from atft_gat_fan.training.run_folder import RunFolder
from atft_gat_fan.training.settings import TrainSettings
from benchmarks.measuring import (
    ROOT,
    Figure,
    Target,
    arguments,
    at_least,
    at_most,
    in_turn,
    median_ratio,
    publish,
    significant,
)

COMMAND = "python -m benchmarks.online_normalization"
MARKET = ["data=synthetic", "data.synthetic.num_stocks=300", "data.synthetic.num_days=2500", "labels.transform=rank"]
OFF, ON, NUDGED = "off", "on", "nudged"
SCORED_DAYS = 20
Scores = dict[str, NDArray[np.float32]]
"""Of the untrained and the trained network."""


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--panel", type=Path, help="nasdaq_2003_2017.parquet")
    parser.add_argument("--run", metavar="FOLDER", type=Path, help="do one run in FOLDER, whose name says which")
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    parsed = parser.parse_args()
    if parsed.run is not None:
        print(json.dumps(one_run(parsed.run, parsed.overrides)))
        return
    market = MARKET if parsed.panel is None else ["data=nasdaq", f"data.source={parsed.panel.resolve()}"]
    steps, repetitions = (10, 1) if parsed.quick else (50, 3)
    with tempfile.TemporaryDirectory(prefix="atft-bench-") as folder:
        rows = compare(Path(folder), [*market, *parsed.overrides], steps, repetitions)
    publish("online_normalization", rows, quick=parsed.quick)


def compare(folder: Path, overrides: Sequence[str], steps: int, repetitions: int) -> list[Figure]:
    common = [
        *overrides, f"data.cache={folder / 'cache'}", f"train.max_steps={steps}", "train.max_epochs=50",
        "train.tensorboard=false",
    ]  # fmt: skip
    cached_store(load_config(common), lambda stage, share: None)
    measured: dict[str, list[dict[str, float]]] = {OFF: [], ON: []}
    scores: dict[str, Scores] = {}
    for repetition in range(repetitions):
        for name in in_turn(measured, repetition):
            figures, scores[name] = in_a_process(folder / str(repetition) / name, common)
            measured[name].append(figures)
    _, scores[NUDGED] = in_a_process(folder / NUDGED, common)

    def ratio(what: str, key: str, scale: float, target: Target | None) -> Figure:
        off, on = ([run[key] * scale for run in measured[name]] for name in (OFF, ON))
        detail = f"{significant(statistics.median(on))} and {significant(statistics.median(off))}"
        what = f"online normalisation on / off: {what}"
        return Figure.of(what, median_ratio(on, off), COMMAND, target, detail=detail)

    def apart(what: str, name: str, moment: str, target: Target | None) -> Figure:
        off, other = scores[OFF][moment], scores[name][moment]
        difference = float(np.nanmax(np.abs(other - off)) / np.nanstd(off))
        return Figure.of(f"largest difference of predictions over their spread, {what}", difference, COMMAND, target)

    return [
        ratio("peak private memory, MB", "peak", 2**-20, at_most(0.85)),
        ratio("training samples/s", "samples_per_second", 1.0, at_least(0.97)),
        ratio("preparing the data, s", "prepare", 1.0, None),
        apart("on and off, same weights", ON, "untrained", at_most(1e-3)),
        apart(f"on and off, after {steps} steps", ON, "trained", at_most(1e-3)),
        apart(f"off, features one rounding away, after {steps} steps", NUDGED, "trained", None),
    ]


def in_a_process(folder: Path, overrides: list[str]) -> tuple[dict[str, float], Scores]:
    """Figures and scores of one run."""
    folder.mkdir(parents=True)
    command = [sys.executable, "-m", "benchmarks.online_normalization", "--run", str(folder), *overrides]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    with np.load(folder / "scores.npz") as file:
        return json.loads(done.stdout), dict(file)


def one_run(folder: Path, overrides: list[str]) -> dict[str, Any]:
    """Train and predict in this process; scores go to the folder."""
    config = load_config([*overrides, f"improvements.online_normalization={str(folder.name == ON).lower()}"])
    prepare_process(config.run.num_threads)
    with peak_private_bytes() as peak:
        began = time.monotonic()
        assembly = assemble(config, lambda stage, share: None)
        prepare = time.monotonic() - began
        if folder.name == NUDGED:
            assert isinstance(assembly.batches.data, MaterialisedPanel)
            for features in assembly.batches.data.features:
                np.nextafter(features, np.float32(np.inf), out=features)
        model, days = build_model(assembly), assembly.split.valid[:SCORED_DAYS]
        untrained = predict_days(model, assembly.batches, days).scores
        settings = TrainSettings.from_config(config, assembly.plan, huber_deltas(assembly))
        with StopSignals() as signals, RunFolder(folder / "run") as opened:
            result = fit(model, assembly, settings, opened, Console(file=io.StringIO()), signals)
    trained = predict_days(result.model, assembly.batches, days).scores
    np.savez(folder / "scores.npz", untrained=untrained, trained=trained)
    return {"prepare": prepare, "samples_per_second": result.samples_per_second, "peak": peak.num_bytes}


if __name__ == "__main__":
    main()
