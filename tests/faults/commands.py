"""`atft` commands as users run them, each in a fork of one worker, under the circumstances that a test asks for."""

import json
import select
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest

from atft_gat_fan.config.schema import SyntheticConfig
from atft_gat_fan.data.sources.synthetic import synthetic_panel

WORKER = Path(__file__).with_name("command_worker.py")
ANSWER_SECONDS = 300


@dataclass(frozen=True)
class Answer:
    """How a command ended."""

    code: int
    out: str
    err: str
    seconds: float

    def refused(self, code: int, *words: str) -> None:
        """It ended with this exit code and a message that has the words in it: no traceback."""
        assert self.code == code, self.err
        assert "Traceback" not in self.err
        assert "not foreseen" not in self.err
        for word in words:
            assert word.lower() in self.err.lower(), f"{word!r} is not in: {self.err}"

    def succeeded(self) -> "Answer":
        assert self.code == 0, self.err
        return self


class Commands:
    """`atft` commands in forks of one `command_worker.py`, whose docstring says what `circumstances` there are."""

    def __init__(self) -> None:
        self._worker = subprocess.Popen(
            [sys.executable, WORKER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )
        self.no_mounts: str = self._answer()["mounts"]

    def atft(self, *arguments: object, **circumstances: Any) -> Answer:
        return self._ask({"atft": [str(argument) for argument in arguments], **circumstances})

    def python(self, code: str, **circumstances: Any) -> Answer:
        return self._ask({"python": code, **circumstances})

    def mount(self, folder: Path, size: str) -> Path:
        """A small disk of its own, and its folder as it is seen from outside. Skips where none can be mounted."""
        if self.no_mounts:
            pytest.skip(f"this machine allows no mounts: {self.no_mounts}")
        folder.mkdir(parents=True, exist_ok=True)
        self._ask({"mount": str(folder), "size": size}).succeeded()
        return Path(f"/proc/{self._worker.pid}/root") / folder.relative_to("/")

    def remount(self, folder: Path, options: str) -> None:
        """For instance `ro`, or `size=64m`."""
        self._ask({"remount": str(folder), "as": options}).succeeded()

    def __enter__(self) -> "Commands":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._worker.stdin is not None
        assert self._worker.stdout is not None
        self._worker.stdin.close()
        self._worker.wait(60)
        self._worker.stdout.close()

    def _ask(self, job: dict[str, Any]) -> Answer:
        assert self._worker.stdin is not None
        self._worker.stdin.write(json.dumps(job) + "\n")
        return Answer(**self._answer())

    def _answer(self) -> dict[str, Any]:
        assert self._worker.stdout is not None
        ready, _, _ = select.select([self._worker.stdout], [], [], ANSWER_SECONDS)
        assert ready, "the worker does not answer"
        answer: dict[str, Any] = json.loads(self._worker.stdout.readline())
        return answer


@dataclass(frozen=True)
class SmallRun:
    """A finished run of seconds. `arguments` of `atft train` make it again, save for `places`."""

    folder: Path
    panel: Path
    arguments: list[str]

    def places(self, cache: Path, run: Path) -> list[str]:
        return [f"data.cache={cache}", f"run.dir={run}"]


def make_small_run(commands: Commands, folder: Path) -> SmallRun:
    """Twelve stocks over 260 days: 8 steps with a checkpoint after every second, reversal as the only baseline."""
    panel = folder / "panel.parquet"
    synthetic_panel(SyntheticConfig(num_stocks=12, num_days=260, signal=0.4)).write_parquet(panel)
    arguments = [
        "model=small", "batch_size=16", "train.max_steps=8", "train.checkpoint_every=2", "train.log_every=1",
        "train.tensorboard=false", "run.num_threads=1", "evaluation.baselines=[reversal]", "compile=false",
        "data.horizons=[1,5]", f"data.source={panel}",
    ]  # fmt: skip
    run = SmallRun(folder / "run", panel, arguments)
    commands.atft("train", *arguments, *run.places(folder / "cache", run.folder)).succeeded()
    return run
