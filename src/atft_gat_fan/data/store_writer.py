"""Writing a store shard by shard: arrays filled in place in the files' maps, so that memory holds no shard."""

import hashlib
import mmap
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from jaxtyping import Shaped

from atft_gat_fan.data.durable_files import fsync_folder
from atft_gat_fan.data.store_checks import find_damage
from atft_gat_fan.data.store_framing import write_framing
from atft_gat_fan.data.store_manifest import MANIFEST, VERSION, Manifest, Shard, read_manifest, write_manifest
from atft_gat_fan.data.store_reader import Store
from atft_gat_fan.data.store_shard import PER_DAY, Block, Layout, ShardFormat, ShardSpan, digest
from atft_gat_fan.data.store_work import WorkFolder
from atft_gat_fan.errors import DataError, InterruptedRunError, StorageError

SHARD_DAYS = 256
"""Own days of a shard, about a year of trading. Fewer repeat more days, more hold more of stocks that are not there.

Stock-days read in an epoch and stored, as multiples of the rows there are: 25 years of 7,200 stocks that are listed for
nine years on average, 64, 256, 1,024 and all days a shard: 1.06 and 2.1, 1.15 and 1.4, 1.5 and 1.6, 3.9 and 3.9. On
15 years of today's NASDAQ stocks: 1.01 and 2.0, 1.02 and 1.3, 1.07 and 1.1, 1.2 and 1.2.
"""


class StoreWriter:
    """Builds the store of `days` at `path`, replacing one that is there: `with StoreWriter(…) as writer`.

    For each of `spans`, unless the writer can `have` it, the caller fills a `shard`; `finish` makes the store appear.
    Until then the work is in a hidden folder beside `path`. A process that is killed or interrupted leaves its
    finished shards there, and a writer with the same `key` goes on from them; an error leaves nothing, because the
    same build would fail again.

    A store is replaced by renaming its manifest, not its folder. Shards are named by their content, so those that
    stay need not move, the new stand beside the old until the manifest names them, and there is no moment at which
    `path` holds neither store. Readers of the old one keep its files open. (A folder cannot be renamed over another,
    and exchanging two needs a system call that not every file system has.)

    Raises StorageError where the disk refuses, `path` is something else than a store, or another process builds it.
    """

    def __init__(
        self,
        path: Path,
        *,
        key: str,
        days: Shaped[np.ndarray, " days"],
        layout: Layout,
        max_window: int = 64,
        shard_days: int = SHARD_DAYS,
    ) -> None:
        assert len(days), "expected days"
        assert (np.diff(days) > np.timedelta64(0)).all(), "expected increasing days"
        self.path = path
        self.days = days.astype("datetime64[D]")
        self.layout = layout
        self.max_window = max_window
        self.spans = tuple(
            ShardSpan(position, max(0, first - max_window + 1), first, min(first + shard_days, len(days)))
            for position, first in enumerate(range(0, len(days), shard_days))
        )
        self._key = key
        # A link to a store on another disk: the work belongs beside the store, where renaming is possible.
        self._target = path.resolve()
        self._made: dict[int, tuple[Shard, tuple[str, ...]]] = {}
        self._moved: list[Path] = []

    def __enter__(self) -> "StoreWriter":
        if self._target.exists() and not (self._target / MANIFEST).is_file():
            raise StorageError(
                f"expected no folder or a store to replace, found something else at {self.path}; move it away"
            )
        with self._writing():
            self._work = WorkFolder(self._target, self._key)
            self._older = _shards_of(self._target)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        interrupted = error is not None and (not isinstance(error, Exception) or isinstance(error, InterruptedRunError))
        if not interrupted:
            in_use = {shard.file for shard, _ in _shards_of(self._target).values()}
            for file in self._moved:
                if file.name not in in_use:
                    file.unlink(missing_ok=True)
        self._work.close(keep=interrupted)

    @property
    def folder(self) -> Path:
        """A folder for whatever else the build must find again after a kill; kept and deleted with the shards."""
        return self._work.path

    def have(self, span: ShardSpan, inputs: str) -> bool:
        """Whether the shard is there: left by a killed writer, or in the store at `path`, and every byte of it whole.

        It is the same shard if it has the same days and columns and was made from the same `inputs`, a digest of all
        that its values depend on.
        """
        assert inputs, "expected a digest of the inputs"
        made_from = self._made_from(span, inputs)
        recorded = self._work.recorded(made_from)
        for folder, found in (
            (self._work.shards, recorded),
            (self._target, recorded),  # the kill came while shards were moved there
            (self._target, self._older.get(made_from)),
        ):
            if found is None:
                continue
            shard, codes = found
            shard = shard.model_copy(update={"first_held": span.first_held, "first": span.first, "stop": span.stop})
            if not find_damage(folder, [shard], self.layout, self.days):
                self._made[span.position] = shard, codes
                return True
        return False

    @contextmanager
    def shard(self, span: ShardSpan, codes: Sequence[str], inputs: str) -> Iterator[Block]:
        """Arrays to fill: the days that `span` holds x `codes`, all missing at first, `stocks` 0..len(codes)-1.

        `codes`, sorted, are the stocks present on one of those days. The arrays are the file: they must not be kept.
        They are sealed when the block ends well, and gone when it does not. `inputs` is as for `have`, or empty for a
        shard that no later build may take over.
        """
        assert span.position not in self._made, f"there is {span} already"
        assert codes, "expected stocks"
        assert all(one < other for one, other in pairwise(codes)), "expected sorted codes"
        partial = self._work.shards / f"{span.position}.partial"
        try:
            with self._writing():
                form = write_framing(partial, self.layout, span.stop - span.first_held, len(codes))
                with partial.open("r+b") as file:
                    mapped = mmap.mmap(file.fileno(), 0)
            block = form.view(mapped, np.arange(len(codes)))
            for name in PER_DAY:
                if name != "present":
                    getattr(block, name).fill(np.nan)
            yield block
            with self._writing():
                self._seal(partial, mapped, form, span, tuple(codes), inputs)
        finally:
            partial.unlink(missing_ok=True)

    def finish(self, *, static: Mapping[str, str] | None, metadata: Mapping[str, Any], fingerprint: str) -> Store:
        """Makes the store appear at `path` and opens it; all of `spans` must be there.

        `static` gives codes their category; `metadata` is kept as it is (JSON).
        """
        made = [self._made[span.position] for span in self.spans]
        codes = sorted(set().union(*(of_shard for _, of_shard in made)))
        position = {code: number for number, code in enumerate(codes)}
        category_of = {code: static[code] for code in codes if code in static} if static else {}
        categories = sorted(set(category_of.values()))
        number = {category: at for at, category in enumerate(categories, 1)}
        manifest = Manifest(
            version=VERSION,
            fingerprint=fingerprint,
            days=tuple(self.days.tolist()),
            codes=tuple(codes),
            static=tuple(number[category_of[code]] if code in category_of else 0 for code in codes),
            static_categories=tuple(categories),
            feature_names=self.layout.features,
            horizons=self.layout.horizons,
            max_window=self.max_window,
            shards=tuple(
                shard.model_copy(update={"stocks": tuple(position[code] for code in of_shard)})
                for shard, of_shard in made
            ),
            metadata=dict(metadata),
        )
        with self._writing():
            self._publish(manifest)
        return Store.open(self.path)

    def _made_from(self, span: ShardSpan, inputs: str) -> str:
        held = self.days[span.first_held : span.stop].astype(np.int64)
        parts = (inputs, self.layout.features, self.layout.horizons, span.first - span.first_held, held.tolist())
        return hashlib.sha256(repr(parts).encode()).hexdigest()

    def _seal(
        self, partial: Path, mapped: mmap.mmap, form: ShardFormat, span: ShardSpan, codes: tuple[str, ...], inputs: str
    ) -> None:
        blocks = [(name, block) for name in PER_DAY for block in range(form.num_blocks)]
        with ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="seal") as executor:
            digests = list(executor.map(lambda which: digest(mapped, [form.block_range(*which)]), blocks))
        framing = digest(mapped, form.framing(len(mapped)))
        mapped.flush()
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        content = hashlib.sha256("".join([framing, *digests]).encode()).hexdigest()
        shard = Shard(
            file=f"days-{self.days[span.first]}-{content[:12]}.arrow",
            first_held=span.first_held,
            first=span.first,
            stop=span.stop,
            stocks=tuple(range(len(codes))),
            made_from=self._made_from(span, inputs),
            nbytes=len(mapped),
            body=form.body,
            framing=framing,
            blocks={
                name: tuple(sha256 for (of, _), sha256 in zip(blocks, digests, strict=True) if of == name)
                for name in PER_DAY
            },
        )
        partial.rename(self._work.shards / shard.file)
        self._work.record(shard, codes)
        self._made[span.position] = shard, codes

    def _publish(self, manifest: Manifest) -> None:
        named = {shard.file for shard in manifest.shards}
        made = {file.name for file in self._work.shards.iterdir()}
        gone = [name for name in named - made if not (self._target / name).is_file()]
        if gone:
            raise StorageError(f"{self.path}: expected the files {gone}, found them deleted meanwhile; build again")
        if not self._target.exists():
            for name in made - named:
                (self._work.shards / name).unlink()
            write_manifest(self._work.shards, manifest)
            self._work.shards.rename(self._target)
            fsync_folder(self._target.parent)
            return
        for name in made & named:
            self._moved.append((self._work.shards / name).rename(self._target / name))
        fsync_folder(self._target)
        write_manifest(self._target, manifest)
        for file in self._target.glob("days-*.arrow"):
            if file.name not in named:
                file.unlink()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StorageError(
                f"cannot write the store {self.path}: {error}; free the disk or choose another folder"
            ) from error


def _shards_of(folder: Path) -> dict[str, tuple[Shard, tuple[str, ...]]]:
    """The shards of the store in `folder` and their codes, by what they were made from; none without a store."""
    try:
        manifest = read_manifest(folder)
    except DataError:
        return {}  # absent, damaged or of another version: it is replaced, and nothing of it is used
    return {
        shard.made_from: (shard, tuple(manifest.codes[stock] for stock in shard.stocks)) for shard in manifest.shards
    }
