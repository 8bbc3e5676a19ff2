"""The table of contents of a store: which days and codes each file holds, and the sums that prove it still does."""

import hashlib
import json
import os
from datetime import date
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError, field_validator

from atft_gat_fan.errors import DataError, Problem

MANIFEST = "manifest.json"
VERSION = 1
REBUILD = "build the store again with `atft data build`"


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Era(_Entry):
    """A stretch of days over which the stocks of a row and their order do not change. Version 1 has exactly one."""

    codes: tuple[str, ...]
    static: tuple[int, ...]
    """Per code: 0 where the category is unknown, else 1 + its position in `static_categories`."""


class Shard(_Entry):
    """One file. It holds days `first_held .. stop - 1` and owns `first .. stop - 1`: what lies before is repeated."""

    file: str
    era: int
    first_held: int
    first: int
    stop: int
    nbytes: int
    sha256: str

    @field_validator("file")
    @classmethod
    def _inside(cls, name: str) -> str:
        if name in ("", ".", "..") or Path(name).name != name or "\\" in name or "\0" in name:
            raise ValueError("expected the plain name of a file inside the store")
        return name


class Manifest(_Entry):
    version: int
    fingerprint: str
    """Of the source and of all that decided the columns."""
    days: tuple[date, ...]
    feature_names: tuple[str, ...]
    horizons: tuple[int, ...]
    static_categories: tuple[str, ...]
    max_window: int
    eras: tuple[Era, ...]
    shards: tuple[Shard, ...]
    metadata: dict[str, JsonValue]


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Seals a store: a folder without a manifest is not one. Durable when it returns."""
    body = manifest.model_dump(mode="json")
    with (folder / MANIFEST).open("w", encoding="utf-8") as file:
        json.dump({**body, "sha256": _digest(body)}, file, indent=1, allow_nan=False)
        file.flush()
        os.fsync(file.fileno())


def read_manifest(folder: Path) -> Manifest:
    """Reads and verifies the manifest of `folder`, and that its files are inside the folder with the sizes promised.

    Raises DataError, naming the file, when the manifest is missing, damaged or of another version, and when a shard
    is missing, of another size, or a link that leaves the folder.
    """
    path = folder / MANIFEST
    body = _read_json(path)
    if body.get("version") != VERSION:
        raise DataError(
            Problem(f"expected store version {VERSION}, found {body.get('version')!r}", where=str(path), mend=REBUILD)
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
                for problem in error.errors()
            ]
        ) from error
    if sha256 != _digest(body):
        raise DataError(Problem("the manifest does not match its own checksum", where=str(path), mend=REBUILD))
    problems = [problem for shard in manifest.shards for problem in file_problems(folder, shard)]
    if problems:
        raise DataError(problems, source=str(folder))
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
        body = json.loads(path.read_bytes())
    except ValueError as error:
        raise DataError(Problem(f"the manifest is damaged: {error}", where=str(path), mend=REBUILD)) from error
    if not isinstance(body, dict):
        raise DataError(Problem("the manifest is damaged: expected an object", where=str(path), mend=REBUILD))
    return body


def _digest(body: dict[str, Any]) -> str:
    canonical = json.dumps(body, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def file_problems(folder: Path, shard: Shard) -> list[Problem]:
    """What is wrong with a file at first sight: outside the folder, missing, or of another size."""
    path = folder / shard.file
    if path.resolve().parent != folder.resolve():
        return [Problem(f"expected a file inside the store, found a link to {path.resolve()}", where=str(path))]
    if not path.is_file():
        return [Problem("expected a file of the store, found none", where=str(path), mend=REBUILD)]
    found = path.stat().st_size
    return [size_problem(path, shard, found)] if found != shard.nbytes else []


def size_problem(path: Path, shard: Shard, found: int) -> Problem:
    what = "truncated" if found < shard.nbytes else "longer than written"
    return Problem(f"{what}: expected {shard.nbytes} bytes, found {found}", where=str(path), mend=REBUILD)
