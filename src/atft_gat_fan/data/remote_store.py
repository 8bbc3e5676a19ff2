"""Writing a store to an address: built on this machine, its files first, and last the manifest that makes it one."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from atft_gat_fan.config.schema import Config
from atft_gat_fan.data.conversion import convert
from atft_gat_fan.data.remote import remote_manifest, wanted
from atft_gat_fan.data.remote_copies import Copies
from atft_gat_fan.data.remote_download import download, size_text
from atft_gat_fan.data.remote_errors import MissingRemoteError
from atft_gat_fan.data.remote_files import UPLOADING, RemoteFiles
from atft_gat_fan.data.remote_listing import Listing, RemoteFile
from atft_gat_fan.data.store import Store
from atft_gat_fan.data.store_manifest import MANIFEST
from atft_gat_fan.errors import DataError, StorageError

Progress = Callable[[str, float], None]
BUILD = "build"
"""Where a store is built: in the folder of the copies of its address, and kept, so that the next one is quick."""


def convert_to_address(config: Config, out: str, progress: Progress) -> Store:
    """Build the store of `config.data`, upload it to the address `out`, and open the copy that is left in the cache.

    Nobody sees it before it is whole there: its files come first, the manifest that names them last, and the files of
    the store that it replaces are deleted after that. Files that are there already are not sent again, so a killed
    upload goes on, and a store that has gained days costs the new ones.

    Raises as `convert` and `local_copy` do, and StorageError where something else than a store is at the address.
    """
    remote = RemoteFiles(out, config.data.remote)
    copies = Copies(Path(config.data.cache), out)
    _require_store_or_nothing(remote, progress)
    with copies.downloading(lambda who: progress(f"waiting for {who}, which uses {out}", 0.0)):
        folder = copies.folder / BUILD
        convert(config, folder, progress)
        upload(remote, folder, progress)
        listing = wanted(remote, progress)
        copy = copies.finished(listing)
        if copy is None:
            files, missing = copies.begin(listing, origin=(folder, listing))
            download(remote, missing, files, progress)
            copy = copies.finish(listing)
        return Store.open(copy)


def upload(remote: RemoteFiles, folder: Path, progress: Progress) -> None:
    """Make the address hold the finished store in `folder`. Raises StorageError."""
    store = {file.name: file for file in folder.iterdir() if file.name == MANIFEST or file.suffix == ".arrow"}
    there = _there(remote, progress)
    old = _shards_there(remote, there, progress)
    shards = [name for name in sorted(store) if name != MANIFEST and not _same(remote, there.get(name), store[name])]
    manifest = there.get(MANIFEST)
    if not shards and manifest is not None and manifest.matches(store[MANIFEST], check_etag=remote.check_etag):
        return
    total = sum(store[name].stat().st_size for name in shards) or 1
    sent = dict.fromkeys(shards, 0)
    tell = partial(progress, f"uploading {size_text(total)} to {remote.address}")
    for name in shards:
        put = partial(_put, remote, name, store[name], partial(sent.__setitem__, name))
        remote.watched(put, lambda: tell(sum(sent.values()) / total))
    there = _there(remote, progress)
    if missing := [name for name in store if name != MANIFEST and name not in there]:
        raise StorageError(f"{remote.address}: expected {missing} there, found them deleted meanwhile; build again")
    remote.watched(partial(_put, remote, MANIFEST, store[MANIFEST], lambda nbytes: None), lambda: tell(1.0))
    begun = {name for name in there if name.endswith(UPLOADING)}
    for name in sorted((old - store.keys()) | begun):
        remote.watched(partial(remote.remove, name), lambda: tell(1.0))


def _put(remote: RemoteFiles, name: str, file: Path, sent: Callable[[int], None]) -> None:
    written = remote.write(name, file, sent)
    if not _same(remote, written, file):
        raise StorageError(
            f"{remote.address}/{name}: expected the {file.stat().st_size} bytes that were written, found "
            f"{written.nbytes} others; build again, and look at the network; where the bucket encrypts with keys of "
            "its own, set data.remote.check_etag=false"
        )


def _same(remote: RemoteFiles, there: RemoteFile | None, file: Path) -> bool:
    """Whether the storage has the bytes of a file, as far as it tells; names of shards tell their content."""
    if there is None or there.nbytes != file.stat().st_size:
        return False
    return there.matches(file, check_etag=remote.check_etag) is not False


def _require_store_or_nothing(remote: RemoteFiles, progress: Progress) -> None:
    others = [name for name in _there(remote, progress) if not _of_store(name)]
    if others:
        raise StorageError(
            f"{remote.address}: expected nothing or a store to replace, found something else there "
            f"({', '.join(others[:3])}); choose another address"
        )


def _of_store(name: str) -> bool:
    """Files of a store, and what an upload that was killed has left of them."""
    if name.startswith(".") and name.endswith(UPLOADING):
        return True
    return name == MANIFEST or (name.startswith("days-") and name.endswith(".arrow"))


def _there(remote: RemoteFiles, progress: Progress) -> dict[str, RemoteFile]:
    try:
        listing: Listing = remote.watched(remote.listing, partial(progress, f"asking {remote.address}", 0.0))
    except MissingRemoteError:
        return {}
    if listing.is_file:
        raise StorageError(f"{remote.address}: expected nothing or a store to replace, found a file; choose another")
    return {file.name: file for file in listing.files}


def _shards_there(remote: RemoteFiles, there: dict[str, RemoteFile], progress: Progress) -> set[str]:
    """The files that the store at the address names; none where there is no store, or a damaged one."""
    manifest = there.get(MANIFEST)
    if manifest is None:
        return set()
    try:
        return {shard.file for shard in remote_manifest(remote, manifest, progress).shards}
    except DataError:
        return set()
