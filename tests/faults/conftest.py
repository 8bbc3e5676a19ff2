"""Every fault is a row of the matrix, and no test of one passes unless it struck.

`pytest tests/faults --fault-matrix PAGE` puts the matrix of what was run between the marks of a Markdown page;
`make faults` does. A row's number counts the strikes there was evidence of.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.commands import Commands, SmallRun, make_small_run
from tests.faults.trainings import Trainings

ROW, STRIKES = "fault", "strikes"
BEGIN, END = "<!-- faults: begin -->", "<!-- faults: end -->"


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


@pytest.fixture(scope="session")
def trainings() -> Iterator[Trainings]:
    with Trainings() as worker:
        yield worker


@pytest.fixture(scope="session")
def commands() -> Iterator[Commands]:
    with Commands() as worker:
        yield worker


@pytest.fixture(scope="session")
def small_run(commands: Commands, tmp_path_factory: pytest.TempPathFactory) -> SmallRun:
    return make_small_run(commands, tmp_path_factory.mktemp("small"))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--fault-matrix", type=Path, help="put the matrix of faults between the marks of this page")


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
        item.user_properties.append((STRIKES, len(struck.evidence)))


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    page = config.getoption("--fault-matrix", None)
    if page is None:
        return
    rows: dict[tuple[str, str], tuple[int, int]] = {}
    for outcome in ("passed", "failed", "error"):
        for report in terminalreporter.getreports(outcome):
            # A skipped test was not run: it has no place in a table of what was.
            facts = dict(report.user_properties)
            if ROW in facts and (report.when == "call" or outcome != "passed"):
                strikes, failed = rows.get(tuple(facts[ROW]), (0, 0))
                rows[tuple(facts[ROW])] = strikes + facts.get(STRIKES, 0), failed + (outcome != "passed")
    matrix = matrix_of(rows)
    before, _, rest = page.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    assert end, f"{page}: expected the marks {BEGIN} and {END}"
    page.write_text(f"{before}{BEGIN}\n{matrix}\n{END}{after}")
    terminalreporter.write_line(matrix)


def matrix_of(rows: dict[tuple[str, str], tuple[int, int]]) -> str:
    """A Markdown table of fault and promise, with the numbers of strikes and of failed tests of each."""
    lines = ["| fault | promise | strikes | kept |", "|---|---|---:|---|"]
    for (fault, promise), (strikes, failed) in sorted(rows.items()):
        kept = f"**no**: {failed} failed" if failed else "yes"
        lines.append(f"| {fault} | {promise} | {strikes} | {kept} |")
    return "\n".join(lines)
