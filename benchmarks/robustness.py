"""What being recoverable costs: checkpoints, the time to stop, and readiness for running out of memory.

    python -m benchmarks.robustness [--quick] [key=value ...]

Checkpoints are timed by the events of an `atft train` on 1,000 stocks × 32 features with the default model, and set
against as many of its steps as lie between two of them by default. A model of 10 million parameters is stopped by
SIGTERM again and again, each time the same run, at other moments of its steps of one day: from the signal to the end of
the process. Steps with `auto_recover_oom` and without take turns on the same days, in one process, and nothing runs out
of memory. Arguments in Hydra's grammar are for all three, and come last.
"""

import itertools
import json
import signal
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from atft_gat_fan.config.training_sections import TrainConfig
from benchmarks.improvements import NUM_BATCHES, stepper
from benchmarks.made_panel import panel_days, write_panel
from benchmarks.measuring import Figure, arguments, at_most, interleaved, median_ratio, publish, significant
from benchmarks.memory import ATFT, say

COMMAND = "python -m benchmarks.robustness"
RECOVERY = ["improvements.auto_recover_oom=true"]
TEN_MILLION = ["model.hidden_size=592", "batch_size=1"]
PATIENCE = 600
"""Seconds that a training may take to reach a moment at which it is stopped."""


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    parsed = parser.parse_args()
    quick = parsed.quick
    stocks, days, features = (100, 300, 8) if quick else (1000, 500, 32)
    with tempfile.TemporaryDirectory(prefix="atft-bench-") as folder:
        place = Path(folder)
        write_panel(place / "panel", stocks=stocks, days=days, features=features)
        common = [*market(place, days), *parsed.overrides]
        rows = [checkpoint_share(common, place / "saved", steps=12 if quick else 60)]
        rows.append(time_to_stop([*TEN_MILLION, *common], place / "stopped", stops=2 if quick else 6))
        rows.append(readiness(common, RECOVERY, rounds=5 if quick else 100))
    publish("robustness", rows, quick=quick)


def market(place: Path, days: int) -> list[str]:
    dates = panel_days(days)
    return [
        "data=parquet",
        f"data.source={place}/panel",
        f"data.cache={place}/cache",
        f"split.train_end={dates[-40]}",
        f"split.valid_end={dates[-20]}",
        "train.tensorboard=false",
        "evaluation.baselines=[reversal]",
    ]


def checkpoint_share(overrides: Sequence[str], run: Path, steps: int) -> Figure:
    """Seconds of a checkpoint over those of the steps between two of them, medians of a run of `steps`."""
    keys = [f"train.max_steps={steps}", f"train.checkpoint_every={steps // 6}", "train.log_every=1", f"run.dir={run}"]
    say("training, and saving now and then")
    subprocess.run([ATFT, "train", *overrides, *keys], cwd=run.parent, capture_output=True, check=True)
    events = read_events(run)
    save = statistics.median(event["seconds"] for event in events if event["event"] == "checkpoint")
    step = statistics.median(step_seconds(events))
    interval = TrainConfig().checkpoint_every
    assert isinstance(interval, int)
    return Figure.of(
        f"checkpoints, share of training time at one in {interval} steps",
        save / (interval * step),
        COMMAND,
        at_most(0.02),
        detail=f"{significant(save)} s, a step {significant(step)} s",
    )


def step_seconds(events: Sequence[dict[str, Any]]) -> list[float]:
    """Of the steps that follow another one with nothing in between."""
    return [
        (datetime.fromisoformat(after["time"]) - datetime.fromisoformat(before["time"])).total_seconds()
        for before, after in itertools.pairwise(events)
        if before["event"] == after["event"] == "train"
    ]


def time_to_stop(overrides: Sequence[str], run: Path, stops: int) -> Figure:
    """The longest of `stops` times from SIGTERM to the end: as a step is done, and ever later in the next one."""
    seconds: list[float] = []
    for number in range(stops):
        say(f"stop {number + 1} of {stops}")
        with training(overrides, run) as process:
            wait_for_steps(run, process, starts=number + 1, steps=2)
            step = statistics.median(step_seconds(read_events(run)))
            time.sleep(step * number / stops)
            began = time.perf_counter()
            process.send_signal(signal.SIGTERM)
            code = process.wait()
            seconds.append(time.perf_counter() - began)
        if code != 128 + signal.SIGTERM:
            raise RuntimeError(f"expected exit code {128 + signal.SIGTERM} of {run}, got {code}")
    parameters = next(event["parameters"] for event in read_events(run) if event["event"] == "start")
    return Figure.of(
        f"SIGTERM to exit, {significant(parameters / 1e6)} million parameters, s",
        max(seconds),
        COMMAND,
        at_most(25),
        detail=f"the longest of {stops}, median {significant(statistics.median(seconds))}, a step "
        f"{significant(step)} s",
    )


@contextmanager
def training(overrides: Sequence[str], run: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """`atft train`, or what goes on of it; killed on the way out if it still runs."""
    command = [ATFT, "train", *overrides, "train.log_every=1", f"run.dir={run}"]
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(command, cwd=run.parent, stdout=output, stderr=output)
        try:
            yield process
        finally:
            process.kill()
            process.wait()


def wait_for_steps(run: Path, process: "subprocess.Popen[bytes]", starts: int, steps: int) -> None:
    """Until the run's `starts`-th process has done so many. Raises RuntimeError where it ends first, or takes long."""
    began = time.monotonic()
    while time.monotonic() - began < PATIENCE:
        if process.poll() is not None:
            raise RuntimeError(f"the training in {run} ended with {process.returncode} before it was stopped")
        events = read_events(run)
        begun = [number for number, event in enumerate(events) if event["event"] == "start"]
        if len(begun) == starts and [event["event"] for event in events[begun[-1] :]].count("train") >= steps:
            return
        time.sleep(0.02)
    raise RuntimeError(f"the training in {run} did no {steps} steps in {PATIENCE} s")


def read_events(run: Path) -> list[dict[str, Any]]:
    file = run / "events.jsonl"
    text = file.read_text() if file.exists() else ""
    # The last line may be under way.
    return [json.loads(line) for line in text.split("\n")[:-1]]


def readiness(overrides: Sequence[str], recovery: Sequence[str], rounds: int) -> Figure:
    """Time of a step that could recover from running out of memory, over one that could not."""
    say("steps with and without recovery, by turns")
    actions = {"off": stepper(overrides), "on": stepper([*overrides, *recovery])}
    seconds = interleaved(actions, rounds, warm_up=NUM_BATCHES)
    off, on = (significant(statistics.median(seconds[name]) * 1000) for name in ("off", "on"))
    ratio = median_ratio(seconds["on"], seconds["off"])
    what = "step time with recovery from running out of memory, on / off"
    return Figure.of(what, ratio, COMMAND, at_most(1.01), detail=f"{on} and {off} ms")


if __name__ == "__main__":
    main()
