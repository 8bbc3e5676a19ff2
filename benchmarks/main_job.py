"""The figures of the main job: how long the demo takes and, on a wide real panel, building, training and ranking.

    make bench                                     the demo
    make bench PANEL=nasdaq_2003_2017.parquet      and the NASDAQ panel of Feng et al. 2019

Prints a table and writes it to `benchmarks/results/main_job.md`. Absolute times belong to the machine they were
taken on; the ratio of the allocator is taken by alternating both settings.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ATFT = Path(sys.executable).with_name("atft")
RESULTS = Path(__file__).with_name("results") / "main_job.md"
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
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--panel", type=Path, help="nasdaq_2003_2017.parquet")
    panel = parser.parse_args().panel
    rows: list[tuple[str, str, str]] = []
    with tempfile.TemporaryDirectory(prefix="atft-bench-") as folder:
        rows += demo(Path(folder))
        if panel is not None:
            rows += real_panel(panel.resolve(), Path(folder))
    lines = ["| what | command | measured |", "|---|---|---|", *(f"| {a} | `{b}` | {c} |" for a, b, c in rows)]
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


def demo(folder: Path) -> list[tuple[str, str, str]]:
    """Without a store or a run from before."""
    command = f"atft demo --out {folder / 'demo'}"
    seconds, _ = timed("demo", "--out", str(folder / "demo"), cwd=folder)
    return [("demo: build, train, evaluate, report", command.replace(str(folder), "RUNS"), f"{seconds:.0f} s")]


def real_panel(panel: Path, folder: Path) -> list[tuple[str, str, str]]:
    """Build, train, and RankIC beside LightGBM's, train to 2015, validate 2016, test 2017."""
    store, run = folder / "store", folder / "run"
    build_seconds, _ = timed("data", "build", str(panel), "--out", str(store), "data=nasdaq")
    arguments = ["data=nasdaq", f"data.source={store}"]
    train_seconds, _ = timed("train", *arguments, f"run.dir={run}")
    metrics: dict[str, Any] = json.loads((run / "metrics.json").read_text())
    train, test = metrics["train"], metrics["test"]
    command = "atft train data=nasdaq data.source=STORE"
    kept, returned = allocator_rates(arguments)
    rows = [
        ("data build", "atft data build PANEL --out STORE data=nasdaq", f"{build_seconds:.0f} s"),
        ("train, evaluate, report", command, f"{train_seconds / 60:.1f} min, {train['epochs']} epochs"),
        ("training speed, L=20, default size", command, f"{train['samples_per_second']:,.0f} stock-windows/s"),
        ("peak memory", command, f"{train['peak_rss_bytes'] / 2**30:.1f} GiB"),
        ("forward + backward, freed memory kept / returned", "benchmarks/main_job.py", f"{kept / returned:.2f} ×"),
    ]
    labels = {"rank_ic": "RankIC", "rank_ic_skip1": "skip-1 RankIC", "rank_ic_liquid": "liquid-half RankIC"}
    for key, label in labels.items():
        figures = {"model": test[key][HORIZON]}
        figures |= {name: values[key][HORIZON] for name, values in test["baselines"].items() if key in values}
        listed = ", ".join(f"{name} {value:+.4f}" for name, value in figures.items())
        rows.append((f"{label}@{HORIZON}, test 2017 ({test['days']} days)", command, listed))
    return rows


def allocator_rates(arguments: list[str]) -> tuple[float, float]:
    """Median rates with freed memory kept and returned, of alternating processes."""
    rates: dict[str, list[float]] = {"kept": [], "returned": []}
    for _ in range(3):
        for setting, found in rates.items():
            done = subprocess.run(
                [sys.executable, "-c", SPEED, setting, *arguments], capture_output=True, text=True, check=True
            )
            found.append(float(done.stdout))
    return statistics.median(rates["kept"]), statistics.median(rates["returned"])


def timed(*arguments: str, cwd: Path | None = None) -> tuple[float, str]:
    """Seconds and standard output of one `atft` command."""
    began = time.perf_counter()
    done = subprocess.run([ATFT, *arguments], cwd=cwd, stdout=subprocess.PIPE, text=True, check=True)
    return time.perf_counter() - began, done.stdout


if __name__ == "__main__":
    main()
