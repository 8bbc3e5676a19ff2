"""Where a store is built: a hidden folder beside it, held by one process, whose finished shards outlive a kill."""

import fcntl
import hashlib
import json
import os
import shutil
import socket
from pathlib import Path
from typing import TextIO

from pydantic import ValidationError

from atft_gat_fan.data.durable_files import fsync_folder, replace_durably
from atft_gat_fan.data.store_manifest import Shard
from atft_gat_fan.errors import StorageError

LOCK = "lock"


class WorkFolder:
    """The work of building `target` under `key`, held until `close`; what a killed process left is found again.

    `<parent>/.<name>.building/` has the lock and one folder a key: `shards/`, and `journal/` with an entry for each
    shard that is whole. One process at a time builds a target, so that the folders of other keys are nobody's and
    are deleted. Raises StorageError where another process holds it, OSError where the disk refuses.
    """

    def __init__(self, target: Path, key: str) -> None:
        self._root = target.parent / f".{target.name}.building"
        self.path = self._root / hashlib.sha256(key.encode()).hexdigest()[:16]
        self.shards, self._journal = self.path / "shards", self.path / "journal"
        self._lock = self._hold(target)
        try:
            self._prepare()
        except BaseException:
            self._lock.close()
            raise

    def record(self, shard: Shard, codes: tuple[str, ...]) -> None:
        """A shard's file is in `shards`, whole and on the disk; `shard.stocks` are positions in `codes`."""
        fsync_folder(self.shards)
        entry = json.dumps({"shard": shard.model_dump(mode="json"), "codes": codes})
        replace_durably(self._journal / f"{shard.made_from}.json", entry.encode())

    def recorded(self, made_from: str) -> tuple[Shard, tuple[str, ...]] | None:
        """The shard that was made from just that, and its codes; None where there is none."""
        try:
            entry = json.loads((self._journal / f"{made_from}.json").read_bytes())
            return Shard.model_validate(entry["shard"]), tuple(entry["codes"])
        except (OSError, ValueError, KeyError, ValidationError):
            return None  # absent or damaged, which both mean: to be made

    def close(self, *, keep: bool) -> None:
        """Lets go of the folder; deletes it unless the shards are worth finding again."""
        if not keep:
            shutil.rmtree(self._root, ignore_errors=True)
        self._lock.close()

    def _hold(self, target: Path) -> TextIO:
        while True:
            self._root.mkdir(parents=True, exist_ok=True)
            try:
                lock = (self._root / LOCK).open("a+")
            except FileNotFoundError:  # its last holder has just deleted the folder
                continue
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                lock.seek(0)
                holder = lock.read().strip() or "another process"
                lock.close()
                raise StorageError(
                    f"{target}: expected a store that nobody builds, found {holder} building it; wait for it or stop it"
                ) from error
            try:
                current = os.path.samestat(os.fstat(lock.fileno()), (self._root / LOCK).stat())
            except FileNotFoundError:
                current = False
            if current:
                lock.truncate(0)
                lock.write(f"process {os.getpid()} on {socket.gethostname()}")
                lock.flush()
                return lock
            lock.close()

    def _prepare(self) -> None:
        for other in self._root.iterdir():
            if other.is_dir() and other != self.path:
                shutil.rmtree(other)
        for folder in (self.shards, self._journal):
            folder.mkdir(parents=True, exist_ok=True)
        whole = set()
        for entry in self._journal.iterdir():
            found = self.recorded(entry.stem)
            if found is not None:
                whole.add(found[0].file)
        for file in self.shards.iterdir():
            if file.name not in whole:
                file.unlink()
