"""Online normalisation on against off: predictions, time and private memory of the same training on the same panel.

    python benchmarks/online_normalization.py [--steps 50] [--repetitions 3] [key=value ...]

Each run trains `--steps` steps in a process of its own, off and on by turns, after the store was built. Predictions of
the first 20 validation days are compared in units of their standard deviation; peak private memory (RssAnon) and
samples a second are medians over the repetitions. The table goes to `benchmarks/results/online_normalization.md`.
Arguments in Hydra's grammar replace the synthetic market: data=nasdaq data.source=PANEL for the real one.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from atft_gat_fan.config.load import load_config
from atft_gat_fan.data.conversion import cached_store

RESULTS = Path(__file__).with_name("results") / "online_normalization.md"
MARKET = ["data=synthetic", "data.synthetic.num_stocks=300", "data.synthetic.num_days=2500", "labels.transform=rank"]
SWITCH = "improvements.online_normalization"
RUN = """
import io, json, sys, threading, time
from pathlib import Path
import numpy as np, torch
from rich.console import Console
from atft_gat_fan.config.load import load_config
from atft_gat_fan.inference.predictor import predict_days
from atft_gat_fan.runs.assembly import assemble, build_model
from atft_gat_fan.runs.huber_deltas import huber_deltas
from atft_gat_fan.runs.process import prepare_process
from atft_gat_fan.training.loop import fit
from atft_gat_fan.training.run_folder import RunFolder
from atft_gat_fan.training.settings import TrainSettings

peak = 0
def sample():
    global peak
    while True:
        lines = Path("/proc/self/status").read_text().splitlines()
        peak = max(peak, next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon")))
        time.sleep(0.02)

folder, overrides = Path(sys.argv[1]), sys.argv[2:]
config = load_config(overrides)
prepare_process(config.run.num_threads)
threading.Thread(target=sample, daemon=True).start()
began = time.monotonic()
assembly = assemble(config, lambda stage, share: None)
prepared = time.monotonic() - began
model = build_model(assembly)
days = assembly.split.valid[:20]
untrained = predict_days(model, assembly.batches, days).scores
settings = TrainSettings.from_config(config, assembly.plan, huber_deltas(assembly))
with RunFolder(folder / "run") as opened:
    result = fit(model, assembly, settings, opened, Console(file=io.StringIO()))
trained = predict_days(result.model, assembly.batches, days).scores
np.savez(folder / "scores.npz", untrained=untrained, trained=trained)
print(json.dumps({"prepare": prepared, "samples_per_second": result.samples_per_second, "peak": peak}))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    arguments = parser.parse_args()
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
    measured: dict[str, list[dict[str, Any]]] = {"off": [], "on": []}
    scores: dict[str, dict[str, NDArray[np.float32]]] = {}
    for repetition in range(repetitions):
        for name in sorted(measured, reverse=bool(repetition % 2)):
            place = folder / f"{name}{repetition}"
            place.mkdir()
            switch = f"{SWITCH}={str(name == 'on').lower()}"
            done = subprocess.run(
                [sys.executable, "-c", RUN, str(place), *common, switch], stdout=subprocess.PIPE, text=True, check=True
            )
            measured[name].append(json.loads(done.stdout))
            with np.load(place / "scores.npz") as file:
                scores[name] = dict(file)

    def row(what: str, key: str, scale: float, form: str, target: str) -> str:
        off, on = (statistics.median(run[key] for run in measured[name]) for name in ("off", "on"))
        return f"| {what} | {off * scale:{form}} | {on * scale:{form}} | {on / off:.3f} | {target} |"

    return [
        "| what | off | on | on / off | target |",
        "|---|---|---|---|---|",
        row("peak private memory, MB", "peak", 2**-20, ".0f", "≤ 0.85"),
        row("samples/s of training", "samples_per_second", 1.0, ".0f", "≥ 0.97"),
        row("preparing the data, s", "prepare", 1.0, ".1f", ""),
        f"| largest difference of predictions, same weights, in their deviation | | | {apart(scores, 'untrained'):.1e} "
        "| ≤ 1e-3 |",
        f"| the same after {steps} steps | | | {apart(scores, 'trained'):.1e} | ≤ 1e-3 |",
    ]


def apart(scores: dict[str, dict[str, NDArray[np.float32]]], moment: str) -> float:
    """Of all stocks, days and horizons."""
    off, on = scores["off"][moment], scores["on"][moment]
    return float(np.nanmax(np.abs(on - off)) / np.nanstd(off))


if __name__ == "__main__":
    main()
