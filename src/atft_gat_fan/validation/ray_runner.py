"""Trainings as processes on the nodes of a Ray cluster: the same commands in the same folders, which all nodes see.

Ray places them (resources a trial), and tells of nodes that are gone. What retries, and what an outcome is, is as on
one machine.
"""

import logging
import os
import secrets
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError, TaskCancelledError

from atft_gat_fan.config.trials_section import TrialsConfig
from atft_gat_fan.errors import ConfigError, StorageError
from atft_gat_fan.validation.local_runner import Command
from atft_gat_fan.validation.process_runner import GRACE, LOG, Ending, ProcessRunner
from atft_gat_fan.validation.ray_task import Ran, Task, run_task
from atft_gat_fan.validation.trials import Job, Outcome, Progress

SIGN = ".seen"
MARGIN = 15.0
"""Seconds beyond those for saving, after which a cancelled task is ended by force."""
GIB = 2**30
WORDS = 300
"""Letters of Ray's reason that are shown."""


class RayRunner(ProcessRunner[Outcome]):
    """As `LocalRunner`, on the cluster that `connect` connects this process to: before its first job, so that a command
    whose trainings are all finished needs none.
    """

    def __init__(
        self,
        command: Command,
        read: Callable[[Path], Outcome | None],
        trials: TrialsConfig,
        *,
        workers: int,
        connect: Callable[[], None] = lambda: None,
        poll: Callable[[], None] = lambda: None,
        progress: Callable[[Progress], None] = lambda progress: None,
    ) -> None:
        needs = Needs(trials.num_cpus, trials.num_gpus, 0.0 if trials.memory is None else trials.memory * GIB)
        connected = False

        def start(job: Job) -> RayProcess:
            nonlocal connected
            if not connected:
                connect()
                needs.require_a_node()
                connected = True
            return RayProcess(command, job, needs)

        super().__init__(
            start,
            read,
            workers=workers,
            room=needs.room,
            max_retries=trials.max_retries,
            poll=poll,
            progress=progress,
        )


@dataclass(frozen=True)
class Needs:
    """What a trial reserves of its node: CPUs, GPUs, bytes."""

    cpus: float
    gpus: float
    memory: float

    def room(self) -> float:
        """Trials that the nodes take at once as the cluster is now."""
        return sum(self._fit(node) for node in _nodes())

    def require_a_node(self) -> None:
        """Raises ConfigError where no node could ever take a trial: Ray would wait without an end."""
        nodes = _nodes()
        if not any(self._fit(node) for node in nodes):
            found = "; ".join(f"{node.get('CPU', 0):g}, {node.get('GPU', 0):g}, {_gib(node)}" for node in nodes)
            raise ConfigError(
                f"trials: expected a node with {self.cpus:g} CPUs, {self.gpus:g} GPUs and {self.memory / GIB:.1f} GiB, "
                f"found none among {found or 'no nodes'} (CPUs, GPUs, GiB of each); lower trials.num_cpus, num_gpus or "
                "memory, or add such a node first"
            )

    def options(self, alone: bool) -> dict[str, Any]:
        """Of the Ray task. One that runs alone takes all CPUs of the largest node, and so has it for itself."""
        largest = max((node.get("CPU", 0.0) for node in _nodes() if self._fit(node)), default=self.cpus)
        return {
            "num_cpus": largest if alone else self.cpus,
            "num_gpus": self.gpus,
            "memory": self.memory or None,
            "scheduling_strategy": "SPREAD",
            "max_retries": 0,  # we retry ourselves, and say so
        }

    def _fit(self, node: dict[str, float]) -> int:
        wanted = {"CPU": self.cpus, "GPU": self.gpus, "memory": self.memory}
        return min((int(node.get(name, 0.0) // needed) for name, needed in wanted.items() if needed), default=1)


class RayProcess:
    """A job's process somewhere in the cluster."""

    def __init__(self, command: Command, job: Job, needs: Needs) -> None:
        self._job = job
        token = secrets.token_hex(16)
        try:
            (job.folder / SIGN).write_text(token)
        except OSError as error:
            raise StorageError(f"{job.folder / SIGN}: cannot write: {error.strerror}; free space") from error
        task = Task(
            command=tuple(command(job.folder)),
            here=os.getcwd(),
            sign=str(job.folder / SIGN),
            token=token,
            log=str(job.folder / LOG),
            grace=GRACE,
        )
        self._result = _remote().options(name=job.name, **needs.options(job.alone)).remote(task)

    def ended(self) -> Ending | None:
        ready, _ = ray.wait([self._result], timeout=0)
        return self._ending() if ready else None

    @property
    def patience(self) -> float:
        return GRACE + MARGIN

    def stop(self) -> None:
        ray.cancel(self._result)

    def close(self, seconds: float) -> None:
        ready, _ = ray.wait([self._result], timeout=seconds)
        if not ready:
            with suppress(RayError):
                ray.cancel(self._result, force=True)
        (self._job.folder / SIGN).unlink(missing_ok=True)

    def _ending(self) -> Ending:
        try:
            ran: Ran = ray.get(self._result)
        except TaskCancelledError:
            return Ending(-signal.SIGTERM, 0.0)
        except RayTaskError:
            raise  # a fault of ours or of the installation there: it would meet every trial
        except RayError as error:
            why = " ".join(str(error).split()) or type(error).__name__
            return Ending(1, 0.0, lost=f"{type(error).__name__}: {why[:WORDS]}")
        if ran.complaint:
            raise StorageError(
                f"{ran.complaint}: expected every node to see the same folders and the same installation; put run.dir, "
                "data.cache and the working folder on storage that all nodes share, under the same path, or set "
                "trials.executor=local"
            )
        # Listing makes a network file system look again for the outcome that was not there.
        os.listdir(self._job.folder)
        return Ending(ran.code, ran.seconds)


@contextmanager
def connected(trials: TrialsConfig) -> Iterator[None]:
    """Be connected to the cluster; one that was started for this is shut down afterwards. An earlier connection of this
    process is used, and kept. Raises ConfigError where there is no cluster at the address.
    """
    if ray.is_initialized():
        yield
        return
    main = threading.current_thread() is threading.main_thread()
    heeded = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(trials.address, log_to_driver=False, logging_level=logging.ERROR, include_dashboard=False)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise ConfigError(
            f"trials.address: expected a Ray cluster at {trials.address or 'this machine'}, found none: "
            f"{str(error).splitlines()[0]}; start one with `ray start --head`, and give its address"
        ) from error
    if main:
        signal.signal(signal.SIGTERM, heeded)  # Ray's own handler would end us unsaved
    try:
        yield
    finally:
        ray.shutdown()


@cache
def _remote() -> Any:
    return ray.remote(run_task)  # once: each call would send the function to the cluster anew


def _nodes() -> list[dict[str, float]]:
    """Resources of each node that is there."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]


def _gib(node: dict[str, float]) -> str:
    return f"{node.get('memory', 0.0) / GIB:.1f}"
