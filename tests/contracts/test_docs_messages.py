"""The messages that the documentation explains are messages that the code can say."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from itertools import pairwise

import pytest

from tests.contracts.documents import PAGES, ROOT

HEADING = "what you see"
QUOTED = re.compile(r"`([^`]+ [^`]+)`")
ANYTHING = "…"


@cache
def sayable() -> str:
    """Every text in the code, one a line, with `…` for what is put into it."""
    nodes = [node for file in (ROOT / "src").rglob("*.py") for node in ast.walk(ast.parse(file.read_text()))]
    texts = {flat(node) for node in nodes if isinstance(node, ast.JoinedStr | ast.Constant)}
    makefile = re.sub(r"\$\([A-Z]+\)", ANYTHING, (ROOT / "Makefile").read_text())
    return "\n".join([*texts, makefile])


def flat(node: ast.expr) -> str:
    if isinstance(node, ast.JoinedStr):
        return "".join(map(flat, node.values))
    text = isinstance(node, ast.Constant) and isinstance(node.value, str)
    return " ".join(node.value.split("\n")) if text else ANYTHING


def quoted_messages(text: str) -> Iterator[str]:
    """Of the first column of the tables headed `what you see`: what is set as code and has several words."""
    seen = False
    for above, line in pairwise(["", *text.splitlines()]):
        if not line.startswith("|"):
            seen = False
        elif not above.startswith("|"):
            seen = line.split("|")[1].strip() == HEADING
        elif seen:
            yield from QUOTED.findall(line.split("|")[1])


def is_sayable(message: str) -> bool:
    pieces = [piece for piece in message.split(ANYTHING) if piece.strip()]
    pattern = ".*".join(re.escape(piece.strip()) for piece in pieces)
    return re.search(pattern, sayable()) is not None


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_message_that_is_explained_can_be_said(page) -> None:
    unknown = [message for message in quoted_messages(page.read_text()) if not is_sayable(message)]
    assert not unknown


def test_messages_are_found_and_wrong_ones_are_noticed() -> None:
    found = [message for page in PAGES for message in quoted_messages(page.read_text())]
    assert len(found) > 10
    assert not is_sayable("expected a column … (…), discovered …")
    assert list(quoted_messages("| what you see | x |\n|---|---|\n| `one two` or | `three four` |\n")) == ["one two"]
