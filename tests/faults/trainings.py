"""Trainings that are hurt and started again, and what they must have in common with one that was left alone.

10 steps an epoch, 20 in all; 4 validation batches after each epoch, so that the batches asked for are 1 to 10 and 15
to 24 of training, 11 to 14 and 25 to 28 of validation. A checkpoint every 4 steps and after each epoch.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.faults.workers import Worker

SETTINGS = {"max_epochs": 2, "checkpoint_every": 4, "log_every": 1, "ema": {"decay": 0.9, "warmup": True}}
WITHOUT_EMA = {key: value for key, value in SETTINGS.items() if key != "ema"}
TIMES = {"train_seconds", "seconds", "peak_rss_bytes"}
"""What a checkpoint holds that is not the same in two runs."""
CURVES = {"train": ("loss", "lr", "grad_norm"), "valid": ("epoch", "rank_ic", "smoothed_rank_ic", "best")}


@dataclass(frozen=True)
class Ended:
    """How a process ended, and what it left."""

    code: int
    checkpoints: list[str]
    points: list[str]

    @property
    def newest(self) -> int | None:
        """Step of the newest checkpoint that has its name."""
        return max((int(name.split("_")[1]) for name in self.checkpoints), default=None)


@dataclass(frozen=True)
class Run:
    """A run's folder."""

    path: Path

    @property
    def log(self) -> list[dict[str, Any]]:
        """Whole lines: a process that was killed may leave a part of one behind them."""
        file = self.path / "events.jsonl"
        text = file.read_text() if file.exists() else ""
        return [json.loads(line) for line in text.split("\n")[:-1]]

    def events(self, kind: str) -> list[dict[str, Any]]:
        return [line for line in self.log if line["event"] == kind]

    @property
    def struck(self) -> list[dict[str, Any]]:
        """What the strikes wrote before they struck."""
        file = self.path / "struck.jsonl"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    @property
    def steps(self) -> list[list[int]]:
        """The steps that each process did that came that far."""
        done: list[list[int]] = []
        for line in self.log:
            if line["event"] == "start":
                done.append([])
            elif line["event"] == "train":
                done[-1].append(line["step"])
        return done

    @property
    def error(self) -> dict[str, Any]:
        left: dict[str, Any] = json.loads((self.path / "error.json").read_text())
        return left

    @property
    def starts(self) -> list[int | None]:
        """Where each process that came that far went on from."""
        return [event["resumed_from"] for event in self.events("start")]

    def outcome(self) -> dict[str, str]:
        """All that must not depend on being hurt, by name.

        Final weights, tensors and counters of the last checkpoint, record of the epochs, and every value that any
        process logged of a step or an epoch.
        """
        last = max((self.path / "checkpoints").glob("step_*"))
        files = [*self.path.glob("final*"), self.path / "history.json", *last.glob("*.safetensors")]
        progress = json.loads((last / "progress.json").read_text())
        counters = {key: value for key, value in progress.pop("history").items() if key not in TIMES}
        curves = {
            kind: sorted({str([event["step"], *(event[key] for key in keys)]) for event in self.events(kind)})
            for kind, keys in CURVES.items()
        }
        return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files} | {
            "checkpoint": last.name,
            "progress": str(progress),
            "counters": str(counters),
            "curves": str(curves),
            "log": str((self.path / "events.jsonl").read_bytes().endswith(b"\n")),
        }


class Trainings(Worker):
    """The runs that a worker is asked for."""

    def __init__(self) -> None:
        super().__init__("training_worker.py")
        self._undisturbed: dict[str, tuple[Run, Ended]] = {}

    def at(self, name: str) -> Run:
        return Run(self.folder / name)

    def undisturbed(self, settings: dict[str, Any] = SETTINGS) -> tuple[Run, Ended]:
        """The training that all others of these settings are compared with."""
        key = json.dumps(settings)
        if key not in self._undisturbed:
            run = self.at(f"undisturbed {len(self._undisturbed)}")
            self._undisturbed[key] = run, self.start(run, settings)
        return self._undisturbed[key]

    def start(self, run: Run, settings: dict[str, Any] = SETTINGS, **strike: Any) -> Ended:
        """Train until the end, or until the strike."""
        answer = self.ask({"run": str(run.path), "settings": settings, "strike": strike or None})
        assert answer["ending"] != 1, f"a training failed:\n{self.errors()}"
        return Ended(answer["ending"], answer["checkpoints"], answer["points"])

    def start_waiting(self, run: Run, settings: dict[str, Any] = SETTINGS, **strike: Any) -> int:
        """Train until the strike, and leave the process waiting there."""
        asked = {"run": str(run.path), "settings": settings, "strike": {**strike, "act": "wait"}}
        process: int = self.ask(asked)["waiting"]
        return process

    def kill(self, process: int) -> int:
        code: int = self.ask({"kill": process})["ending"]
        return code
