"""Trainings on several ranks that are hurt, and how all of them ended."""

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

from tests.faults.trainings import SETTINGS, Run
from tests.faults.workers import Worker

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


class RankTrainings(Worker):
    """The runs that a worker is asked for."""

    def __init__(self) -> None:
        super().__init__("rank_worker.py")
        self._undisturbed: dict[int, RankRun] = {}

    def at(self, name: str) -> RankRun:
        return RankRun(self.folder / name)

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
        by_rank = {name.removeprefix("rank_"): value for name, value in hurt.items()}
        job = {"run": str(run.path), "ranks": ranks, "settings": settings, "timeout": timeout}
        ended = RanksEnded(**self.ask({**job, "patience": patience, "hurt": by_rank}))
        assert 1 not in ended.endings, f"a training failed:\n{self.errors()}"
        return ended
