"""Every fault is a row of the matrix, and no test of one passes unless it struck.

`pytest tests/faults --fault-matrix FILE` writes the matrix of what was run as a Markdown table; `make faults` does.
"""

import json
import select
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from atft_gat_fan.config.schema import SyntheticConfig
from atft_gat_fan.data.sources.synthetic import synthetic_panel

ROW = "fault"
WORKER = Path(__file__).with_name("command_worker.py")
ANSWER_SECONDS = 300


class Struck:
    """Called with the evidence that a fault happened: a test that never saw its fault proves nothing."""

    def __init__(self) -> None:
        self.evidence: list[object] = []

    def __call__(self, evidence: object) -> None:
        assert evidence, "the fault never struck"
        self.evidence.append(evidence)


@pytest.fixture
def struck() -> Struck:
    return Struck()


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

    def close(self) -> None:
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


@pytest.fixture(scope="session")
def commands() -> Iterator[Commands]:
    worker = Commands()
    yield worker
    worker.close()


@dataclass(frozen=True)
class SmallRun:
    """A finished run of seconds. `arguments` of `atft train` make it again, save for `places`."""

    folder: Path
    panel: Path
    arguments: list[str]

    def places(self, cache: Path, run: Path) -> list[str]:
        return [f"data.cache={cache}", f"run.dir={run}"]


@pytest.fixture(scope="session")
def small_run(commands: Commands, tmp_path_factory: pytest.TempPathFactory) -> SmallRun:
    """Twelve stocks over 260 days: 8 steps with a checkpoint after every second, reversal as the only baseline."""
    folder = tmp_path_factory.mktemp("small")
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


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--fault-matrix", type=Path, help="write the matrix of faults as a Markdown table")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        marker = item.get_closest_marker("fault")
        if marker is not None:
            fault, promise = marker.args
            # Properties travel with the reports of parallel workers; markers do not.
            item.user_properties.append((ROW, (fault, promise)))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    yield
    if item.get_closest_marker("fault") is not None:
        struck = item.funcargs.get("struck")  # type: ignore[attr-defined]
        assert struck is not None, "a test marked `fault` asks for the fixture `struck`"
        assert struck.evidence, "the test ended without evidence that its fault struck"


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    file = config.getoption("--fault-matrix", None)
    if file is None:
        return
    cases: dict[tuple[str, str], list[bool]] = {}
    for outcome in ("passed", "failed", "error"):
        for report in terminalreporter.getreports(outcome):
            # A skipped test was not run: it has no place in a table of what was.
            row = dict(report.user_properties).get(ROW)
            if row is not None and (report.when == "call" or outcome != "passed"):
                cases.setdefault(tuple(row), []).append(outcome == "passed")
    lines = ["| fault | promise | cases | kept |", "|---|---|---:|---|"]
    for (fault, promise), results in sorted(cases.items()):
        kept = "yes" if all(results) else f"**no**: {results.count(False)} failed"
        lines.append(f"| {fault} | {promise} | {len(results)} | {kept} |")
    file.write_text("\n".join(lines) + "\n")
    terminalreporter.write_line("\n".join(lines))
