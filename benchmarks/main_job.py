"""The figures of the main job: how long the demo takes and, on a wide real panel, building, training and ranking.

    python -m benchmarks.main_job [--quick] [--panel nasdaq_2003_2017.parquet]

The panel is the NASDAQ one of Feng et al. 2019; without it, and with `--quick`, the demo alone. Absolute times belong
to the machine they were taken on; the ratio of the allocator is taken by alternating both settings.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.measuring import Figure, arguments, in_turn, median_ratio, publish, significant
from benchmarks.private_memory import watch

COMMAND = "python -m benchmarks.main_job --panel PANEL"
ATFT = str(Path(sys.executable).with_name("atft"))
HORIZON = "1d"
SPEED = """
import sys, time, torch
from atft_gat_fan.config.load import load_config
from atft_gat_fan.runs.assembly import assemble, build_model
from atft_gat_fan.runs.process import keep_freed_memory
from atft_gat_fan.types import RandomKey
if sys.argv[1] == "kept":
    keep_freed_memory()
config = load_config(sys.argv[2:])
assembly = assemble(config, lambda stage, share: None)
model = build_model(assembly).train()
rates = []
for step, block in enumerate(assembly.blocks(0)[:8]):
    batch = assembly.batch(*block)
    began = time.perf_counter()
    model.forecast(batch, RandomKey(0, step)).point.square().mean().backward()
    rates.append(int(batch.present.sum()) / (time.perf_counter() - began))
print(sorted(rates[2:])[len(rates[2:]) // 2])
"""


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--panel", type=Path, help="nasdaq_2003_2017.parquet")
    parsed = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="atft-bench-") as folder:
        rows = [demo(Path(folder))]
        if parsed.quick or parsed.panel is None:
            rows.append(Figure.skipped("a real panel", "--quick" if parsed.quick else "no --panel given", COMMAND))
        else:
            rows += real_panel(parsed.panel.resolve(), Path(folder))
    publish("main_job", rows, quick=parsed.quick)


def demo(folder: Path) -> Figure:
    """Without a store or a run from before."""
    seconds = watch([ATFT, "demo", "--out", str(folder / "demo")], cwd=folder).seconds
    return Figure("demo: build, train, evaluate, report", f"{seconds:.0f} s", "atft demo --out RUN")


def real_panel(panel: Path, folder: Path) -> list[Figure]:
    """Build, train, and RankIC beside LightGBM's, train to 2015, validate 2016, test 2017."""
    store, run = folder / "store", folder / "run"
    built = watch([ATFT, "data", "build", str(panel), "--out", str(store), "data=nasdaq"])
    overrides = ["data=nasdaq", f"data.source={store}"]
    trained = watch([ATFT, "train", *overrides, f"run.dir={run}"])
    metrics: dict[str, Any] = json.loads((run / "metrics.json").read_text())
    train, test = metrics["train"], metrics["test"]
    command = "atft train data=nasdaq data.source=STORE"
    rows = [
        Figure("data build", f"{built.seconds:.0f} s", "atft data build PANEL --out STORE data=nasdaq"),
        Figure("train, evaluate, report", f"{trained.seconds / 60:.1f} min, {train['epochs']} epochs", command),
        Figure("training speed, L=20, default size", f"{train['samples_per_second']:,.0f} stock-windows/s", command),
        Figure("peak memory", f"{train['peak_rss_bytes'] / 2**30:.1f} GiB", command),
        allocator(overrides),
    ]
    labels = {"rank_ic": "RankIC", "rank_ic_skip1": "skip-1 RankIC", "rank_ic_liquid": "liquid-half RankIC"}
    for key, label in labels.items():
        scores = {"model": test[key][HORIZON]}
        scores |= {name: values[key][HORIZON] for name, values in test["baselines"].items() if key in values}
        listed = ", ".join(f"{name} {value:+.4f}" for name, value in scores.items())
        rows.append(Figure(f"{label}@{HORIZON}, test 2017 ({test['days']} days)", listed, command))
    return rows


def allocator(overrides: Sequence[str]) -> Figure:
    """Speed with freed memory kept over that with it returned to the kernel, of alternating processes."""
    rates: dict[str, list[float]] = {"kept": [], "returned": []}
    for number in range(3):
        for setting in in_turn(rates, number):
            command = [sys.executable, "-c", SPEED, setting, *overrides]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            rates[setting].append(float(done.stdout))
    ratio = median_ratio(rates["kept"], rates["returned"])
    return Figure("forward + backward, freed memory kept / returned", f"{significant(ratio)} ×", COMMAND)


if __name__ == "__main__":
    main()
