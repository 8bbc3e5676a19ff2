"""Trains in processes of their own, and lets them run out of memory.

`python memory_worker.py JOBS.json` imports everything once, forks a child for each job in turn, and prints the list of
how they ended: an exit code, or minus the signal's number. A job is `{"run": folder, "settings": {...}, "stocks": n,
"fault": [kind, ...]}`, the fault being `[]` or

    nth OPERATOR N     the N-th call of the operator asks for more memory than there is, for real
    largest BYTES      so does every operator whose result is larger
    kill BYTES N       as `largest`, and SIGKILL as the N-th batch is asked for
    room BYTES         the address space may grow by so much, once model and data are there (RLIMIT_AS)

What struck is written to `<run>/struck`. A job's peak of address space beyond model and data goes to `<run>/grown`.
"""

import io
import json
import os
import resource
import runpy
import signal
import sys
import traceback
from contextlib import nullcontext
from pathlib import Path

import torch
from rich.console import Console
from safetensors.torch import save_file
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from atft_gat_fan.config.plan import EmaPlan, ExecutorPlan
from atft_gat_fan.errors import AtftError
from atft_gat_fan.signals import StopSignals
from atft_gat_fan.training.loop import fit
from atft_gat_fan.training.run_folder import RunFolder

TINY = runpy.run_path(str(Path(__file__).parents[1] / "training" / "conftest.py"))
MORE_THAN_THERE_IS = 2**50


class Fault(TorchDispatchMode):
    """Asks for too much memory where it is told to; the allocator's own refusal follows."""

    def __init__(self, run: Path, operator: str | None, n: int, largest: float) -> None:
        super().__init__()
        self.run, self.operator, self.n, self.largest, self.calls = run, operator, n, largest, 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if self.operator is not None and func.name() == f"aten::{self.operator}":
            self.calls += 1
            if self.calls == self.n:
                self.refuse()
        result = func(*args, **(kwargs or {}))
        given = {tensor.data_ptr() for tensor in tree_leaves((args, kwargs)) if isinstance(tensor, torch.Tensor)}
        for tensor in tree_leaves(result):
            if isinstance(tensor, torch.Tensor) and tensor.nbytes > self.largest and tensor.data_ptr() not in given:
                self.refuse()
        return result

    def refuse(self) -> None:
        with (self.run / "struck").open("a") as file:
            file.write("refused\n")
        torch.empty(MORE_THAN_THERE_IS, dtype=torch.uint8)


def address_space(which: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(which + ":"):
            return int(line.split()[1]) * 1024
    raise AssertionError(which)


def kill_at(n: int, run: Path):
    asked = []

    def after_batch() -> None:
        asked.append(1)
        if len(asked) == n:
            with (run / "struck").open("a") as file:
                file.write("killed\n")
            os.kill(os.getpid(), signal.SIGKILL)

    return after_batch


def train(job: dict, run: Path) -> None:
    settings = dict(job["settings"])
    if "ema" in settings:
        settings["ema"] = EmaPlan(**settings["ema"])
    settings["executor"] = ExecutorPlan(settings.get("executor", "robust"))
    market = TINY["TinyMarket"](num_stocks=job["stocks"], batch_days=settings.get("batch_size", 4))
    network = TINY["tiny_network"](**job.get("network", {}))
    kind, *values = job["fault"] or [""]
    fault = nullcontext()
    if kind == "nth":
        fault = Fault(run, values[0], values[1], float("inf"))
    elif kind in ("largest", "kill"):
        fault = Fault(run, None, 0, values[0])
    if kind == "kill":
        market.after_batch = kill_at(values[1], run)
    with StopSignals() as signals, RunFolder(run) as folder, folder.recording():
        before = address_space("VmSize")
        if kind == "room":
            resource.setrlimit(resource.RLIMIT_AS, (before + values[0], resource.RLIM_INFINITY))
        with fault:
            result = fit(
                network, market, TINY["tiny_settings"](**settings), folder, Console(file=io.StringIO()), signals
            )
    (run / "grown").write_text(str(address_space("VmPeak") - before))
    resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    save_file(result.model.state_dict(), run / "final.safetensors")
    (run / "history.json").write_text(json.dumps([str(record) for record in result.history]))


def child(job: dict) -> int:
    torch.set_num_threads(1)
    run = Path(job["run"])
    try:
        train(job, run)
    except AtftError as error:
        (run / "error.json").write_text(json.dumps(f"{type(error).__name__}: {error}"))
        return error.exit_code
    return 0


def main() -> None:
    endings = []
    for job in json.loads(Path(sys.argv[1]).read_text()):
        process = os.fork()
        if process == 0:
            code = 1
            try:
                code = child(job)
            finally:
                traceback.print_exc()
                os._exit(code)
        endings.append(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]))
    print(json.dumps(endings))


if __name__ == "__main__":
    main()
