"""Runs trainings on several ranks, each a process of its own, and hurts one of them on request.

Imports everything once, then forks a process for each rank of a job of its standard input (a line of JSON) and answers
with a line of JSON when all of them have ended:

    {"run": folder, "ranks": N, "settings": {…}, "timeout": s, "patience": s, "hurt": {rank: {…}}}
        -> {"endings", "seconds"}

A hurt is a strike (strikes.py), `{"poison": {…}}` (training_worker.py) or `{"ran_out": n}`: the n-th batch that is
moved to the device finds no memory. `endings` are exit codes, or minus a signal's number, by rank; `seconds` is the
time from the first end to the last one. A rank that has not ended after `patience` seconds is killed, and its ending is
"hung".
"""

import io
import json
import os
import signal
import socket
import sys
import time
import traceback
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from safetensors.torch import save_file
from strikes import Strike
from training_worker import TINY, Poison, StruckMarket

import atft_gat_fan.training.sharded  # noqa: F401 - else each of the forked would import it
from atft_gat_fan.config.plan import EmaPlan, ExecutorPlan
from atft_gat_fan.config.schema import DistributedConfig
from atft_gat_fan.config.settings import Environment
from atft_gat_fan.errors import AtftError
from atft_gat_fan.signals import StopSignals
from atft_gat_fan.training.loop import fit
from atft_gat_fan.training.process_ranks import open_ranks
from atft_gat_fan.training.run_folder import RunFolder
from atft_gat_fan.types import DayBatch


class ShortOfMemory(StruckMarket):
    """The `ran_out`-th batch that is moved to the device finds no memory."""

    ran_out = 0
    moved = 0

    def to_device(self, batch: DayBatch, device: torch.device) -> DayBatch:
        self.moved += 1
        if self.moved == self.ran_out:
            with (self.strike.run / "struck.jsonl").open("a") as file:
                file.write(json.dumps({"place": "memory", "process": os.getpid()}) + "\n")
            raise torch.OutOfMemoryError("out of memory: tried to allocate more than there is")
        return super().to_device(batch, device)


def train(run: Path, job: dict[str, Any], rank: int) -> None:
    settings, hurt = dict(job["settings"]), dict(job["hurt"].get(str(rank), {}))
    market = ShortOfMemory()
    market.poison, market.ran_out = Poison(**hurt.pop("poison", {})), hurt.pop("ran_out", 0)
    market.strike = Strike(run, **hurt)
    ema = EmaPlan(**settings.pop("ema")) if "ema" in settings else None
    config = DistributedConfig(strategy="fsdp" if settings.get("sharded") else "auto", timeout=job["timeout"])
    executor = ExecutorPlan(settings.pop("executor", "plain"))
    with (
        StopSignals() as signals,
        open_ranks(config, Environment.read().ranks, torch.device("cpu")) as ranks,
        RunFolder(run, hold=ranks.first) as folder,
    ):
        result = fit(
            TINY["tiny_network"](),
            market,
            TINY["tiny_settings"](**settings, ema=ema, executor=executor),
            folder,
            Console(file=io.StringIO()),
            signals,
            ranks,
        )
    save_file(result.model.state_dict(), run / f"final_{rank}.safetensors")
    (run / f"history_{rank}.json").write_text(json.dumps([str(record) for record in result.history]))


def child(job: dict[str, Any], rank: int, port: int) -> int:
    torch.set_num_threads(1)
    if job["ranks"] > 1:
        numbers = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": job["ranks"], "MASTER_PORT": port}
        os.environ.update({name: str(value) for name, value in numbers.items()}, MASTER_ADDR="127.0.0.1")
    run = Path(job["run"])
    try:
        train(run, job, rank)
    except AtftError as error:
        (run / f"error_{rank}.json").write_text(json.dumps(f"{type(error).__name__}: {error}"))
        return error.exit_code
    return 0


def forked(job: dict[str, Any], rank: int, port: int) -> int:
    process = os.fork()
    if process:
        return process
    code = 1
    try:
        code = child(job, rank, port)
    except BaseException:  # noqa: BLE001 - the child must not go on as its parent
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port: int = listening.getsockname()[1]
        return port


def answer(job: dict[str, Any]) -> dict[str, Any]:
    Path(job["run"]).mkdir(parents=True, exist_ok=True)
    port = free_port()
    processes = {forked(job, rank, port): rank for rank in range(job["ranks"])}
    endings: dict[int, int | str] = {}
    until, first = time.monotonic() + job["patience"], None
    while len(endings) < len(processes):
        process, status = os.waitpid(-1, os.WNOHANG)
        if process:
            endings[processes[process]] = os.waitstatus_to_exitcode(status)
            first = first or time.monotonic()
        elif time.monotonic() > until:
            for each, rank in processes.items():
                if rank not in endings:
                    os.kill(each, signal.SIGKILL)
                    os.waitpid(each, 0)
                    endings[rank] = "hung"
        else:
            time.sleep(0.01)
    assert first is not None
    return {"endings": [endings[rank] for rank in range(job["ranks"])], "seconds": time.monotonic() - first}


if __name__ == "__main__":
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), flush=True)
