"""The published matrix of faults is that of the tests, and the tests cannot pass without their faults."""

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "robustness.md"
BEGIN, END = "<!-- faults: begin -->", "<!-- faults: end -->"


class Collected:
    """The rows that the collected tests stand for."""

    def __init__(self) -> None:
        self.rows: set[tuple[str, str]] = set()

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        markers = (item.get_closest_marker("fault") for item in session.items)
        self.rows |= {(str(marker.args[0]), str(marker.args[1])) for marker in markers if marker is not None}


def rows(page: str) -> dict[tuple[str, str], tuple[str, str]]:
    """Strikes, and whether the promise was kept, of each fault and promise."""
    lines = page.partition(BEGIN)[2].partition(END)[0].splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| ")][1:]
    return {(fault, promise): (strikes, kept) for fault, promise, strikes, kept in cells}


def inner_pytest(*arguments: str, plugins: tuple[object, ...] = ()) -> pytest.ExitCode | int:
    return pytest.main(["-p", "no:cacheprovider", "-p", "no:xdist", *arguments], plugins=list(plugins))


def test_the_page_has_the_faults_that_are_tested_and_no_others() -> None:
    collected = Collected()
    assert inner_pytest("--collect-only", str(ROOT / "tests" / "faults"), plugins=(collected,)) == 0
    published = rows(PAGE.read_text())
    assert published.keys() - collected.rows == set(), "no such test: run `make faults`"
    assert collected.rows - published.keys() == set(), "not on the page: run `make faults`"


def test_every_fault_on_the_page_struck_and_every_promise_was_kept() -> None:
    published = rows(PAGE.read_text())
    assert published
    assert all(int(strikes) > 0 and kept == "yes" for strikes, kept in published.values())


FAULTS = """
import pytest

@pytest.mark.fault("one fault", "one promise")
@pytest.mark.parametrize("times", [1, 2])
def test_struck(struck, times):
    for _ in range(times):
        struck("seen")

@pytest.mark.fault("another fault", "kept where it strikes")
def test_not_struck(struck):
    pass

@pytest.mark.fault("a third", "never asks")
def test_without_asking():
    pass

@pytest.mark.skip
@pytest.mark.fault("a fourth", "not run")
def test_skipped(struck):
    pass
"""


def test_a_fault_that_never_struck_fails_and_the_matrix_says_so(tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    page, tests = tmp_path / "page.md", tmp_path / "test_inner_faults.py"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    tests.write_text(FAULTS)
    arguments = ["-c", str(ROOT / "pyproject.toml"), "-p", "tests.faults.conftest", f"--fault-matrix={page}"]
    try:
        assert inner_pytest(*arguments, str(tests)) == pytest.ExitCode.TESTS_FAILED
    finally:
        sys.modules.pop("test_inner_faults", None)
    assert rows(page.read_text()) == {
        ("one fault", "one promise"): ("3", "yes"),
        ("another fault", "kept where it strikes"): ("0", "**no**: 1 failed"),
        ("a third", "never asks"): ("0", "**no**: 1 failed"),
    }
    assert page.read_text().startswith(f"before\n{BEGIN}\n| fault")
    assert page.read_text().endswith(f"{END}\nafter\n")
    assert "one promise" in capfd.readouterr().out, "it is printed too"
