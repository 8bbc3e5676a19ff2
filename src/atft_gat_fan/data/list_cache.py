"""Neighbour lists that are there already, by a digest of all that they depend on: in files, or else in memory."""

import hashlib
import json
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from threading import Lock

import numpy as np
from jaxtyping import Float32, Int64

from atft_gat_fan.config.schema import GraphConfig
from atft_gat_fan.data import correlation, neighbour_lists
from atft_gat_fan.data.durable_files import replace_durably
from atft_gat_fan.data.neighbour_lists import NeighbourLists
from atft_gat_fan.untrusted import read_plain

DIGEST_BYTES = hashlib.sha256().digest_size


class ListCache:
    """One file a refresh in `folder`; in memory without a folder, or (with a warning) where it cannot be written.

    A file is read whole, and verified, each time: private memory does not grow with the number of refreshes, and one
    that is damaged, cut short or gone, even under an open graph, is as if it had never been there. Processes may
    share the folder: each file appears whole, and two that write the same write the same bytes.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._kept: dict[str, NeighbourLists] = {}
        self._making = Lock()

    def find(self, key: str, num_stocks: int, num_slots: int, make: Callable[[], NeighbourLists]) -> NeighbourLists:
        """The lists of `key`, made and kept if they are not there. Of several threads that ask, one makes them."""
        lists = self._find(key, num_stocks, num_slots)
        if lists is not None:
            return lists
        with self._making:
            lists = self._find(key, num_stocks, num_slots)
            if lists is None:
                lists = make()
                self._keep(key, lists)
        return lists

    def _find(self, key: str, num_stocks: int, num_slots: int) -> NeighbourLists | None:
        return self._kept.get(key) or self._read(key, num_stocks, num_slots)

    def _read(self, key: str, num_stocks: int, num_slots: int) -> NeighbourLists | None:
        if self._folder is None:
            return None
        try:
            content = read_plain(self._folder / key, DIGEST_BYTES + 8 * num_stocks * num_slots)
        except OSError:
            return None
        digest, body = content[:DIGEST_BYTES], memoryview(content)[DIGEST_BYTES:]
        if len(body) != 8 * num_stocks * num_slots or hashlib.sha256(body).digest() != digest:
            return None
        index, correlation = np.frombuffer(body, np.int32).reshape(2, num_stocks, num_slots)
        return NeighbourLists(index, correlation.view(np.float32))

    def _keep(self, key: str, lists: NeighbourLists) -> None:
        if self._folder is not None:
            body = lists.index.tobytes() + lists.correlation.tobytes()
            try:
                self._folder.mkdir(parents=True, exist_ok=True)
                replace_durably(self._folder / key, hashlib.sha256(body).digest() + body)
                return
            except OSError as error:
                warnings.warn(
                    f"cannot keep neighbour lists in {self._folder} ({error}): they stay in memory", stacklevel=2
                )
                self._folder = None
        self._kept[key] = lists


def lists_key(
    lookback: Float32[np.ndarray, "days stocks"], static: Int64[np.ndarray, " stocks"], config: GraphConfig
) -> str:
    """What the lists of these arguments depend on, as one SHA-256: the values, the settings and the code."""
    digest = hashlib.sha256(_code())
    # Which days are refreshed is not what their lists are.
    settings = config.model_dump(mode="json", exclude={"refresh_days"})
    digest.update(json.dumps([settings, lookback.shape], sort_keys=True).encode())
    digest.update(lookback.tobytes())
    if config.same_sector:
        # Their numbers shift when the panel gains a category; only which stocks share one matters.
        digest.update(np.unique(np.append(0, static), return_inverse=True)[1].tobytes())
    return digest.hexdigest()


@cache
def _code() -> bytes:
    modules = (correlation, neighbour_lists)
    return b"".join(Path(str(module.__file__)).read_bytes() for module in modules)
