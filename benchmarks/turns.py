"""Processes that measure by turns: each sets itself up once and waits, and only the one whose turn it is computes.

A worker is a module that ends in `serve(turn)`; it may live in another environment, so only the standard library is
used here. On a line of its standard input it measures once and answers with one line of JSON.

Threads that wait for one another suffer most from a busy machine, and small kernels more than large ones; so what other
processes took meanwhile is measured, and said where it spoils a comparison.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import IO

from benchmarks.measuring import in_turn

ROOT = Path(__file__).parents[1]
PEERS = ROOT / ".venv-peers" / "bin" / "python"
THREADS = 2
QUIET = 0.1
"""Cores that other processes may use while figures are taken."""
ANSWER = "turn: "
"""Begins an answer, because libraries print too."""


def serve(turn: Callable[[], Mapping[str, float]]) -> None:
    """In the worker: say that it is ready, then measure once for each line that comes in."""
    print(f"{ANSWER}{{}}", flush=True)
    for _ in sys.stdin:
        print(f"{ANSWER}{json.dumps(dict(turn()))}", flush=True)


class Worker:
    """A process that measures when told to."""

    def __init__(self, command: Sequence[str], errors: IO[str]) -> None:
        """Starts it and waits until it is ready; `errors` is the file its standard error goes to.

        Raises RuntimeError, with its last words, where it ends instead.
        """
        self._command, self._errors = list(command), errors
        environment = {**os.environ, "OMP_NUM_THREADS": str(THREADS), "MKL_NUM_THREADS": str(THREADS)}
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(
            self._command, stdin=pipe, stdout=pipe, stderr=errors, text=True, cwd=ROOT, env=environment
        )
        self._answer()

    def cpu_seconds(self) -> float:
        """Used so far, all threads."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def turn(self) -> dict[str, float]:
        """One measurement."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, float]:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith(ANSWER):
                answer: dict[str, float] = json.loads(line.removeprefix(ANSWER))
                return answer
        code = self._process.wait()
        self._errors.seek(0)
        raise RuntimeError(f"{' '.join(self._command)} ended with {code}:\n{self._errors.read()[-4000:]}")

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()
        self._process.terminate()
        self._process.wait()


def take_turns(
    commands: Mapping[str, Sequence[str]], rounds: int, *, say: Callable[[str], None]
) -> dict[str, list[dict[str, float]]]:
    """What each of `commands` measured in each round, in alternating order.

    `say` is told what is being done, and in the end where other processes disturbed it.
    """
    answers: dict[str, list[dict[str, float]]] = {name: [] for name in commands}
    with ExitStack() as stack:
        workers = {}
        for name, command in commands.items():
            say(f"starting: {name}")
            errors = stack.enter_context(tempfile.TemporaryFile("w+"))
            workers[name] = stack.enter_context(Worker(command, errors))
        began, others = time.perf_counter(), machine_seconds() - sum(each.cpu_seconds() for each in workers.values())
        for number in range(rounds):
            for name in in_turn(workers, number):
                answers[name].append(workers[name].turn())
            say(f"round {number + 1} of {rounds}")
        others = machine_seconds() - sum(each.cpu_seconds() for each in workers.values()) - others
        cores = others / (time.perf_counter() - began)
    if cores > QUIET:
        say(f"other processes used {cores:.1f} cores meanwhile: take these figures again on a quiet machine")
    return answers


def machine_seconds() -> float:
    """CPU time of all processes since the machine was started, what a hypervisor took from it included (Linux)."""
    user, nice, system, _idle, _waiting, *rest = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]
    return sum(map(int, (user, nice, system, *rest))) / os.sysconf("SC_CLK_TCK")


def own(module: str, *arguments: str) -> list[str]:
    """Command of a worker in our environment."""
    return [sys.executable, "-m", f"benchmarks.{module}", *arguments]


def peer(module: str, *arguments: str) -> list[str]:
    """Command of a worker in the environment of the peers, which `make bench` makes."""
    return [str(PEERS), "-m", f"benchmarks.peers.{module}", *arguments]
