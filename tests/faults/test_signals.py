"""Stop requests outside the training loop: while data are built, after the training, at a deadline, twice in a row."""

import json
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from atft_gat_fan.config.schema import SyntheticConfig
from atft_gat_fan.data.sources.synthetic import synthetic_panel

WORKER = Path(__file__).with_name("signals_worker.py")
CODES = {"SIGTERM": 143, "SIGINT": 130, "SIGUSR1": 75}
PROMPT = 25.0
"""Seconds that a stop may take: the promise."""


@dataclass(frozen=True)
class Ending:
    code: int
    seconds: float | None
    """From the strike to the end; None where nothing struck."""
    files: dict[str, int]
    """Inode of each file below the watched folder then."""
    kept: dict[str, Any]
    """What the JSON file of the job's `keep` said then."""
    log: str


def run(folder: Path, jobs: list[dict[str, Any]]) -> list[Ending]:
    """How each job ended, in turn."""
    folder.mkdir(exist_ok=True)
    for number, job in enumerate(jobs):
        job["log"] = str(folder / f"{number}.log")
    (folder / "jobs.json").write_text(json.dumps(jobs))
    done = subprocess.run([sys.executable, WORKER, folder / "jobs.json"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [
        Ending(code, seconds, files, kept, Path(job["log"]).read_text())
        for job, (code, seconds, files, kept) in zip(jobs, json.loads(done.stdout), strict=True)
    ]


def strike(at: str, count: int, *signals: str, **others: Any) -> dict[str, Any]:
    return {"strike": {"at": at, "count": count, "signals": signals, **others}}


@pytest.fixture(scope="module")
def panel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("panel") / "panel.parquet"
    synthetic_panel(SyntheticConfig(num_stocks=12, num_days=320)).sort("Code").write_parquet(path, row_group_size=400)
    return path


BUILDS = {
    ("checking the panel", 2): (["SIGTERM"], 0),
    ("comparing with what is there", 2): (["SIGINT"], 0),
    ("sorting rows by day", 3): (["SIGUSR1"], 0),
    ("writing the store", 1): (["SIGTERM"], 0),
    ("writing the store", 4): (["SIGINT"], 0),
    ("writing the store", 14): (["SIGUSR1"], 1),
    ("sorting rows by day", 2): (["SIGTERM", "SIGTERM"], 0),
    ("sorting rows by day", 4): (["SIGINT", "SIGINT"], 0),
    ("writing the store", 2): (["SIGUSR1", "SIGUSR1"], 0),
    ("writing the store", 3): (["SIGINT", "SIGTERM"], 0),
}
"""Stage and report: signals, shards that are whole by then."""


@pytest.fixture(scope="module")
def builds(panel: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[Any, list[Ending]]:
    """Of each place the build that is stopped there and its second start; of `None` one that was left alone."""
    root = tmp_path_factory.mktemp("builds")
    jobs = []
    for number, (place, (signals, _)) in enumerate([(None, ([], 0)), *BUILDS.items()]):
        out = root / str(number) / "store"
        out.parent.mkdir()
        command = {"arguments": ["data", "build", str(panel), "--out", str(out), "--json"], "watch": str(out.parent)}
        jobs += [command if place is None else command | strike(*place, *signals), dict(command)]
    endings = run(root / "logs", jobs)
    return {place: endings[2 * number : 2 * number + 2] for number, place in enumerate([None, *BUILDS])}


def store_files(ending: Ending) -> dict[str, int]:
    return {name: inode for name, inode in ending.files.items() if name.startswith("store/")}


def check_build(builds: dict[Any, list[Ending]], place: Any, code: int, shards: int) -> Ending:
    stopped, resumed = builds[place]
    assert stopped.code == code, stopped.log
    assert not store_files(stopped), "a store appears whole or not at all"
    kept = {Path(name).name: inode for name, inode in stopped.files.items() if name.endswith(".arrow")}
    finished = {name: inode for name, inode in kept.items() if name.startswith("days-")}
    assert len(finished) == shards
    assert resumed.code == 0, resumed.log
    assert ("sorting rows by day" in resumed.log) == (place[0] != "writing the store"), "staged rows are kept"
    assert store_files(resumed).keys() == store_files(builds[None][0]).keys(), "files are named by their content"
    assert {f"store/{name}": inode for name, inode in finished.items()}.items() <= resumed.files.items()
    assert not [name for name in resumed.files if ".building" in name]
    return stopped


@pytest.mark.fault("SIGTERM, SIGINT or SIGUSR1 while a store is built", "exit 143, 130, 75; the next build goes on")
@pytest.mark.parametrize("place", [place for place, (signals, _) in BUILDS.items() if len(signals) == 1], ids=str)
def test_a_build_that_is_stopped_goes_on(builds, struck, place):
    (name,), shards = BUILDS[place]
    stopped = check_build(builds, place, CODES[name], shards)
    struck(stopped.seconds)
    assert stopped.seconds < PROMPT
    assert f'error: stopped by {name} during "{place[0]}"; what is finished is kept: start the same' in stopped.log
    assert "Traceback" not in stopped.log


@pytest.mark.fault("a second signal while a store is built", "exit at once; the next build goes on")
@pytest.mark.parametrize("place", [place for place, (signals, _) in BUILDS.items() if len(signals) == 2], ids=str)
def test_a_second_signal_ends_a_build_at_once(builds, struck, place):
    (_, second), shards = BUILDS[place]
    stopped = check_build(builds, place, CODES[second], shards)
    struck(stopped.seconds)
    assert "stopped by" not in stopped.log, "nobody waited for a message"


SMALL = [
    "model=small", "batch_size=16", "train.max_epochs=2", "train.log_every=1", "run.num_threads=1",
    "evaluation.lightgbm.num_rounds=5",
]  # fmt: skip
STOPS = {
    ("writing the store", 5): ["SIGTERM"],
    ("neighbour graph", 10): ["SIGINT"],
    ("score", 20): ["SIGUSR1"],
    ("baseline lightgbm", 100): ["SIGTERM"],
    ("evaluation of the test days", 3): ["SIGINT"],
    ("report", 1): ["SIGUSR1"],
    ("baseline lightgbm", 200): ["SIGTERM", "SIGTERM"],
    ("score", 30): ["SIGINT", "SIGINT"],
    ("neighbour graph", 5): ["SIGUSR1", "SIGUSR1"],
}
"""Stage and report of a run, before its training or after."""
TRAINED = ("score", "baseline lightgbm", "evaluation of the test days", "report")


@dataclass(frozen=True)
class Run:
    folder: Path
    stopped: Ending
    left: dict[str, Any]
    """run_state.json as the stopped process left it."""
    resumed: Ending


def train(panel: Path, root: Path, *others: str) -> dict[str, Any]:
    places = [f"data.source={panel}", f"data.cache={root / 'cache'}", f"run.root={root}"]
    return {"arguments": ["train", *SMALL, *places, *others], "watch": str(root), "keep": "*/run_state.json"}


def the_run(root: Path) -> Path:
    (metrics,) = root.glob("*/config.yaml")
    return metrics.parent


class Runs(dict[Any, Run]):
    """The run of each place, made when it is first asked for; of `None` one that was left alone."""

    def __init__(self, panel: Path, root: Path) -> None:
        super().__init__()
        self._panel, self._root = panel, root

    def __missing__(self, place: Any) -> Run:
        root = self._root / str(len(self))
        command = train(self._panel, root)
        if place == "deadline":
            jobs = [train(self._panel, root, f"run.stop_after={after}") for after in ("1s", "1h")]
        else:
            jobs = [command if place is None else command | strike(*place, *STOPS[place]), dict(command)]
        stopped, resumed = run(self._root / f"logs {len(self)}", jobs)
        self[place] = Run(the_run(root), stopped, stopped.kept, resumed)
        return self[place]


@pytest.fixture(scope="module")
def runs(panel: Path, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    return Runs(panel, tmp_path_factory.mktemp("runs"))


def some(stops: Iterable[Any]) -> list[Any]:
    """The places, of which every second one is left for the exhaustive tests."""
    return [
        pytest.param(place, marks=pytest.mark.exhaustive if number % 2 else (), id=str(place))
        for number, place in enumerate(stops)
    ]


def outcome(run: Path) -> dict[str, Any]:
    """What must not depend on being stopped."""
    metrics = json.loads((run / "metrics.json").read_text())
    tables = {name: pl.read_parquet(run / f"{name}.parquet").to_dicts() for name in ("predictions", "baselines")}
    weights = (run / "model/weights.safetensors").read_bytes()
    return {"valid": metrics["valid"], "test": metrics["test"], "weights": weights, **tables}


def check_run(runs: dict[Any, Run], place: Any, code: int) -> Run:
    run = runs[place]
    assert run.stopped.code == code, run.stopped.log
    assert "Traceback" not in run.stopped.log
    assert run.resumed.code == 0, run.resumed.log
    assert outcome(run.folder) == outcome(runs[None].folder)
    assert (run.folder / "report.html").exists()
    assert json.loads((run.folder / "run_state.json").read_text())["status"] == "finished"
    lines = [json.loads(line) for line in (run.folder / "events.jsonl").read_text().splitlines()]
    steps = [line["step"] for line in lines if line["event"] == "train"]
    assert steps == list(range(1, len(steps) + 1)), "no step is done twice"
    return run


def same_file(run: Run, name: str) -> bool:
    path = f"{run.folder.name}/{name}"
    return path in run.stopped.files and run.stopped.files[path] == run.resumed.files[path]


@pytest.mark.slow
@pytest.mark.fault("SIGTERM, SIGINT or SIGUSR1 before a run's training or after it", "exit 143, 130, 75; goes on there")
@pytest.mark.parametrize("place", some(place for place, signals in STOPS.items() if len(signals) == 1))
def test_a_run_that_is_stopped_goes_on(runs, struck, place):
    (name,) = STOPS[place]
    run = check_run(runs, place, CODES[name])
    struck(run.stopped.seconds)
    assert run.stopped.seconds < PROMPT
    assert f'stopped by {name} during "{place[0]}"' in run.stopped.log
    assert (run.left["status"], run.left["resumable"]) == ("interrupted", True)
    assert same_file(run, "predictions.parquet") == (place[0] in TRAINED[1:]), "scored once"
    assert same_file(run, "baselines.parquet") == (place[0] in TRAINED[2:]), "fitted once"


@pytest.mark.slow
@pytest.mark.fault("a second signal before a run's training or after it", "exit at once; the next start goes on")
@pytest.mark.parametrize("place", some(place for place, signals in STOPS.items() if len(signals) == 2))
def test_a_second_signal_ends_a_run_at_once(runs, struck, place):
    run = check_run(runs, place, CODES[STOPS[place][0]])
    struck(run.stopped.seconds)
    assert "stopped by" not in run.stopped.log
    assert run.left["status"] == "running", "as after a kill: nobody waited for more"


@pytest.mark.slow
@pytest.mark.fault("the deadline of run.stop_after", "saved; exit 75; the same command goes on")
def test_a_run_stops_at_its_deadline(runs, struck):
    run = check_run(runs, "deadline", 75)
    struck("stopped at the deadline (run.stop_after)" in run.stopped.log)
    assert "start the same command again" in run.stopped.log
    assert (run.left["status"], run.left["resumable"]) == ("interrupted", True)


STAND_INS = {"well": "pass", "down": "raise ConnectionError", "hanging": "import time; time.sleep(600)"}


@pytest.mark.slow
@pytest.mark.fault("a signal to all processes while W&B is well, down or hanging", "saved; its exit code within 25 s")
@pytest.mark.parametrize("sink", STAND_INS)
def test_a_sink_keeps_nobody_from_stopping(panel, tmp_path, struck, sink):
    package = tmp_path / "stand_in"
    package.mkdir()
    (package / "wandb.py").write_text(
        "class Settings:\n    mode = 'offline'\n    def __init__(self, **k): self.settings = self\n"
        "class Run:\n"
        "    def define_metric(self, *a, **k): pass\n"
        f"    def log(self, values): open({str(tmp_path / 'logged')!r}, 'a').write('logged ')\n"
        f"    def finish(self): open({str(tmp_path / 'logged')!r}, 'a').write('finished')\n"
        f"def setup(settings): return settings\ndef init(**k):\n    {STAND_INS[sink]}\n    return Run()\n"
    )
    command = train(panel, tmp_path / "root", "improvements.enable_wandb=true")
    command |= {"environment": {"PYTHONPATH": f"{package}:{':'.join(sys.path)}"}}
    stopped, resumed = run(
        tmp_path / "logs", [command | strike("batch", 4, "SIGINT", group=True), train(panel, tmp_path / "root")]
    )
    struck(stopped.seconds)
    assert stopped.code == 130, stopped.log
    assert stopped.seconds < PROMPT
    assert "the state is saved" in stopped.log
    if sink == "well":
        assert (tmp_path / "logged").read_text().endswith("logged finished"), "the signal was not for the sink"
    assert resumed.code == 0, resumed.log
