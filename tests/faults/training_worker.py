"""Runs trainings in processes of their own, and hurts them on request.

`python training_worker.py JOBS.json` imports everything once, forks a child for each job in turn, and
prints the list of how they ended: an exit code, or minus the signal's number. A job is
`{"run": folder, "settings": {...}, "fault": [kind, N]}`, the fault being `[""]` or

    batch N        SIGKILL as the N-th batch is asked for (training and validation batches count)
    write N        SIGKILL as the N-th checkpoint opens its optimizer file: half a temporary folder
    rename N       SIGKILL as the N-th checkpoint, complete and verified, is about to be renamed
    rotate N       SIGKILL as the N-th old checkpoint is about to be deleted
    SIGTERM N      that signal, as the N-th batch is asked for (also SIGINT, SIGUSR1)
    SIGTERM2 N     that signal twice
    disk N         from the N-th batch on, no file may grow beyond 20 kB
    hold N         wait at the N-th batch until the next job has ended, then SIGKILL
"""

import io
import json
import os
import resource
import runpy
import signal
import sys
import time
import traceback
from pathlib import Path

import torch
from rich.console import Console
from safetensors.torch import save_file

from atft_gat_fan.config.plan import EmaPlan
from atft_gat_fan.errors import AtftError
from atft_gat_fan.training.loop import fit
from atft_gat_fan.training.run_folder import RunFolder

TINY = runpy.run_path(str(Path(__file__).parents[1] / "training" / "conftest.py"))


class Fault:
    def __init__(self, kind: str, n: int, run: Path) -> None:
        self.kind, self.n, self.run, self.count = kind, n, run, 0
        if kind in ("write", "rename", "rotate"):
            sys.addaudithook(self.audit)

    def tick(self) -> bool:
        self.count += 1
        return self.count == self.n

    def batch(self) -> None:
        if self.kind in ("write", "rename", "rotate") or not self.tick():
            return
        if self.kind == "batch":
            os.kill(os.getpid(), signal.SIGKILL)
        elif self.kind == "disk":
            resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
        elif self.kind == "hold":
            (self.run / "holding").touch()
            signal.pause()
        else:
            for _ in range(2 if self.kind.endswith("2") else 1):
                os.kill(os.getpid(), signal.Signals[self.kind.removesuffix("2")])

    def audit(self, event: str, args: tuple) -> None:
        hit = {
            "write": event == "open" and str(args[0]).endswith(".tmp/optimizer.safetensors") and "w" in str(args[1]),
            "rename": event == "os.rename" and "/.step_" in str(args[0]),
            "rotate": event == "shutil.rmtree"
            and Path(str(args[0])).name.startswith("step_")
            and Path(args[0]).exists(),
        }[self.kind]
        if hit and self.tick():
            os.kill(os.getpid(), signal.SIGKILL)


def train(run: Path, fault: list, settings: dict) -> None:
    market = TINY["TinyMarket"]()
    with RunFolder(run) as folder, folder.recording():
        if fault != [""]:
            market.after_batch = Fault(*fault, run).batch
        ema = EmaPlan(**settings["ema"]) if "ema" in settings else None
        result = fit(
            TINY["tiny_network"](),
            market,
            TINY["tiny_settings"](**{**settings, "ema": ema}),
            folder,
            Console(file=io.StringIO()),
        )
    save_file(result.model.state_dict(), run / "final.safetensors")
    if result.raw_model_state is not None:
        save_file(result.raw_model_state, run / "final_raw.safetensors")
    (run / "compiled.json").write_text(json.dumps(result.model.compiled))
    (run / "history.json").write_text(json.dumps([str(record) for record in result.history]))


def child(job: dict) -> int:
    torch.set_num_threads(1)
    run = Path(job["run"])
    try:
        train(run, job["fault"], job["settings"])
    except AtftError as error:
        left = {
            "message": f"{type(error).__name__}: {error}",
            "checkpoints": sorted(path.name for path in (run / "checkpoints").iterdir()),
            "state": json.loads((run / "run_state.json").read_text()),
        }
        (run / "error.json").write_text(json.dumps(left))
        return error.exit_code
    return 0


def forked(job: dict) -> int:
    process = os.fork()
    if process == 0:
        code = 1
        try:
            code = child(job)
        finally:
            traceback.print_exc()
            os._exit(code)
    return process


def ending(process: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def main() -> None:
    endings, held = [], None
    for job in json.loads(Path(sys.argv[1]).read_text()):
        process = forked(job)
        if job["fault"][0] == "hold":
            while not (Path(job["run"]) / "holding").exists():
                time.sleep(0.01)
            held = (len(endings), process)
            endings.append(0)
            continue
        endings.append(ending(process))
        if held is not None:
            os.kill(held[1], signal.SIGKILL)
            endings[held[0]] = ending(held[1])
            held = None
    print(json.dumps(endings))


if __name__ == "__main__":
    main()
