"""Copies of what lies at an address, below the cache: one folder a version, whole or unseen, shared by processes.

    <cache>/remote/<name>-<digest of the address>/
        lock                    held by the one process that downloads
        <fingerprint>.partial/  being downloaded; a file in it is whole, and is found again after a kill
        <fingerprint>/          finished: files/ and listing.json, what the storage said of them

A file that the next version has as well is linked, not downloaded again. A version that is no longer there is deleted
when no process uses it: whoever opens one holds a lock on its folder until the process ends.
"""

import fcntl
import hashlib
import json
import os
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import TextIO

from atft_gat_fan.config.remote_section import file_name
from atft_gat_fan.data.durable_files import fsync_folder, sealed, write_durably
from atft_gat_fan.data.remote_listing import Listing, RemoteFile
from atft_gat_fan.errors import StorageError
from atft_gat_fan.untrusted import parse_json, read_plain

REMOTE = "remote"
"""Folder in the cache."""
LOCK, FILES, LISTING, PARTIAL = "lock", "files", "listing.json", ".partial"
MOST_BYTES = 1 << 28
"""Of a listing: that of a million files."""
POLL_SECONDS = 0.2

_held: dict[Path, int] = {}
"""Descriptors whose locks keep the versions that this process uses from being deleted."""


class Copies:
    """The copies of one address. Raises StorageError where the cache cannot be written."""

    def __init__(self, cache: Path, address: str) -> None:
        name = file_name(address).split(".")[0] or "data"
        digest = hashlib.sha256(address.rstrip("/").encode()).hexdigest()[:16]
        self.folder = cache / REMOTE / f"{name}-{digest}"
        self._address = address

    def finished(self, listing: Listing) -> Path | None:
        """The copy of just these files, from now on kept for this process; None where there is none that is whole."""
        version = self._version(listing)
        if not _hold(version):
            return None
        if _listing_of(version) != listing or any(_size(version, file) != file.nbytes for file in listing.files):
            return None
        return _opened(version, listing)

    @contextmanager
    def downloading(self, watch: Callable[[str], None]) -> Iterator[None]:
        """Hold the address against others that download it; `watch` is told who does, a few times a second."""
        with self._writing():
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = (self.folder / LOCK).open("a+")
        with lock:
            while not _locked(lock):
                lock.seek(0)
                watch(lock.read().strip() or "another process")
                time.sleep(POLL_SECONDS)
            lock.truncate(0)
            lock.write(f"process {os.getpid()} on {socket.gethostname()}")
            lock.flush()
            with self._writing():
                yield

    def begin(self, listing: Listing, origin: tuple[Path, Listing] | None = None) -> tuple[Path, list[RemoteFile]]:
        """A folder to put the files in, and those that are still missing there; within `downloading`.

        Files that an earlier version has, or the folder of `origin`, are linked.
        """
        version = self._version(listing)
        partial = _partial(version)
        if version.exists():  # damaged
            shutil.rmtree(partial, ignore_errors=True)
            version.rename(partial)
        (partial / FILES).mkdir(parents=True, exist_ok=True)
        if _listing_of(partial) != listing:
            write_durably(partial / LISTING, json.dumps(sealed(asdict(listing))).encode())
        others = [
            (other / FILES, found) for other in self._others(version) if (found := _listing_of(other)) is not None
        ]
        missing = []
        for file in listing.files:
            if _size(partial, file) != file.nbytes:
                (partial / FILES / file.name).unlink(missing_ok=True)
                if not any(_linked(file, partial, *other) for other in [*others, *([origin] if origin else [])]):
                    missing.append(file)
        return partial / FILES, missing

    def finish(self, listing: Listing) -> Path:
        """Make the files of `begin` a finished copy, kept for this process, and delete versions that nobody uses."""
        version = self._version(listing)
        partial = _partial(version)
        fsync_folder(partial / FILES)
        partial.rename(version)
        fsync_folder(self.folder)
        if not _hold(version):
            raise StorageError(f"{version}: expected the copy that was just made, found it deleted; start again")
        for other in self._others(version):
            _delete(other)
        return _opened(version, listing)

    def drop(self, listing: Listing, names: set[str]) -> None:
        """Delete files of a copy that turned out damaged: it is finished no longer."""
        version = self._version(listing)
        folder = version if version.exists() else _partial(version)
        for name in names:
            (folder / FILES / name).unlink(missing_ok=True)

    def _version(self, listing: Listing) -> Path:
        return self.folder / listing.fingerprint[:32]

    def _others(self, version: Path) -> list[Path]:
        own = {version.name, _partial(version).name}
        return [
            folder for folder in sorted(self.folder.iterdir()) if folder.name not in own and (folder / FILES).is_dir()
        ]

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StorageError(
                f"{error.filename or self.folder}: cannot keep a copy of {self._address} there: "
                f"{error.strerror or error}; free space or set data.cache"
            ) from error


def copies_in(cache: Path) -> list[Path]:
    """All finished copies below a cache, as they are opened."""
    versions = sorted((cache / REMOTE).glob(f"*/*/{FILES}"))
    return [files for files in versions if not files.parent.name.endswith(PARTIAL)]


def _opened(version: Path, listing: Listing) -> Path:
    return version / FILES / listing.files[0].name if listing.is_file else version / FILES


def _partial(version: Path) -> Path:
    return version.with_name(version.name + PARTIAL)


def _size(folder: Path, file: RemoteFile) -> int | None:
    try:
        return (folder / FILES / file.name).stat().st_size
    except OSError:
        return None


def _listing_of(folder: Path) -> Listing | None:
    """What the copy was made of; None where it does not say, or not what it was written to say."""
    try:
        body = parse_json(read_plain(folder / LISTING, MOST_BYTES))
        if body != sealed(body):
            return None
        return Listing(tuple(RemoteFile(**file) for file in body["files"]), body["is_file"])
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def _linked(file: RemoteFile, partial: Path, folder: Path, listing: Listing) -> bool:
    """Whether another folder has the very same file, which then is in this one as well."""
    same = any(
        (other.name, other.nbytes, other.stamp) == (file.name, file.nbytes, file.stamp) for other in listing.files
    )
    if not same:
        return False
    target = partial / FILES / file.name
    with suppress(OSError):  # absent, or the file system has no links: it is downloaded
        if (folder / file.name).stat().st_size == file.nbytes:
            target.parent.mkdir(parents=True, exist_ok=True)
            os.link(folder / file.name, target, follow_symlinks=False)
            return True
    return False


def _locked(lock: TextIO) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _hold(version: Path) -> bool:
    """Keep a version from being deleted as long as this process lives; False where it is not there."""
    if version in _held and _is_at(_held[version], version):
        return True
    try:
        descriptor = os.open(version, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return False
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    if not _is_at(descriptor, version):  # deleted before the lock was had
        os.close(descriptor)
        return False
    if version in _held:
        os.close(_held[version])
    _held[version] = descriptor
    return True


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except OSError:
        return False


def _delete(folder: Path) -> None:
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return  # in use: the next one to come deletes it
    else:
        shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(descriptor)
