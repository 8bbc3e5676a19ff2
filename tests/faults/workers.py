"""A process that has imported everything and does one job after another, each a line of JSON, in its own folder."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any, Self


class Worker:
    """Runs a script beside this file, from its making until the end of `with`."""

    def __init__(self, script: str) -> None:
        # A kill takes nothing of what was written, flushed or not; so memory will do, and waits for no disk.
        memory = "/dev/shm" if Path("/dev/shm").is_dir() else None
        self._folder = tempfile.TemporaryDirectory(prefix="atft-faults-", dir=memory)
        self.folder = Path(self._folder.name)
        self._errors = self.folder / "errors.txt"
        command = [sys.executable, str(Path(__file__).with_name(script))]
        pipe = subprocess.PIPE
        with self._errors.open("w") as errors:
            self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=errors, text=True)

    def errors(self) -> str:
        """What its jobs wrote to their standard error."""
        return self._errors.read_text()

    def ask(self, job: dict[str, Any]) -> dict[str, Any]:
        """The answer to a job."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, f"the worker ended:\n{self.errors()}"
        answer: dict[str, Any] = json.loads(line)
        return answer

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()
        self._folder.cleanup()
