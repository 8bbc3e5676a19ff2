"""Runs `atft` commands in processes of their own, and signals them on request.

`python signals_worker.py JOBS.json` imports everything once, forks a child for each job in turn, and prints for each
its exit code (minus the signal's number where one ended it), the seconds from the strike to the end, and what is then
below `watch`: the inodes of all files, and the content of the JSON file whose path matches `keep`. A job is

    {"arguments": ["train", …], "log": FILE, "watch": FOLDER, "keep": PATTERN,
     "strike": {"at": STAGE, "count": N, "signals": ["SIGTERM"]}}

`at` names a stage, or `batch`: at its N-th report, or as the N-th batch is asked for, the process signals itself; with
`"group": true` its whole process group, as a terminal does. `environment` is added to the child's.
"""

import json
import os
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import Any

import atft_gat_fan.runs.data
import atft_gat_fan.runs.train  # noqa: F401 - once, for all children
from atft_gat_fan.cli.main import main as atft
from atft_gat_fan.data import panel_staging
from atft_gat_fan.runs.assembly import Assembly
from atft_gat_fan.runs.stages import Stages

panel_staging.CHUNK_ROWS = 500  # so that staging reports more than once


class Strike:
    def __init__(self, log: Path, at: str, count: int, signals: list[str], group: bool = False) -> None:
        self.log, self.at, self.left, self.signals, self.group = log, at, count, signals, group
        before_call, before_batch = Stages.__call__, Assembly.batch

        def call(stages: Stages, name: str, share: float) -> None:
            self.reach(name)
            before_call(stages, name, share)

        def batch(assembly: Assembly, first: int, count: int) -> Any:
            self.reach("batch")
            return before_batch(assembly, first, count)

        Stages.__call__ = call  # type: ignore[method-assign]
        Assembly.batch = batch  # type: ignore[method-assign]

    def reach(self, place: str) -> None:
        self.left -= place == self.at
        if place != self.at or self.left:
            return
        self.log.with_suffix(".struck").write_text(str(time.monotonic()))
        for name in self.signals:
            number = signal.Signals[name]
            if self.group:
                os.killpg(os.getpgid(0), number)
            else:
                os.kill(os.getpid(), number)


def child(job: dict[str, Any]) -> int:
    os.setpgid(0, 0)
    log = os.open(job["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream in (1, 2):
        os.dup2(log, stream)
    os.environ.update(job.get("environment", {}))
    if "strike" in job:
        Strike(Path(job["log"]), **job["strike"])
    try:
        atft(job["arguments"])
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 0
    return 0


def ended(job: dict[str, Any]) -> tuple[int, float | None, dict[str, int], Any]:
    process = os.fork()
    if process == 0:
        code = 99  # as no command ends
        try:
            code = child(job)
        finally:
            if code == 99:
                traceback.print_exc()
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    struck, watched = Path(job["log"]).with_suffix(".struck"), Path(job["watch"])
    seconds = time.monotonic() - float(struck.read_text()) if struck.exists() else None
    inodes = {str(file.relative_to(watched)): file.stat().st_ino for file in watched.rglob("*")}
    kept = [json.loads(file.read_text()) for file in watched.glob(job.get("keep", "-"))]
    return code, seconds, inodes, kept[0] if kept else None


if __name__ == "__main__":
    print(json.dumps([ended(job) for job in json.loads(Path(sys.argv[1]).read_text())]))
