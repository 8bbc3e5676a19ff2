"""A folder of fetched pieces: one panel as Parquet, and beside it what has been fetched, so that a fetch can go on."""

import fcntl
import io
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import polars as pl

from atft_gat_fan.data.durable_files import replace_durably, sealed, strict_json
from atft_gat_fan.errors import StorageError
from atft_gat_fan.untrusted import parse_json, read_plain

STATE = "fetch.json"
LOCK = ".lock"
MOST_BYTES = 64 * 2**20
"""Of the state; a piece's name and row count take some 30 bytes."""


class FetchedPanel:
    """The folder of a panel from `source`, held by one process while used as a context manager.

    Pieces are `NAME.parquet`, each written whole or not at all; `fetch.json` is written after the pieces it speaks of.
    Raises StorageError where another process holds the folder, it has other files or those of another source, or
    the disk refuses.
    """

    def __init__(self, folder: Path, source: str) -> None:
        self.folder, self.source = folder, source

    def __enter__(self) -> "FetchedPanel":
        with self._writing():
            self.folder.mkdir(parents=True, exist_ok=True)
            self._refuse_strangers()
            self._lock = os.open(self.folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._lock)
            raise StorageError(
                f"{self.folder}: another process is fetching into it; wait for it, or use another folder"
            ) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._lock)

    def read_state(self) -> dict[str, Any] | None:
        """What `write_state` was given last, None where nothing has been fetched."""
        path = self.folder / STATE
        if not path.exists():
            return None
        try:
            state = parse_json(read_plain(path, MOST_BYTES))
            whole = isinstance(state, dict) and sealed(state) == state
        except (OSError, ValueError):
            whole = False
        if not whole:
            raise StorageError(f"{path}: damaged; delete the folder and fetch again, or restore the file")
        if state["source"] != self.source:
            raise StorageError(f"{self.folder}: holds a panel from {state['source']}; fetch into another folder")
        return dict(state)

    def write_state(self, state: Mapping[str, Any]) -> None:
        """Remember what has been fetched; JSON values."""
        body = sealed({**state, "source": self.source})
        with self._writing():
            replace_durably(self.folder / STATE, strict_json(body, indent=1).encode())

    def path(self, name: str) -> Path:
        return self.folder / f"{name}.parquet"

    def has(self, name: str) -> bool:
        return self.path(name).is_file()

    def read(self, name: str, schema: pl.Schema) -> pl.DataFrame:
        """The rows of a piece, which must have just the columns of `schema`."""
        try:
            frame = pl.read_parquet(self.path(name), hive_partitioning=False)
        except (OSError, pl.exceptions.PolarsError) as error:
            raise StorageError(self._damaged(name, str(error).splitlines()[0])) from error
        if frame.schema != schema:
            raise StorageError(self._damaged(name, f"columns {', '.join(frame.columns)}"))
        return frame

    def query(self, names: Sequence[str], select: Callable[[pl.LazyFrame], pl.LazyFrame]) -> pl.DataFrame:
        """A query over the rows of these pieces."""
        try:
            return select(pl.scan_parquet([self.path(name) for name in names], hive_partitioning=False)).collect(
                engine="streaming"
            )
        except (OSError, pl.exceptions.PolarsError) as error:
            raise StorageError(
                f"{self.folder}: expected the pieces of the panel, reading stopped: {str(error).splitlines()[0]}; "
                "delete the file that it names and start the same command again: it is fetched anew"
            ) from error

    def write(self, name: str, frame: pl.DataFrame) -> None:
        """Replace a piece, or add it."""
        content = io.BytesIO()
        frame.write_parquet(content)
        with self._writing():
            replace_durably(self.path(name), content.getvalue())

    def _damaged(self, name: str, found: str) -> str:
        return (
            f"{self.path(name)}: expected a piece of the panel, found {found}; "
            "delete it and start the same command again: it is fetched anew"
        )

    def _refuse_strangers(self) -> None:
        if (self.folder / STATE).exists():
            return
        pieces = {f"{path.name}" for path in self.folder.iterdir() if not path.name.startswith(".")}
        if pieces:
            raise StorageError(
                f"{self.folder}: expected an empty folder or one of an earlier fetch ({STATE}), "
                f"found {', '.join(sorted(pieces)[:3])}; choose another with --out"
            )

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StorageError(f"{self.folder}: cannot be written: {error.strerror or error}; free or change it") from (
                error
            )
