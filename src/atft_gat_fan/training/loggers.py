"""One logging call, sinks behind it. A sink that fails is dropped with one warning; training goes on."""

import errno
import os
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

from atft_gat_fan.data.durable_files import strict_json
from atft_gat_fan.errors import ConfigError
from atft_gat_fan.training.run_folder import RunFolder
from atft_gat_fan.training.settings import TrainSettings
from atft_gat_fan.training.wandb_sink import WandbSink


class Sink(Protocol):
    """Somewhere events go."""

    def write(self, event: str, step: int, values: dict[str, Any]) -> None: ...

    def close(self) -> None: ...


class JsonlSink:
    """The record: one JSON object a line (`time`, `event`, `step`, values; NaN as null), on the disk after `write`.

    Raises OSError where a line does not fit on the disk, of which nothing is left then.
    """

    def __init__(self, path: Path) -> None:
        # A link would have something else than the record cut and written to. Without a buffer, because what a full
        # disk leaves in one would be tried again, and fail again, as the file is closed.
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o666)
        self._file = open(descriptor, "ab+", buffering=0)  # noqa: SIM115 - closed by `close`
        self._drop_torn_line()

    def write(self, event: str, step: int, values: dict[str, Any]) -> None:
        time = datetime.now(UTC).isoformat(timespec="milliseconds")
        line = strict_json({"time": time, "event": event, "step": step, **values})
        content = line.encode() + b"\n"
        before = os.fstat(self._file.fileno()).st_size
        if self._file.write(content) != len(content):
            self._file.truncate(before)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()

    def _drop_torn_line(self) -> None:
        """A killed run may have left half a line at the end; what follows it must parse."""
        self._file.seek(0)
        content = self._file.read()
        self._file.truncate(content.rfind(b"\n") + 1)


class TensorBoardSink:
    """Curves for TensorBoard; on resuming, what a killed run had drawn beyond the checkpoint is hidden."""

    def __init__(self, folder: Path, resumed_step: int) -> None:
        # Imported here: it takes a second, and only runs that draw curves should pay it.
        from torch.utils.tensorboard import SummaryWriter

        self._writer: Any = SummaryWriter(str(folder), purge_step=resumed_step + 1)

    def write(self, event: str, step: int, values: dict[str, Any]) -> None:
        for name, value in values.items():
            if isinstance(value, int | float) and not isinstance(value, bool):
                self._writer.add_scalar(f"{event}/{name}", value, step)

    def close(self) -> None:
        self._writer.close()


class Logger:
    """The one logging call, and the sinks behind it in order."""

    def __init__(self, openers: Sequence[tuple[str, Callable[[], Sink]]], warn: Callable[[str], None]) -> None:
        self._warn = warn
        self._step = 0
        self._sinks: dict[str, Sink] = {}
        for name, opener in openers:
            try:
                self._sinks[name] = opener()
            except Exception as error:  # noqa: BLE001 - whatever a sink raises, training must outlive it
                self._drop(name, error)

    def log(self, event: str, step: int, **values: Any) -> None:
        """Hand the event to every sink that still works."""
        self._step = step
        for name in list(self._sinks):
            # The warning about one failing sink may have been the end of another.
            if name not in self._sinks:
                continue
            try:
                self._sinks[name].write(event, step, values)
            except Exception as error:  # noqa: BLE001 - as above
                del self._sinks[name]
                self._drop(name, error)

    def close(self) -> None:
        """Close the sinks, the first last: it can still record what the others had to say."""
        while self._sinks:
            name, sink = self._sinks.popitem()
            try:
                sink.close()
            except Exception as error:  # noqa: BLE001 - as above
                self._drop(name, error)

    def __enter__(self) -> "Logger":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _drop(self, name: str, error: Exception) -> None:
        message = f"logging to {name} stopped ({type(error).__name__}: {error}); training goes on without it"
        self._warn(message)
        self.log("warning", self._step, message=message)


def open_logger(settings: TrainSettings, folder: RunFolder, resumed_step: int, warn: Callable[[str], None]) -> Logger:
    """Logger with the settings' sinks writing into the run's folder. Raises ConfigError for one that does not exist."""
    names = settings.loggers
    openers: dict[str, Callable[[], Sink]] = {
        "jsonl": lambda: JsonlSink(folder.events),
        "tensorboard": lambda: TensorBoardSink(folder.tensorboard, resumed_step),
        "wandb": lambda: WandbSink(folder.path, settings.wandb),
    }
    unknown = [name for name in names if name not in openers]
    if unknown:
        raise ConfigError(f"expected loggers among {', '.join(openers)}, got {', '.join(unknown)}")
    return Logger([(name, openers[name]) for name in names], warn)
