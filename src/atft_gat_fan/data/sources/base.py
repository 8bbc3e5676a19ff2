"""What every source gives: a lazy long frame in its own column names, and where its rows lie."""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import polars as pl

from atft_gat_fan.config.schema import ColumnsConfig


def _nowhere(row: int) -> str:
    return ""


@dataclass(frozen=True)
class Source:
    """A long panel as it lies in the source: any row order, the source's own column names, nothing checked.

    `identity` is what the source is called: it stays when its contents change, and no other source has it.
    `fingerprint` changes whenever the data does. `columns` are the names to read it by. `place(row)` says
    in words where row `row` of `frame` lies (file, row group, line), for error messages. `static_since` is, of each
    stock with a static category, the day that it is known from, where the rows do not tell: those of an excerpt.
    """

    frame: pl.LazyFrame
    name: str
    identity: str
    fingerprint: str
    columns: ColumnsConfig
    place: Callable[[int], str] = field(default=_nowhere)
    static_since: Mapping[str, date] | None = None


def fingerprint_bytes(parts: Iterable[bytes]) -> str:
    """SHA-256 over the parts and their lengths, hexadecimal."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    return digest.hexdigest()


def fingerprint_files(root: Path, files: Iterable[Path]) -> str:
    """SHA-256 over the names below `root` and the contents of `files`: what a copy elsewhere keeps.

    Contents, not modification times: those miss a restored file and cry wolf over a copied one.
    """
    parts: list[bytes] = []
    for file in files:
        with file.open("rb") as handle:
            parts += [str(file.relative_to(root)).encode(), hashlib.file_digest(handle, "sha256").digest()]
    return fingerprint_bytes(parts)
