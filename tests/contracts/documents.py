"""The documentation as data: its pages, their fenced blocks, and the commands in them.

What can be in a page, besides prose:

- ```sh blocks are run in order, in a folder of the page's own; each must end with 0;
- `<!-- exits with 65 -->` before a block: it must end with that instead;
- `<!-- prints -->` before a ```text block: its lines come, in this order, in what the block before it writes; `…` is
  anything;
- `<!-- as NAME -->` before a block: it is saved in the folder under that name, for the commands after it;
- `<!-- not run: REASON -->` before a block: it is only read. REASONS has the few that there are;
- ```python blocks of a page are one session, between its commands;
- ```yaml blocks are configurations; ```ini and ```cron blocks are read for `atft` commands; others are not looked at.
"""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
LANGUAGES = {"sh", "python", "yaml", "json", "ini", "cron", "text"}
REASONS = (
    "installs from the network",
    "fetches from the network",
    "takes hours",
    "needs root",
    "needs an account",
    "needs a finished validation",
    "like the others, its options are checked",
)
FENCE = re.compile(r"^(?P<indent> *)```(?P<language>\w*)\s*$")
NOTE = re.compile(r"^\s*<!-- (?P<word>not run: |exits with |prints|as )(?P<value>.*?) ?-->$")
INLINE = re.compile(r"`((?:\.venv/bin/)?atft [^`]+)`")
OPERATORS = {"&&", "||", ";", "|", ">", ">>", "<", "2>", "&"}


@dataclass(frozen=True)
class Block:
    page: Path
    line: int
    """Of its first line of text."""
    language: str
    text: str
    not_run: str | None = None
    exit_code: int = 0
    is_output: bool = False
    """Of the block before it."""
    saved_as: str | None = None

    @property
    def place(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(page: Path) -> list[Block]:
    """Every fenced block of a page with what the comment before it says, top to bottom."""
    found, note = [], {}
    lines = iter(enumerate(page.read_text().splitlines(), 1))
    for number, line in lines:
        if match := NOTE.match(line):
            note[match["word"].strip(": ")] = match["value"]
        elif match := FENCE.match(line):
            text = _fenced(lines, match["indent"])
            found.append(
                Block(
                    page,
                    number + 1,
                    match["language"],
                    text,
                    note.get("not run"),
                    int(note.get("exits with", 0)),
                    "prints" in note,
                    note.get("as"),
                )
            )
            note = {}
        elif line.strip():
            assert not note, f"{page.name}:{number}: expected a fenced block after the comment, found {line!r}"
    assert not note, f"{page.name}: expected a fenced block after its last comment"
    return found


def _fenced(lines: Iterator[tuple[int, str]], indent: str) -> str:
    """The text up to the closing fence, which is read too."""
    text = []
    for _, line in lines:
        if line.strip() == "```":
            return "\n".join(text) + "\n"
        text.append(line.removeprefix(indent))
    raise AssertionError(f"a fence is not closed: {text[:1]}")


def commands(text: str) -> list[list[str]]:
    """The words of each simple command of a shell text, as the shell takes them apart; what it computes is made up."""
    text = re.sub(r"\\\n", " ", text)
    text = re.sub(r"\$\([^)]*\)", "2020-01-02", text)
    text = re.sub(r"\$\{?\w+\}?", "2020-01-02", text)
    found = []
    for line in text.splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        words: list[str] = []
        for token in [*lexer, ";"]:
            if token in OPERATORS:
                found.append(words)
                words = []
            else:
                words.append(token)
    return [words for words in found if words]


def inline_commands(page: Path) -> list[str]:
    """`atft …` in prose and tables; fenced blocks are left out."""
    prose = re.sub(r"^ *```.*?^ *```$", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    return INLINE.findall(prose)


def commands_of_units(text: str) -> Iterator[list[str]]:
    """`atft …` of a crontab or a unit of systemd, whatever stands before it."""
    for line in text.splitlines():
        if match := re.search(r"(?:^|[\s=/;])atft ([a-z].*)$", line):
            yield commands(f"atft {match[1]}")[0]
