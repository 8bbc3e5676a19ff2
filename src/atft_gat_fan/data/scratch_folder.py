"""A folder for the files of one piece of work, gone when it ends, and swept up where its process was killed."""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp

from atft_gat_fan.errors import StorageError


@contextmanager
def scratch_folder(root: Path) -> Iterator[Path]:
    """A new folder below `root`, which only such folders share; others may be held there at the same time.

    A lock says that its process lives. What killed processes have left in `root` is deleted first. Raises StorageError
    where the folder cannot be made.
    """
    try:
        folder, lock = _held(root)
    except OSError as error:
        raise StorageError(
            f"{error.filename or root}: cannot make a folder to work in: {error.strerror}; free space or choose "
            "another folder"
        ) from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def _held(root: Path) -> tuple[Path, int]:
    root.mkdir(parents=True, exist_ok=True)
    door = os.open(root, os.O_RDONLY)
    try:
        # Between its making and its locking, a folder looks like one that a killed process has left.
        fcntl.flock(door, fcntl.LOCK_EX)
        for left in root.iterdir():
            if (lock := _lock(left)) is not None:
                shutil.rmtree(left, ignore_errors=True)
                os.close(lock)
        folder = Path(mkdtemp(dir=root))
        lock = _lock(folder)
        assert lock is not None, f"{folder} is held by somebody else"
        return folder, lock
    finally:
        os.close(door)


def _lock(folder: Path) -> int | None:
    """A descriptor that holds the folder as long as it is open; None where another process does, or has deleted it."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor
