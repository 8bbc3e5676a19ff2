"""Online normalisation on against off: predictions, speed and private memory of the same training on the same panel.

    python benchmarks/online_normalization.py [--steps 50] [--repetitions 3] [key=value ...]

Each run trains `--steps` steps in a process of its own, by turns, after the store was built. Predictions of the first
20 validation days are compared in units of their standard deviation. A third run has it off and every feature one
rounding away, to show what arithmetic in float32 would do to a training. Peak private memory (RssAnon) and speed are
medians over the repetitions. The table goes to `benchmarks/results/online_normalization.md`. Arguments in Hydra's
grammar replace the synthetic market: data=nasdaq data.source=PANEL for the real one.
"""

import argparse
import io
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
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
from atft_gat_fan.runs.process import prepare_process
from atft_gat_fan.training.loop import fit
from atft_gat_fan.training.run_folder import RunFolder
from atft_gat_fan.training.settings import TrainSettings

RESULTS = Path(__file__).with_name("results") / "online_normalization.md"
MARKET = ["data=synthetic", "data.synthetic.num_stocks=300", "data.synthetic.num_days=2500", "labels.transform=rank"]
OFF, ON, NUDGED = "off", "on", "nudged"
SCORED_DAYS = 20
Scores = dict[str, NDArray[np.float32]]
"""Of the untrained and the trained network."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--run", metavar="FOLDER", type=Path, help="do one run in FOLDER, whose name says which")
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    arguments = parser.parse_args()
    if arguments.run is not None:
        print(json.dumps(one_run(arguments.run, arguments.overrides)))
        return
    with tempfile.TemporaryDirectory(prefix="atft-bench-") as folder:
        lines = compare(Path(folder), arguments.overrides, arguments.steps, arguments.repetitions)
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


def compare(folder: Path, overrides: list[str], steps: int, repetitions: int) -> list[str]:
    """The table as lines of Markdown."""
    common = [
        *(overrides or MARKET), f"data.cache={folder / 'cache'}", f"train.max_steps={steps}", "train.max_epochs=50",
        "train.tensorboard=false",
    ]  # fmt: skip
    cached_store(load_config(common), lambda stage, share: None)
    measured: dict[str, list[dict[str, float]]] = {OFF: [], ON: []}
    scores: dict[str, Scores] = {}
    for repetition in range(repetitions):
        for name in sorted(measured, reverse=bool(repetition % 2)):
            figures, scores[name] = in_a_process(folder / str(repetition) / name, common)
            measured[name].append(figures)
    _, scores[NUDGED] = in_a_process(folder / NUDGED, common)

    def row(what: str, key: str, scale: float, form: str, target: str) -> str:
        off, on = (statistics.median(run[key] for run in measured[name]) for name in (OFF, ON))
        return f"| {what} | {off * scale:{form}} | {on * scale:{form}} | {on / off:.3f} | {target} |"

    def apart(name: str, moment: str) -> str:
        off, other = scores[OFF][moment], scores[name][moment]
        return f"{np.nanmax(np.abs(other - off)) / np.nanstd(off):.1e}"

    return [
        "| what | off | on | on / off | target |",
        "|---|---|---|---|---|",
        row("peak private memory, MB", "peak", 2**-20, ".0f", "≤ 0.85"),
        row("samples/s of training", "samples_per_second", 1.0, ".0f", "≥ 0.97"),
        row("preparing the data, s", "prepare", 1.0, ".1f", ""),
        f"| largest difference of predictions, same weights | | {apart(ON, 'untrained')} | | ≤ 1e-3 |",
        f"| the same after {steps} steps | | {apart(ON, 'trained')} | | ≤ 1e-3 |",
        f"| … of a run that is off, with features one rounding away | {apart(NUDGED, 'trained')} | | | |",
    ]


def in_a_process(folder: Path, overrides: list[str]) -> tuple[dict[str, float], Scores]:
    """Figures and scores of one run."""
    folder.mkdir(parents=True)
    command = [sys.executable, __file__, "--run", str(folder), *overrides]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    with np.load(folder / "scores.npz") as file:
        return json.loads(done.stdout), dict(file)


def one_run(folder: Path, overrides: list[str]) -> dict[str, Any]:
    """Train and predict in this process; scores go to the folder."""
    config = load_config([*overrides, f"improvements.online_normalization={str(folder.name == ON).lower()}"])
    prepare_process(config.run.num_threads)
    peak = PeakMemory()
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
    with RunFolder(folder / "run") as opened:
        result = fit(model, assembly, settings, opened, Console(file=io.StringIO()))
    np.savez(
        folder / "scores.npz",
        untrained=untrained,
        trained=predict_days(result.model, assembly.batches, days).scores,
    )
    return {"prepare": prepare, "samples_per_second": result.samples_per_second, "peak": peak.nbytes}


class PeakMemory:
    """The most private memory of this process so far, sampled by a thread."""

    def __init__(self) -> None:
        self.nbytes = 0
        threading.Thread(target=self._sample, daemon=True).start()

    def _sample(self) -> None:
        status = Path("/proc/self/status")
        while True:
            line = next(line for line in status.read_text().splitlines() if line.startswith("RssAnon"))
            self.nbytes = max(self.nbytes, int(line.split()[1]) * 1024)
            time.sleep(0.02)


if __name__ == "__main__":
    main()
