"""Where a training can be hurt, and the hurting.

A strike is `{"place": …, "n": N, "act": …}`: at the N-th time that the training reaches the place, this happens.

    batch      a batch is asked for (of training and of validation)
    device     a batch is moved to the device, just before its forward pass
    loader     a batch is made by a loader thread
    forward    inside the forward pass of the N-th batch that is moved
    backward   inside the backward pass of the N-th batch that is moved
    update     the optimizer is about to change the weights
    updated    the optimizer has changed the weights; their average has not followed
    disk       one of the run's files or folders is about to be touched (see `Disk`)

Acts are names of signals, sent to the own process (`SIGTERM SIGTERM`: twice), `wait` for a signal, `raise` (once) and
`raise always`, and `small disk`: no file may grow beyond 20 kB from then on. Before it acts, a strike is written
durably to the run's `struck.jsonl`: the evidence that it came.
"""

import json
import os
import re
import resource
import signal
import stat
import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import torch
from torch.nn.modules.module import register_module_forward_hook
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

FSYNC = os.fsync


class Strike:
    """Hurts the process at the N-th time that one place is reached; without a place, never."""

    def __init__(self, run: Path, place: str = "", n: int = 0, act: str = "SIGKILL") -> None:
        self.run, self.place, self.n, self.act = run, place, n, act
        # A call of this cannot be torn apart by another thread.
        self.tick = count(1).__next__
        self.armed = self.under_way = False
        if place in ("forward", "backward"):
            register_module_forward_hook(self._forward)
        elif place == "update":
            register_optimizer_step_pre_hook(lambda *_: self.reach("update"))
        elif place == "updated":
            register_optimizer_step_post_hook(lambda *_: self.reach("updated"))

    def reach(self, place: str, where: str = "", prepare: Callable[[], None] = lambda: None) -> None:
        """Tell that a place is reached; `prepare` makes what the strike would have left there."""
        if place == "device" and self.place in ("forward", "backward"):
            self.armed = self.tick() == self.n
        if place != self.place:
            return
        reached = self.tick()
        if reached == self.n or (reached > self.n and self.act == "raise always"):
            self._strike(where, prepare)

    def _forward(self, module: torch.nn.Module, inputs: Any, output: Any) -> None:
        if not self.armed or not isinstance(output, torch.Tensor):
            return
        self.armed = False
        where = type(module).__name__
        if self.place == "forward":
            self._strike(where)
        else:
            output.register_hook(lambda _: self._strike(where))

    def _strike(self, where: str, prepare: Callable[[], None] = lambda: None) -> None:
        self.under_way = True
        line = {"place": self.place, "n": self.n, "act": self.act, "where": where, "process": os.getpid()}
        with (self.run / "struck.jsonl").open("ab") as file:
            file.write(json.dumps(line).encode() + b"\n")
            file.flush()
            FSYNC(file.fileno())
        prepare()
        if self.act == "wait":
            signal.pause()
        elif self.act == "small disk":
            resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
        elif self.act.startswith("raise"):
            raise SystemExit("a loader thread ends")
        else:
            for name in self.act.split():
                os.kill(os.getpid(), signal.Signals[name])
        self.under_way = False


class Disk:
    """Sees a run's files being opened, written, flushed, renamed and deleted, in the order that it happens.

    Every such moment is a point, just before it happens. What is flushed has a second one, `torn`: half of what was
    written since the last time is there, as when the process dies in the middle of writing.
    """

    def __init__(self, strike: Strike) -> None:
        self.strike, self.run = strike, str(strike.run)
        self.points: list[str] = []
        self.open = True
        self._flushed: dict[str, int] = {}
        sys.addaudithook(self._audit)
        os.fsync = self._fsync

    def _point(self, operation: str, path: str, prepare: Callable[[], None] = lambda: None) -> None:
        label = f"{operation} {os.path.relpath(path, self.run)}"
        label = re.sub(rf"\.{os.getpid()}\.", ".PID.", label)
        self.points.append(label)
        self.strike.reach("disk", label, prepare)

    def _mine(self, path: str) -> bool:
        return self.open and not self.strike.under_way and path.startswith(f"{self.run}/")

    def _audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event not in ("open", "os.rename", "os.mkdir", "os.remove", "os.rmdir"):
            return
        path = _resolved(event, arguments)
        if not self._mine(path):
            return
        if event == "open":
            # `os.open` tells flags alone, `open` with a mode both.
            flags = arguments[2]
            if flags & (os.O_WRONLY | os.O_RDWR):
                kept = not flags & os.O_TRUNC and os.path.exists(path)
                self._flushed[path] = os.path.getsize(path) if kept else 0
                self._point("write", path)
            else:
                self._point("read", path)
        elif event != "os.mkdir" or not os.path.exists(path):
            self._point(event.removeprefix("os."), path)

    def _fsync(self, descriptor: int) -> None:
        path = os.readlink(f"/proc/self/fd/{descriptor}")
        if self._mine(path):
            status = os.fstat(descriptor)
            if stat.S_ISREG(status.st_mode):
                half = min((self._flushed.get(path, 0) + status.st_size) // 2, status.st_size - 1)
                self._point("torn", path, lambda: os.truncate(path, half))
                self._flushed[path] = status.st_size
            self._point("fsync", path)
        FSYNC(descriptor)


def _resolved(event: str, arguments: tuple[Any, ...]) -> str:
    """The path that an audit event is about; `shutil.rmtree` deletes by names inside an open folder."""
    path = os.fspath(arguments[0]) if isinstance(arguments[0], str | os.PathLike) else ""
    if event in ("os.remove", "os.rmdir") and arguments[1] >= 0:
        return os.path.join(os.readlink(f"/proc/self/fd/{arguments[1]}"), path)
    return path
