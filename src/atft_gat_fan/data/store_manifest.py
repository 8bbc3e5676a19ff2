"""The table of contents of a store: which days and stocks each file holds, and the sums that prove it still does."""

import errno
import hashlib
import json
import os
import stat
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, field_validator, model_validator

from atft_gat_fan.config.section import Length
from atft_gat_fan.data.durable_files import replace_durably
from atft_gat_fan.errors import DataError, Problem, StorageError
from atft_gat_fan.untrusted import parse_json, read_plain

MANIFEST = "manifest.json"
VERSION = 2
REBUILD = "build the store again with `atft data build`"


MOST_BYTES = 1 << 28
"""Of a manifest: that of a century of ten thousand stocks has a tenth."""
MOST_PROBLEMS = 10


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Shard(_Entry):
    """One file. It holds days `first_held .. stop - 1` and owns `first .. stop - 1`: what lies before is repeated."""

    file: str
    first_held: int = Field(ge=0)
    first: int = Field(ge=0)
    stop: int = Field(ge=1)
    stocks: tuple[int, ...]
    """Positions in `codes` of the stocks it holds, increasing: those present on one of its days."""
    made_from: str
    """Digest of all that decided its bytes; the same in a later panel means that the file can stay as it is."""
    nbytes: int = Field(ge=1)
    body: int = Field(ge=0)
    """The byte where the first column begins."""
    framing: str
    """SHA-256 of what is not a column's: Arrow's schema, offsets and footer."""
    blocks: dict[str, tuple[str, ...]]
    """Per column, SHA-256 of each block of days."""

    @field_validator("file")
    @classmethod
    def _inside(cls, name: str) -> str:
        if name in ("", ".", "..") or Path(name).name != name or "\\" in name or "\0" in name:
            raise ValueError("expected the plain name of a file inside the store")
        return name

    @property
    def num_days(self) -> int:
        return self.stop - self.first_held


class Manifest(_Entry):
    version: int
    fingerprint: str
    """Of the source and of all that decided the columns."""
    days: tuple[date, ...]
    codes: tuple[str, ...]
    """Of all stocks, sorted; stocks are positions in it."""
    static: tuple[int, ...]
    """Per code: 0 where the category is unknown, else 1 + its position in `static_categories`."""
    static_categories: tuple[str, ...]
    feature_names: tuple[str, ...]
    horizons: tuple[Length, ...]
    max_window: int = Field(ge=1)
    shards: tuple[Shard, ...]
    metadata: dict[str, JsonValue]

    @model_validator(mode="after")
    def _complete(self) -> "Manifest":
        starts = [0, *(shard.stop for shard in self.shards)]
        if starts != [*(shard.first for shard in self.shards), len(self.days)]:
            raise ValueError("expected shards that own each day once")
        for shard in self.shards:
            if not shard.first_held <= shard.first < shard.stop:
                raise ValueError(f"{shard.file}: expected the days of its own and those before")
            if not shard.stocks or shard.stocks[0] < 0 or shard.stocks[-1] >= len(self.codes):
                raise ValueError(f"{shard.file}: expected positions in the {len(self.codes)} codes")
            if any(one >= other for one, other in pairwise(shard.stocks)):
                raise ValueError(f"{shard.file}: expected increasing positions of stocks")
        if len(self.static) != len(self.codes):
            raise ValueError(f"expected {len(self.codes)} static categories, got {len(self.static)}")
        if self.static and not 0 <= min(self.static) <= max(self.static) <= len(self.static_categories):
            raise ValueError(f"expected positions in the {len(self.static_categories)} static_categories in static")
        return self

    @field_validator("days", "codes", "horizons")
    @classmethod
    def _increasing(cls, values: tuple[Any, ...]) -> tuple[Any, ...]:
        if any(one >= other for one, other in pairwise(values)):
            raise ValueError("expected increasing values")
        return values

    @field_validator("feature_names")
    @classmethod
    def _distinct(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(names)) < len(names):
            raise ValueError("expected distinct names")
        return names


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Seals a store: a folder without a manifest is not one. Replaces an older one; durable when it returns."""
    body = manifest.model_dump(mode="json")
    replace_durably(folder / MANIFEST, _canonical({**body, "sha256": _digest(body)}))


def read_manifest(folder: Path) -> Manifest:
    """Reads and verifies the manifest of `folder`, not the files it names.

    Raises DataError, naming the file, when the manifest is missing, damaged or of another version, StorageError when
    it may not be read.
    """
    path = folder / MANIFEST
    body = _read_json(path)
    if body.get("version") != VERSION:
        raise DataError(
            Problem(
                f"expected store version {VERSION}, found {body.get('version')!r:.80}", where=str(path), mend=REBUILD
            )
        )
    sha256 = body.pop("sha256", None)
    try:
        manifest = Manifest.model_validate(body)
    except ValidationError as error:
        raise DataError(
            [
                Problem(
                    f"{problem['msg']}, found {problem['input']!r:.80}",
                    where=f"{path}: {'.'.join(map(str, problem['loc']))}",
                    mend=REBUILD,
                )
                for problem in error.errors()[:MOST_PROBLEMS]
            ]
        ) from error
    if sha256 != _digest(body):
        raise DataError(Problem("the manifest does not match its own checksum", where=str(path), mend=REBUILD))
    return manifest


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise DataError(
            Problem(
                f"expected a store, found no {MANIFEST}",
                where=str(path.parent),
                mend="give the folder of a finished store, or build one with `atft data build`",
            )
        )
    try:
        body = parse_json(read_plain(path, MOST_BYTES))
    except OSError as error:
        raise StorageError(f"cannot read {path}: {error.strerror}; mend its permissions or the disk") from error
    except ValueError as error:
        raise DataError(Problem(f"the manifest is damaged: {error}", where=str(path), mend=REBUILD)) from error
    if not isinstance(body, dict):
        raise DataError(Problem("the manifest is damaged: expected an object", where=str(path), mend=REBUILD))
    return body


def _canonical(body: dict[str, Any]) -> bytes:
    return json.dumps(body, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def _digest(body: dict[str, Any]) -> str:
    return hashlib.sha256(_canonical(body)).hexdigest()


def open_shard(folder: Path, shard: Shard) -> int:
    """A descriptor of a file of the store, to read from.

    Raises DataError where it is missing, of another size, or not a plain file of the folder; StorageError where it
    may not be read.
    """
    path = folder / shard.file
    try:
        # A link would lead out of the folder, and opening a pipe would wait for its writer.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        raise DataError(Problem("expected a file of the store, found none", where=str(path), mend=REBUILD)) from None
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise DataError(
                Problem(f"expected a file inside the store, found a link to {path.resolve()}", where=str(path))
            ) from error
        raise StorageError(f"cannot read {path}: {error.strerror}; mend its permissions or the disk") from error
    found = os.fstat(descriptor)
    if stat.S_ISREG(found.st_mode) and found.st_size == shard.nbytes:
        return descriptor
    os.close(descriptor)
    if not stat.S_ISREG(found.st_mode):
        raise DataError(Problem("expected a plain file of the store, found none", where=str(path), mend=REBUILD))
    raise DataError(size_problem(path, shard, found.st_size))


def size_problem(path: Path, shard: Shard, found: int) -> Problem:
    what = "truncated" if found < shard.nbytes else "longer than written"
    return Problem(f"{what}: expected {shard.nbytes} bytes, found {found}", where=str(path), mend=REBUILD)
