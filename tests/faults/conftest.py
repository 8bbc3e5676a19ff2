"""Every fault is a row of the matrix, and no test of one passes unless it struck.

`pytest tests/faults --fault-matrix FILE` writes the matrix of what was run as a Markdown table; `make faults` does.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

ROW = "fault"


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
