"""What is said of trainings under way is read off their own records."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from atft_gat_fan.config.load import from_mapping
from atft_gat_fan.data.splits import Split
from atft_gat_fan.runs import walkforward_progress
from atft_gat_fan.runs.walkforward_plan import FoldRun, PlannedFold, WalkForward
from atft_gat_fan.runs.walkforward_progress import TRAINING, WalkProgress, share_done
from atft_gat_fan.validation.trials import Job, Progress

SPLIT = Split(train=np.arange(10), valid=np.arange(12, 15), test=np.arange(17, 20), purge=2, embargo=0)


def walk_of(folder: Path, *seconds: float) -> WalkForward:
    """One fold of as many seeds; the data are never looked at."""
    config = from_mapping({})
    runs = tuple(
        FoldRun(seed, config, Job(f"fold-01/seed-{seed}", "fold", folder / f"seed-{seed}", expected))
        for seed, expected in enumerate(seconds)
    )
    for run in runs:
        run.folder.mkdir()
    store: object = None
    return WalkForward(config, store, folder, (PlannedFold(1, SPLIT, runs),), (0, 1), ())  # type: ignore[arg-type]


def record(run: FoldRun, *events: dict[str, object]) -> None:
    (run.folder / "events.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))


def test_a_run_is_as_far_as_its_last_recorded_step(tmp_path: Path) -> None:
    (run,) = walk_of(tmp_path, 1.0).runs
    assert share_done(run) == 0
    record(run, {"event": "start", "step": 0, "planned_steps": 200}, {"event": "train", "step": 50})
    assert share_done(run) == pytest.approx(TRAINING / 4)
    (run.folder / "run_state.json").write_text(json.dumps({"status": "finished"}))
    assert share_done(run) == 1


def test_a_terminal_has_a_bar_and_a_log_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(walkforward_progress, "EVERY", 0.0)
    walk = walk_of(tmp_path, 1.0, 3.0)
    for terminal in (True, False):
        console = Console(file=io.StringIO(), force_terminal=terminal, width=100)
        with WalkProgress(walk, console) as progress:
            (walk.runs[0].folder / "run_state.json").write_text(json.dumps({"status": "finished"}))
            progress.poll()
            progress.finished(Progress(1, 2, 75.0, "fold-01/seed-0"))
        written = console.file.getvalue()
        assert "1 of 2 trainings, about 0:01:15 to go: fold-01/seed-0" in written
        assert ("━" in written) == terminal
        if terminal:
            assert progress._bar is not None
            assert progress._bar.tasks[0].completed == pytest.approx(0.25)
