"""docs/cli.md is the tool, and every argument explains itself."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from typer.main import get_command

from atft_gat_fan.cli.main import app
from atft_gat_fan.cli.reference import reference

PAGE = Path(__file__).parents[2] / "docs" / "cli.md"
ROW = re.compile(r"^\| `(?P<name>.+)` \| (?P<meaning>.+) \|$")


def sections() -> dict[str, str]:
    return {part.splitlines()[0]: part for part in reference().split("\n## ")[1:]}


def test_the_page_is_what_the_tool_says() -> None:
    assert PAGE.read_text() == reference(), "docs/cli.md is not of this tool; run `make docs`"


def test_every_command_that_help_lists_has_a_section() -> None:
    def paths(command: Any, path: str) -> Iterator[str]:
        inner = getattr(command, "commands", {})
        for name, below in inner.items():
            yield from paths(below, f"{path} {name}")
        if not inner and not command.hidden:
            yield path

    assert list(sections()) == list(paths(get_command(app), "atft"))
    assert "atft smoke" not in sections()


def test_every_row_says_what_it_is_for() -> None:
    rows = [match for line in reference().splitlines() if (match := ROW.match(line))]
    assert len(rows) > 20
    for row in rows:
        assert len(row["meaning"]) > 8, row["name"]


def test_usage_has_what_must_be_given_and_no_more() -> None:
    predict = sections()["atft predict"]
    assert " --data SRC --out FILE [OPTIONS]\n" in predict
    assert "\natft report RUN [OPTIONS]\n" in sections()["atft report"]
    assert "| `--date DATE` |" in predict
    assert "--json" not in predict
    assert "atft train [KEY=VALUE...] [OPTIONS]\n" in sections()["atft train"]
