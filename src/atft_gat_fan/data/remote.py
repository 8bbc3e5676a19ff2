"""Data at an address as files of this machine: copied below the cache, verified, mapped from there."""

import tempfile
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

import numpy as np

from atft_gat_fan.config.remote_section import file_name, is_remote
from atft_gat_fan.config.schema import DataConfig
from atft_gat_fan.data.remote_copies import Copies
from atft_gat_fan.data.remote_download import download
from atft_gat_fan.data.remote_errors import MissingRemoteError
from atft_gat_fan.data.remote_files import RemoteFiles
from atft_gat_fan.data.remote_listing import Listing, RemoteFile
from atft_gat_fan.data.sources.csv_text import SUFFIXES as CSV_SUFFIXES
from atft_gat_fan.data.store_checks import find_damage
from atft_gat_fan.data.store_manifest import MANIFEST, MOST_BYTES, REBUILD, Manifest, read_manifest
from atft_gat_fan.data.store_shard import Layout
from atft_gat_fan.errors import DataError, Problem, StorageError

Progress = Callable[[str, float], None]
FILE_SUFFIXES = (".parquet", *CSV_SUFFIXES)
TRIES = 3
"""Of a download whose files changed, or turned out damaged, while it went on."""


def is_remote_store(config: DataConfig, progress: Progress) -> bool:
    """Whether a store is at the address. Raises StorageError where the storage does not answer or refuses."""
    if file_name(config.source).lower().endswith(FILE_SUFFIXES):
        return False  # no request, which a storage may refuse that lets the file be read
    remote = RemoteFiles(config.source, config.remote)
    return (
        remote.watched(partial(remote.file, MANIFEST), partial(progress, f"asking {remote.address}", 0.0)) is not None
    )


def local_copy(config: DataConfig, progress: Progress, *, verify: bool = False) -> Path:
    """The file or folder of this machine that holds what is at the address `config.source` now.

    Of a folder the store in it, else its Parquet files. The storage is asked each time for names, sizes and checksums;
    what is in the cache already is not downloaded again, and what an interrupted download has finished is kept. Of a
    store, every byte is verified against its manifest before the copy is seen; `verify`: of an older copy too.
    `progress` is called while something is downloaded.

    Raises DataError: nothing there, or what is there is damaged; StorageError: the network, the storage or the disk
    gives up; ConfigError for an address or `data.remote` that cannot be.
    """
    assert is_remote(config.source), f"expected an address, got {config.source}"
    remote = RemoteFiles(config.source, config.remote)
    copies = Copies(Path(config.cache), config.source)
    problems: list[Problem] = []
    for _ in range(TRIES):
        listing = wanted(remote, progress)
        copy = copies.finished(listing)
        if copy is not None and not (verify and (problems := _damage(copy, listing, remote, progress))):
            return copy
        with copies.downloading(lambda who: progress(f"waiting for {who}, which downloads {remote.address}", 0.0)):
            if problems:
                copies.drop(listing, _damaged(problems, listing))
            elif (copy := copies.finished(listing)) is not None:
                return copy
            folder, missing = copies.begin(listing)
            fetched = {file.name for file in missing}  # where data change, of the right size and of two versions
            try:
                download(remote, missing, folder, progress)
            except StorageError:
                if wanted(remote, progress).fingerprint == listing.fingerprint:
                    raise
                copies.drop(listing, fetched)
                continue
            except MissingRemoteError:
                copies.drop(listing, fetched)
                continue  # deleted since it was listed; a listing that finds nothing says so
            if wanted(remote, progress).fingerprint != listing.fingerprint:
                copies.drop(listing, fetched)
                continue
            problems = _damage(folder, listing, remote, progress)
            if not problems:
                return copies.finish(listing)
            copies.drop(listing, _damaged(problems, listing))
    if problems:
        raise DataError(problems, source=remote.address)
    raise StorageError(
        f"{remote.address}: expected data that stay as they are while they are downloaded, found them changed "
        f"{TRIES} times; wait until they are written"
    )


def wanted(remote: RemoteFiles, progress: Progress) -> Listing:
    """What of an address is read: the file; the manifest and the files of a store; else all Parquet files.

    Raises DataError where there is none, or a store lacks one of its files.
    """
    listing = remote.watched(remote.listing, partial(progress, f"asking {remote.address}", 0.0))
    if listing.is_file:
        return listing
    manifest = next((file for file in listing.files if file.name == MANIFEST), None)
    if manifest is not None:
        return _of_store(remote, listing, manifest, progress)
    names = [file.name for file in listing.files if _is_panel(file.name)]
    if not names:
        raise DataError(
            Problem(
                "expected *.parquet files below the address, or a store, found none",
                where=remote.address,
                mend="point data.source at the folder that holds them",
            )
        )
    return listing.only(names)


def _damaged(problems: list[Problem], listing: Listing) -> set[str]:
    """The files that the problems are of."""
    return {file.name for file in listing.files if any(file.name in problem.where for problem in problems)}


def _is_panel(name: str) -> bool:
    """As of a folder of this machine: hidden files and folders are somebody's work in progress."""
    return name.endswith(".parquet") and not any(part.startswith((".", "_")) for part in name.split("/"))


def _of_store(remote: RemoteFiles, listing: Listing, manifest: RemoteFile, progress: Progress) -> Listing:
    if manifest.nbytes > MOST_BYTES:
        raise DataError(
            Problem(f"the manifest is damaged: {manifest.nbytes} bytes", where=remote.address, mend=REBUILD)
        )
    shards = remote_manifest(remote, manifest, progress).shards
    found = {file.name: file.nbytes for file in listing.files}
    problems = [
        Problem(
            f"expected {shard.nbytes} bytes, found {found.get(shard.file, 'none')}",
            where=f"{remote.address}/{shard.file}",
            mend=REBUILD,
        )
        for shard in shards
        if found.get(shard.file) != shard.nbytes
    ]
    if problems:
        raise DataError(problems, source=remote.address)
    return listing.only([MANIFEST, *(shard.file for shard in shards)])


def remote_manifest(remote: RemoteFiles, manifest: RemoteFile, progress: Progress) -> Manifest:
    """The table of contents of a store at an address. Raises DataError where it is damaged."""
    read = partial(remote.read, manifest, 0, manifest.nbytes)
    content = remote.watched(read, partial(progress, f"asking {remote.address}", 0.0))
    with tempfile.TemporaryDirectory(prefix="atft-manifest-") as folder:
        (Path(folder) / MANIFEST).write_bytes(content)
        try:
            return read_manifest(Path(folder))
        except DataError as error:
            raise relocated(error, Path(folder), remote.address) from error


def relocated(error: DataError, local: Path, address: str) -> DataError:
    """The same problems, of the address instead of the copy that they were found in."""
    return DataError(_relocated(error.problems, local, address), source=error.source.replace(str(local), address))


def _relocated(problems: Iterable[Problem], local: Path, address: str) -> list[Problem]:
    return [Problem(problem.what, problem.where.replace(str(local), address), problem.mend) for problem in problems]


def _damage(copy: Path, listing: Listing, remote: RemoteFiles, progress: Progress) -> list[Problem]:
    """What is wrong with the bytes of a store; of a panel, that says itself no more than the storage does, nothing."""
    if listing.is_file or all(file.name != MANIFEST for file in listing.files):
        return []
    manifest = read_manifest(copy)
    layout, days = Layout(manifest.feature_names, manifest.horizons), np.array(manifest.days, dtype="datetime64[D]")
    found = find_damage(copy, manifest.shards, layout, days, lambda share: progress("verifying the copy", share))
    return _relocated(found, copy, remote.address)
