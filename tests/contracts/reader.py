"""Somebody who follows a page of the documentation, and sees whether what it shows comes out."""

import json
import re
import subprocess
import sys
from itertools import takewhile

from tests.contracts.documents import Block
from tests.contracts.small_checkout import SmallCheckout

SESSION = """
import json, sys, traceback

names = {"__name__": "__main__"}
for line in sys.stdin:
    block = json.loads(line)
    try:
        exec(compile(block["text"], block["place"], "exec"), names)
    except Exception:
        traceback.print_exc()
    print(block["end"], flush=True)
"""
END = "-- end of the block --"


class Reader:
    """Somebody who types what a page says, from top to bottom."""

    def __init__(self, checkout: SmallCheckout) -> None:
        self.checkout = checkout
        self.session: subprocess.Popen[str] | None = None
        self.written = ""

    def follow(self, block: Block) -> None:
        if block.saved_as is not None:
            (self.checkout.folder / block.saved_as).write_text(block.text)
        elif block.is_output:
            require_written(block, self.written)
        elif block.language == "sh":
            self._run(block)
        elif block.language == "python":
            self._execute(block)

    def _run(self, block: Block) -> None:
        command = ["bash", "-euo", "pipefail", "-c", block.text]
        done = subprocess.run(
            command, cwd=self.checkout.folder, env=self.checkout.environment, capture_output=True, text=True
        )
        self.written = done.stdout + done.stderr
        said = f"{block.place}: {done.returncode}, not {block.exit_code}\n{self.written[-3000:]}"
        assert done.returncode == block.exit_code, said

    def _execute(self, block: Block) -> None:
        if self.session is None:
            self.session = subprocess.Popen(
                [sys.executable, "-c", SESSION],
                cwd=self.checkout.folder, env=self.checkout.environment, text=True,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            )  # fmt: skip
        assert self.session.stdin is not None
        assert self.session.stdout is not None
        self.session.stdin.write(json.dumps({"text": block.text, "place": block.place, "end": END}) + "\n")
        self.session.stdin.flush()
        lines = list(takewhile(lambda line: line != f"{END}\n", self.session.stdout))
        self.written = "".join(lines)
        failed = self.session.poll() is not None or "Traceback (most recent call last)" in self.written
        assert not failed, f"{block.place}:\n{self.written[-3000:]}"

    def leave(self) -> None:
        if self.session is not None:
            self.session.communicate()


def require_written(block: Block, written: str) -> None:
    """Its lines come in order; runs of white space are one space, and `…` is anything within a line."""
    position, lines = 0, [" ".join(line.split()) for line in written.splitlines()]
    for wanted in filter(None, (" ".join(line.split()) for line in block.text.splitlines())):
        if wanted == "…":
            continue
        pattern = re.compile(".*".join(map(re.escape, wanted.split("…"))))
        at = next((i for i in range(position, len(lines)) if pattern.search(lines[i])), None)
        assert at is not None, f"{block.place}: expected {wanted!r}, found\n{written[-3000:]}"
        position = at + 1
