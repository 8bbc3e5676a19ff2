"""What a training that goes on has recorded since one last looked: its record is not read from the start again."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from atft_gat_fan.runs.run_files import EVENTS, MOST_BYTES
from atft_gat_fan.untrusted import open_plain, parse_json


class EventTail:
    """Events of one `kind` of a run, each once."""

    def __init__(self, run: Path, kind: str) -> None:
        self._file, self._kind, self._read = run / EVENTS, kind, 0

    def new(self) -> Iterator[dict[str, Any]]:
        """Those that were recorded since the last call: none where there is no record, none of a line cut short."""
        for line in self._lines():
            if self._kind.encode() not in line:
                continue  # most lines are steps, and are not parsed
            try:
                event = parse_json(line)
            except ValueError:
                continue  # torn by a kill; the next line is whole again
            if isinstance(event, dict) and event.get("event") == self._kind:
                yield event

    def _lines(self) -> list[bytes]:
        try:
            with open(open_plain(self._file), "rb") as file:
                if os.fstat(file.fileno()).st_size < self._read:
                    self._read = 0  # begun anew
                file.seek(self._read)
                content = file.read(MOST_BYTES)
        except OSError:
            return []  # not begun yet
        whole = content[: content.rfind(b"\n") + 1]
        self._read += len(whole)
        return whole.splitlines()
