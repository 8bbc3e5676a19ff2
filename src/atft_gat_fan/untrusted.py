"""Reading what somebody else may have written: plain files of bounded size, and JSON that is only JSON."""

import errno
import json
import math
import os
import stat
from collections import Counter
from pathlib import Path
from typing import Any


def open_plain(path: Path) -> int:
    """A descriptor of a plain file, to read from.

    Raises OSError, naming the file: links would lead out of its folder, and a pipe or a device has no end.
    """
    try:
        # Opening a pipe would wait for its writer.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise OSError(errno.ELOOP, "a link; put the file itself there", str(path)) from None
        raise
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    raise OSError(errno.EINVAL, "something that is no plain file", str(path))


def read_plain(path: Path, most_bytes: int | None = None) -> bytes:
    """The content of a plain file. Raises OSError as `open_plain` does, and for one of more than `most_bytes`."""
    with open(open_plain(path), "rb") as file:
        found = os.fstat(file.fileno()).st_size
        if most_bytes is not None and found > most_bytes:
            raise OSError(errno.EFBIG, f"{found} bytes where {most_bytes} are the most", str(path))
        # One that grows meanwhile is cut off, and then fails its checksum.
        return file.read(found)


def parse_json(content: bytes) -> Any:
    """JSON as the standard has it. Raises ValueError for NaN and infinities, repeated keys, and a nest too deep."""
    try:
        return json.loads(content, object_pairs_hook=_distinct, parse_constant=_no_number, parse_float=_finite)
    except RecursionError:
        raise ValueError("expected JSON of a few levels, found it nested too deeply") from None


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    body = dict(pairs)
    if len(body) < len(pairs):
        # Two readers could each believe another one of them.
        ((repeated, _),) = Counter(key for key, _ in pairs).most_common(1)
        raise ValueError(f"expected each key once, found {repeated[:80]!r} repeated")
    return body


def _no_number(text: str) -> Any:
    raise ValueError(f"expected finite numbers, found {text}")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"expected finite numbers, found {text[:80]}")
    return value
