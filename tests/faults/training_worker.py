"""Runs trainings in processes of their own, and hurts them on request.

Imports everything once, then forks a child for each line of its standard input and answers with a line of JSON:

    {"run": folder, "settings": {…}, "strike": {…} or null}   -> {"ending", "checkpoints", "points"}
    the same with "act": "wait" in its strike                 -> {"waiting": process}, once it waits
    {"kill": process}                                         -> {"ending"}

`ending` is an exit code, or minus the signal's number; `checkpoints` are the names of those that are left; `points`
are what `strikes.Disk` saw of the files (of a training that came to its end).
"""

import io
import json
import math
import os
import runpy
import signal
import sys
import threading
import time
import traceback
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from safetensors.torch import save_file
from strikes import Disk, Strike

from atft_gat_fan.config.plan import EmaPlan
from atft_gat_fan.errors import AtftError
from atft_gat_fan.signals import StopSignals
from atft_gat_fan.training.loop import fit
from atft_gat_fan.training.run_folder import RunFolder
from atft_gat_fan.types import DayBatch

TINY = runpy.run_path(str(Path(__file__).parents[1] / "training" / "conftest.py"))


@dataclass(frozen=True)
class Poison:
    """Batches without a finite number: the `batch`-th, or all once a checkpoint of `from_step` is there, until training
    has gone back `until_return` times. The latter does not depend on how often the process was killed.
    """

    batch: int | None = None
    from_step: int | None = None
    until_return: int = 1

    def acts(self, checkpoints: Path, batches: int) -> bool:
        if self.from_step is None:
            return batches == self.batch
        names = [path.name.split("_") for path in checkpoints.glob("step_*")]
        returns = max((int(name[5]) for name in names if len(name) > 4), default=0)
        return returns < self.until_return and max((int(name[1]) for name in names), default=0) >= self.from_step


class StruckMarket(TINY["TinyMarket"]):  # type: ignore[misc]
    """Tells the strike when a batch is asked for, and when it is moved; poisons batches."""

    strike: Strike
    poison = Poison()
    batches = 0

    def batch(self, first: int, count: int) -> DayBatch:
        loader = threading.current_thread() is not threading.main_thread()
        self.strike.reach("loader" if loader else "batch")
        self.batches += 1
        batch: DayBatch = super().batch(first, count)
        if self.poison.acts(self.strike.run / "checkpoints", self.batches):
            return replace(batch, features=torch.full_like(batch.features, math.nan))
        return batch

    def to_device(self, batch: DayBatch, device: torch.device) -> DayBatch:
        self.strike.reach("device")
        return super().to_device(batch, device)


def train(run: Path, strike: Strike, settings: dict[str, Any]) -> None:
    market = StruckMarket()
    market.strike = strike
    disk = Disk(strike)
    market.poison = Poison(**settings.pop("poison", {}))
    ema = EmaPlan(**settings["ema"]) if "ema" in settings else None
    with StopSignals() as signals, RunFolder(run) as folder, folder.recording():
        result = fit(
            TINY["tiny_network"](),
            market,
            TINY["tiny_settings"](**{**settings, "ema": ema}),
            folder,
            Console(file=io.StringIO()),
            signals,
        )
    disk.open = False
    save_file(result.model.state_dict(), run / "final.safetensors")
    if result.raw_model_state is not None:
        save_file(result.raw_model_state, run / "final_raw.safetensors")
    (run / "history.json").write_text(json.dumps([str(record) for record in result.history]))
    (run / "points.json").write_text(json.dumps(disk.points))


def child(job: dict[str, Any]) -> int:
    torch.set_num_threads(1)
    run = Path(job["run"])
    try:
        train(run, Strike(run, **(job["strike"] or {})), job["settings"])
    except AtftError as error:
        left = {
            "message": f"{type(error).__name__}: {error}",
            "state": json.loads((run / "run_state.json").read_text()),
        }
        (run / "error.json").write_text(json.dumps(left))
        return error.exit_code
    return 0


def forked(job: dict[str, Any]) -> int:
    process = os.fork()
    if process:
        return process
    code = 1
    try:
        code = child(job)
    except BaseException:  # noqa: BLE001 - the child must not go on as its parent
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def ending(process: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def answer(job: dict[str, Any], waiting: set[int]) -> dict[str, Any]:
    if "kill" in job:
        waiting.discard(job["kill"])
        os.kill(job["kill"], signal.SIGKILL)
        return {"ending": ending(job["kill"])}
    run = Path(job["run"])
    process = forked(job)
    if job["strike"] is not None and job["strike"].get("act") == "wait":
        while not (run / "struck.jsonl").exists():
            time.sleep(0.01)
        waiting.add(process)
        return {"waiting": process}
    code, points = ending(process), run / "points.json"
    return {
        "ending": code,
        "checkpoints": sorted(path.name for path in run.glob("checkpoints/step_*")),
        "points": json.loads(points.read_text()) if points.exists() else [],
    }


if __name__ == "__main__":
    waiting: set[int] = set()
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line), waiting)), flush=True)
    # A test that failed has left them.
    for process in waiting:
        os.kill(process, signal.SIGKILL)
