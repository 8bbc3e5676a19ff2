"""Trainings on several ranks that are hurt, and how all of them ended."""

import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

from tests.faults.trainings import SETTINGS, Run

TIMEOUT, PATIENCE = 20, 90
"""Seconds that a rank waits for the others, and that the test waits for all of them."""


@dataclass(frozen=True)
class RanksEnded:
    """Exit codes by rank, minus the number of a signal, "hung" where one had to be killed; seconds between the first
    end and the last."""

    endings: list[int | str]
    seconds: float


@dataclass(frozen=True)
class RankRun(Run):
    """A run's folder."""

    def weights(self, rank: int = 0) -> dict[str, NDArray[np.float32]]:
        return load_file(self.path / f"final_{rank}.safetensors")

    def history(self, rank: int = 0) -> list[str]:
        records: list[str] = json.loads((self.path / f"history_{rank}.json").read_text())
        return records

    def message(self, rank: int) -> str:
        text: str = json.loads((self.path / f"error_{rank}.json").read_text())
        return text

    @property
    def newest(self) -> int:
        """Step of the newest checkpoint."""
        return max(int(path.name.split("_")[1]) for path in self.path.glob("checkpoints/step_*"))


class RankTrainings:
    """A worker that has imported everything, and the runs it is asked for."""

    def __init__(self) -> None:
        memory = "/dev/shm" if Path("/dev/shm").is_dir() else None
        self._folder = tempfile.TemporaryDirectory(prefix="atft-ranks-", dir=memory)
        self._errors = Path(self._folder.name) / "errors.txt"
        worker = [sys.executable, str(Path(__file__).with_name("rank_worker.py"))]
        pipe = subprocess.PIPE
        with self._errors.open("w") as errors:
            self._worker = subprocess.Popen(worker, stdin=pipe, stdout=pipe, stderr=errors, text=True)
        self._undisturbed: dict[int, RankRun] = {}

    def at(self, name: str) -> RankRun:
        return RankRun(Path(self._folder.name) / name)

    def undisturbed(self, ranks: int) -> RankRun:
        """The training on so many ranks that others are compared with."""
        if ranks not in self._undisturbed:
            run = self.at(f"undisturbed on {ranks}")
            assert self.start(run, ranks).endings == [0] * ranks
            self._undisturbed[ranks] = run
        return self._undisturbed[ranks]

    def start(
        self,
        run: RankRun,
        ranks: int,
        settings: dict[str, Any] = SETTINGS,
        *,
        timeout: int = TIMEOUT,
        patience: int = PATIENCE,
        **hurt: Any,
    ) -> RanksEnded:
        """Train until all ranks have ended; `rank_1={…}` hurts that one."""
        assert self._worker.stdin is not None
        assert self._worker.stdout is not None
        by_rank = {name.removeprefix("rank_"): value for name, value in hurt.items()}
        job = {"run": str(run.path), "ranks": ranks, "settings": settings, "timeout": timeout}
        job |= {"patience": patience, "hurt": by_rank}
        self._worker.stdin.write(json.dumps(job) + "\n")
        self._worker.stdin.flush()
        line = self._worker.stdout.readline()
        assert line, f"the worker ended:\n{self._errors.read_text()}"
        ended = RanksEnded(**json.loads(line))
        assert 1 not in ended.endings, f"a training failed:\n{self._errors.read_text()}"
        return ended

    def __enter__(self) -> "RankTrainings":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        assert self._worker.stdin is not None
        self._worker.stdin.close()
        self._worker.wait()
        self._folder.cleanup()
