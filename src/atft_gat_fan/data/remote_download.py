"""Bringing files of an address over: in pieces, several at a time, each file checked and then seen, or not at all."""

import os
import shutil
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from atft_gat_fan.data.remote_files import CHUNK_BYTES, RemoteFiles
from atft_gat_fan.data.remote_listing import RemoteFile
from atft_gat_fan.errors import StorageError

Progress = Callable[[str, float], None]
TRIES = 2
"""Of a file that came over with another checksum than the storage tells."""


def download(remote: RemoteFiles, files: Sequence[RemoteFile], folder: Path, progress: Progress) -> None:
    """Put `files` below `folder`, each at its name when all of it is there and has the checksum that is known.

    Raises StorageError: no room, the network gives up, or bytes that are not those of the storage; OSError where the
    disk refuses.
    """
    total = sum(file.nbytes for file in files)
    free = shutil.disk_usage(folder).free
    if free < total:
        raise StorageError(
            f"{folder}: expected room for {size_text(total)} of {remote.address}, found {size_text(free)} free; free "
            "space or set data.cache"
        )
    tell = partial(progress, f"downloading {size_text(total)} of {remote.address}")
    wanted = list(files)
    for _ in range(TRIES):
        wanted = _received(remote, wanted, folder, tell)
        if not wanted:
            return
    raise StorageError(
        f"{remote.address}: expected the bytes that the storage has the checksum of, found others {TRIES} times in "
        f"{', '.join(file.name for file in wanted[:3])}; look at the network and the storage, and where the bucket "
        "encrypts with keys of its own (SSE-KMS, SSE-C), so that an ETag is no checksum, set "
        "data.remote.check_etag=false"
    )


def size_text(nbytes: float) -> str:
    """`12.3 MB`."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if nbytes < 999.5:  # more is 1,000 in three digits
            return f"{nbytes:.3g} {unit}"
        nbytes /= 1000
    return f"{nbytes:,.3g} TB"


class _Receiving:
    """A file that comes over, beside its name until it is whole."""

    def __init__(self, file: RemoteFile, folder: Path) -> None:
        self.file, self.target, self.missing = file, folder / file.name, file.nbytes
        self.target.parent.mkdir(parents=True, exist_ok=True)
        self.part = self.target.with_name(f".{self.target.name}.part")
        self._descriptor = os.open(self.part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o644)

    def put(self, content: bytes, start: int) -> None:
        view = memoryview(content)
        while view:
            count = os.pwrite(self._descriptor, view, start)
            view, start = view[count:], start + count
        self.missing -= len(content)

    def close(self) -> None:
        os.fsync(self._descriptor)
        os.close(self._descriptor)


def _received(
    remote: RemoteFiles,
    files: Sequence[RemoteFile],
    folder: Path,
    tell: Callable[[float], None],
) -> list[RemoteFile]:
    """Those of the files that came over with another checksum than they have, and were thrown away."""
    pieces = [
        (file, start, min(start + CHUNK_BYTES, file.nbytes))
        for file in files
        for start in range(0, max(file.nbytes, 1), CHUNK_BYTES)
    ]
    total, done = max(1, sum(file.nbytes for file in files)), 0
    receiving: dict[str, _Receiving] = {}
    wrong: list[RemoteFile] = []
    try:
        answers = remote.attended([partial(remote.read, *piece) for piece in pieces], lambda: tell(done / total))
        for position, content in answers:
            file, start, _ = pieces[position]
            if file.name not in receiving:
                receiving[file.name] = _Receiving(file, folder)
            into = receiving[file.name]
            into.put(content, start)
            done += len(content)
            tell(done / total)
            if into.missing:
                continue
            receiving.pop(file.name).close()
            if file.matches(into.part, check_etag=remote.check_etag) is False:
                into.part.unlink()
                wrong.append(file)
            else:
                into.part.rename(into.target)
    finally:
        for unfinished in receiving.values():
            unfinished.close()
            unfinished.part.unlink(missing_ok=True)
    return wrong
