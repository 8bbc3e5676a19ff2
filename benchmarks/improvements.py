"""What the improvements cost, on against off on this machine: time of an optimizer step, memory of the EMA.

    python benchmarks/improvements.py [--pairs 60] [key=value ...]

A pair is one step with and one without, on the same days, in alternating order; a table shows medians over the pairs,
and goes to `benchmarks/results/improvements.md`. A step is what training repeats: forward, loss, backward, clipping,
AdamW and, with an EMA, its update. Arguments in Hydra's grammar change the market and the network that are measured.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from atft_gat_fan.config.load import load_config
from atft_gat_fan.runs.assembly import assemble, build_model
from atft_gat_fan.runs.huber_deltas import huber_deltas
from atft_gat_fan.runs.process import prepare_process
from atft_gat_fan.training.objective import Objective
from atft_gat_fan.training.optim import build_optimizer
from atft_gat_fan.training.runtime import make_runtime
from atft_gat_fan.training.settings import TrainSettings
from atft_gat_fan.training.step import TrainStep
from atft_gat_fan.training.weights import Weights

RESULTS = Path(__file__).with_name("results") / "improvements.md"
MARKET = ["data=synthetic", "data.synthetic.num_stocks=200", "data.synthetic.num_days=500"]
FREQ_DROPOUT = ["improvements.freq_dropout_p=0.1"]
MODEL_SIDE = [*FREQ_DROPOUT, "improvements.output_head_small_init=true", "improvements.gat_temperature=0.8"]
TRAINING_SIDE = ["improvements.huber_loss=true", "improvements.use_ema=true"]
COMPARISONS = {
    "every model-side switch (4.1, 4.2, 4.3)": (MODEL_SIDE, "≤ 1.10"),
    "those, Huber and EMA (4.1–4.5)": ([*MODEL_SIDE, *TRAINING_SIDE], "≤ 1.10"),
    "FreqDropout alone (4.2)": (FREQ_DROPOUT, "≤ 1.02"),
}
WARM_UP = 5
EMA_MEMORY = """
import torch
from pathlib import Path
from atft_gat_fan.config.plan import EmaPlan, ModelSpec
from atft_gat_fan.models.network import ATFT_GAT_FAN
from atft_gat_fan.training.ema import EmaTeacher
def resident():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS"))
# So wide that pages and the allocator's habits do not matter.
model = ATFT_GAT_FAN(ModelSpec(num_features=32, hidden_size=1024))
before = resident()
ema = EmaTeacher(model, EmaPlan(0.999))
for _ in range(3):
    ema.update(model)
print((resident() - before) / sum(parameter.nbytes for parameter in model.parameters()))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=60)
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    arguments = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory(prefix="atft-bench-") as folder:
        common = [*MARKET, f"data.cache={folder}", *arguments.overrides]
        for name, (switches, target) in COMPARISONS.items():
            off, on, ratio = paired_steps(common, switches, arguments.pairs)
            rows.append((name, f"{off * 1000:.1f} ms", f"{on * 1000:.1f} ms", f"{ratio:.3f}", target))
    rows.append(("memory of the EMA / one copy of the weights", "", "", f"{ema_memory():.3f}", "≤ 1.05"))
    lines = [
        "| what | off | on | on / off | target |",
        "|---|---|---|---|---|",
        *(f"| {' | '.join(row)} |" for row in rows),
    ]
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


def paired_steps(common: Sequence[str], switches: Sequence[str], pairs: int) -> tuple[float, float, float]:
    """Median seconds of a step off and on, and the median of the pairs' ratios."""
    off, on = stepper(common), stepper([*common, *switches])
    times: dict[Callable[[int], None], list[float]] = {off: [], on: []}
    for pair in range(WARM_UP + pairs):
        for step in (off, on) if pair % 2 else (on, off):
            began = time.perf_counter()
            step(pair)
            times[step].append(time.perf_counter() - began)
    without, with_switches = times[off][WARM_UP:], times[on][WARM_UP:]
    ratio = statistics.median(b / a for a, b in zip(without, with_switches, strict=True))
    return statistics.median(without), statistics.median(with_switches), ratio


def stepper(overrides: Sequence[str]) -> Callable[[int], None]:
    """One optimizer step of a training under `overrides`, by its number; batches are ready beforehand."""
    config = load_config(overrides)
    prepare_process(config.run.num_threads)
    assembly = assemble(config, lambda stage, share: None)
    settings = TrainSettings.from_config(config, assembly.plan, huber_deltas(assembly))
    model, runtime = build_model(assembly), make_runtime(settings)
    runtime.fabric.setup_module(model)
    objective = Objective(settings, runtime.fabric.device)
    optimizer = build_optimizer(model, settings)
    train_step = TrainStep(runtime, model, optimizer, objective, clip_norm=settings.clip_norm, seed=settings.seed)
    weights = Weights(model, settings.ema)
    whole = [block for block in assembly.blocks(epoch=0) if block[1] == settings.batch_size][:8]
    batches = [assembly.batch(*block) for block in whole]
    model.train()

    def step(number: int) -> None:
        report = train_step([batches[number % len(batches)]], number)
        assert report.outcome == "applied", report
        weights.stepped()

    return step


def ema_memory() -> float:
    """Resident memory that an EMA adds, in copies of the weights, in a process of its own."""
    done = subprocess.run([sys.executable, "-c", EMA_MEMORY], capture_output=True, text=True, check=True)
    return float(done.stdout)


if __name__ == "__main__":
    main()
