"""One run, one folder, one process: who may write there, and what became of the run."""

import fcntl
import json
import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Literal

from omegaconf import OmegaConf

from atft_gat_fan.config.schema import Config
from atft_gat_fan.data.durable_files import replace_durably, strict_json
from atft_gat_fan.errors import AtftError, ConfigError, DataError, InterruptedRunError, NonFiniteError, StorageError

LOCK = ".lock"
STATE = "run_state.json"
SUPERVISOR = "supervisor.json"
# All that a run writes: `clear` deletes these names and nothing else, so a mistyped run.dir loses no one's files.
CONTENT = (
    "config.yaml",
    "plan.json",
    "param_groups.json",
    "data.json",
    "normalizer.json",
    "events.jsonl",
    "tensorboard",
    "wandb",
    "checkpoints",
    "debug",
    "blend",
    "model",
    "predictions.parquet",
    "baselines.parquet",
    "blend.parquet",
    SUPERVISOR,
    "metrics.json",
    "report.html",
    STATE,
)


@dataclass(frozen=True)
class RunState:
    """What `run_state.json` says. A state `running` without a process that holds the lock was killed: resumable."""

    status: Literal["running", "finished", "interrupted", "failed"]
    exit_reason: str = ""
    resumable: bool = True
    updated: str = ""
    """UTC, ISO 8601."""


class RunFolder:
    """A run's folder, held exclusively until closed (`with RunFolder(path) as folder`).

    The lock dies with the process, so a killed run never blocks its successor. Raises StorageError
    where the folder cannot be made or written, or another process holds it.

    With `hold=False` it is neither made nor locked, for a process that only reads there, beside the one that holds it.
    """

    def __init__(self, path: Path | str, *, hold: bool = True) -> None:
        self.path = Path(path)
        self._lock: IO[str] | None = None
        if hold:
            self._lock = self._locked()

    def _locked(self) -> IO[str]:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            # A link would have something else than the lock overwritten.
            lock = os.fdopen(os.open(self.path / LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666), "r+")
        except OSError as error:
            raise StorageError(
                f"{self.path}: expected a writable run folder, found {error.strerror}; choose another run.dir"
            ) from error
        try:
            # flock, not lockf: it also refuses a second holder inside the same process.
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            lock.seek(0)
            holder = lock.read().strip() or "another process"
            lock.close()
            raise StorageError(
                f"{self.path}: expected a free run folder, found it in use by {holder}; "
                "wait for that run, stop it, or choose another run.dir"
            ) from error
        # On a full disk the lock holds all the same, and the run's own files will tell of the disk.
        with suppress(OSError):
            lock.seek(0)
            lock.truncate()
            os.write(lock.fileno(), f"process {os.getpid()} on {socket.gethostname()}".encode())
        return lock

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def events(self) -> Path:
        return self.path / "events.jsonl"

    @property
    def tensorboard(self) -> Path:
        return self.path / "tensorboard"

    def clear(self) -> None:
        """Delete what earlier runs left; files that no run writes stay. Raises StorageError where that fails."""
        try:
            for name in CONTENT:
                entry = self.path / name
                if entry.is_dir() and not entry.is_symlink():
                    shutil.rmtree(entry)
                else:
                    entry.unlink(missing_ok=True)
        except OSError as error:
            raise StorageError(f"{error.filename}: cannot delete: {error.strerror}; mend its permissions") from error

    def write_config(self, config: Config) -> None:
        """Write the resolved configuration as `config.yaml`."""
        self._write("config.yaml", OmegaConf.to_yaml(OmegaConf.create(config.model_dump(mode="json"))))

    def write_json_atomic(self, name: str, value: Any) -> Path:
        """Write JSON (NaN as null) that readers see whole or not at all. Raises StorageError."""
        return self._write(name, strict_json(value, indent=2) + "\n")

    def read_state(self) -> RunState | None:
        """`read_state` of this folder."""
        return read_state(self.path)

    def write_state(
        self, status: Literal["running", "finished", "interrupted", "failed"], reason: str, resumable: bool
    ) -> None:
        updated = datetime.now(UTC).isoformat(timespec="seconds")
        self.write_json_atomic(STATE, asdict(RunState(status, reason, resumable, updated)))

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Keep `run_state.json` true while the run's work is done inside: running, then how it ended."""
        self.write_state("running", "", resumable=True)
        try:
            yield
        except InterruptedRunError as error:
            self._write_end("interrupted", str(error), resumable=True)
            raise
        except AtftError as error:
            # The same configuration on the same data would fail the same way again.
            hopeless = isinstance(error, NonFiniteError | ConfigError | DataError)
            self._write_end("failed", str(error), resumable=not hopeless)
            raise
        except BaseException as error:
            self._write_end("failed", f"{type(error).__name__}: {error}", resumable=True)
            raise
        self.write_state("finished", "", resumable=False)

    def _write_end(self, status: Literal["interrupted", "failed"], reason: str, resumable: bool) -> None:
        # Why the run ended must not give way to why that could not be noted: without a note it counts as killed.
        with suppress(StorageError):
            self.write_state(status, reason, resumable)

    def close(self) -> None:
        """Let go of the folder. The lock file stays: deleting it would let two processes lock two files of one name."""
        if self._lock is not None:
            self._lock.close()

    def __enter__(self) -> "RunFolder":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _write(self, name: str, text: str) -> Path:
        file = self.path / name
        try:
            replace_durably(file, text.encode())
        except OSError as error:
            raise StorageError(
                f"{file}: cannot write: {error.strerror}; free space or choose another run.dir"
            ) from error
        return file


def read_state(folder: Path) -> RunState | None:
    """What became of the run in `folder` so far; None before the first. Raises StorageError for a damaged file."""
    file = folder / STATE
    try:
        return RunState(**json.loads(file.read_bytes()))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        raise StorageError(
            f"{file}: expected a run's state, found {error}; use run.fresh=true to start over"
        ) from error
