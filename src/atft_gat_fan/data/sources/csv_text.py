"""The text of a CSV file as a plain UTF-8 file, which can be read in parts."""

import codecs
import tempfile
from pathlib import Path
from typing import IO, Any

import pyarrow as pa

from atft_gat_fan.errors import DataError, Problem, StorageError

COMPRESSIONS = {".csv": None, ".csv.gz": "gzip", ".csv.zst": "zstd"}
SUFFIXES = tuple(COMPRESSIONS)
BLOCK = 2**20
COPY = "plain.csv"


_copies: "dict[tuple[str, str, int, int], tempfile.TemporaryDirectory[str]]" = {}
"""By file, encoding, time and size. A lazy frame may be read as long as the process lives; then they are deleted."""


def plain_text(path: Path, encoding: str) -> Path:
    """The file itself where it is plain UTF-8, else a copy in the folder for temporary files that is.

    Written in blocks, once a process: reading in parts needs plain bytes, of which a compressed file has only all at
    once. Raises DataError, naming the line, for bytes that are not of the encoding, StorageError where the copy does
    not fit.
    """
    suffix = next(suffix for suffix in reversed(SUFFIXES) if path.name.lower().endswith(suffix))
    if COMPRESSIONS[suffix] is None and encoding in ("utf-8", "utf-8-sig", "ascii"):
        return path
    now = path.stat()
    key = (str(path.resolve()), encoding, now.st_mtime_ns, now.st_size)
    if key not in _copies:
        _copies[key] = _copied(path, encoding, suffix)
    return Path(_copies[key].name) / COPY


def _copied(path: Path, encoding: str, suffix: str) -> "tempfile.TemporaryDirectory[str]":
    folder = tempfile.TemporaryDirectory(prefix="atft-csv-")
    copy = Path(folder.name) / COPY
    try:
        with copy.open("wb") as plain:
            try:
                with pa.input_stream(str(path), compression=COMPRESSIONS[suffix]) as source:
                    _transcode(source, plain, path, encoding)
            except (OSError, pa.ArrowException) as error:
                if isinstance(error, OSError) and error.filename is None and error.errno is not None:
                    raise  # of the copy
                raise DataError(
                    Problem(
                        f"expected a whole {suffix} file, reading stopped: {str(error).splitlines()[0]}",
                        where=str(path),
                        mend="copy or compress the file again",
                    )
                ) from error
    except OSError as error:
        raise StorageError(
            f"{path}: cannot be written out as plain text into {folder.name}: {error.strerror or error}; free space "
            "there, or set TMPDIR to a folder that has some"
        ) from error
    return folder


def _transcode(source: Any, plain: IO[bytes], path: Path, encoding: str) -> None:
    decoder = codecs.getincrementaldecoder(encoding)()
    num_lines, last = 0, False
    while not last:
        block = source.read(BLOCK)
        last = not block
        try:
            text = decoder.decode(block, final=last)
        except UnicodeDecodeError as error:
            num_lines += error.object[: error.start].decode(encoding, errors="ignore").count("\n")
            raise DataError(
                Problem(
                    f"expected text in {encoding}, found bytes {error.object[error.start : error.end]!r}",
                    where=f"{path}, line {num_lines + 1}",
                    mend=encoding_hint(encoding),
                )
            ) from error
        num_lines += text.count("\n")
        plain.write(text.encode())


def encoding_hint(encoding: str) -> str:
    """What to try where a file is not in the encoding it was said to be in."""
    other = "utf-8" if encoding in ("cp932", "shift_jis") else "cp932 (Japanese Windows), cp1252 (Western Windows)"
    return f"set data.csv.encoding, such as to {other}"
