"""A safetensors file of known contents: what its header declares is compared before the tensors are read."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from atft_gat_fan.errors import MemoryLimitError, StorageError
from atft_gat_fan.untrusted import open_plain, parse_json

MOST_HEADER_BYTES = 1 << 24
LENGTH_BYTES = 8
"""Of the number before the header: its size."""


def read_weights(file: Path, expected: Mapping[str, Tensor]) -> bytes:
    """The bytes of a file that holds exactly `expected`: names, shapes and float32; their values are not looked at.

    Raises StorageError for any other file, before more than its header is read, MemoryLimitError for one that the
    machine's memory cannot hold, OSError where it cannot be read.
    """
    shapes = {name: list(tensor.shape) for name, tensor in expected.items()}
    nbytes = sum(tensor.numel() * tensor.element_size() for tensor in expected.values())
    with open(open_plain(file), "rb") as opened:
        size = os.fstat(opened.fileno()).st_size
        header_bytes = int.from_bytes(opened.read(LENGTH_BYTES), "little")
        if header_bytes > min(MOST_HEADER_BYTES, size - LENGTH_BYTES):
            raise _not_the_weights(file, f"a header of {header_bytes} bytes in a file of {size}")
        try:
            declared = parse_json(opened.read(header_bytes))
            found = {name: _shape(entry) for name, entry in declared.items() if name != "__metadata__"}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise _not_the_weights(file, f"no safetensors header: {error}") from error
        if found != shapes:
            name = min(name for name in found.keys() | shapes.keys() if found.get(name) != shapes.get(name))
            raise _not_the_weights(
                file, f"{name[:80]} {found.get(name, 'missing')}, expected {shapes.get(name, 'none')}"
            )
        if size != LENGTH_BYTES + header_bytes + nbytes:
            raise _not_the_weights(file, f"{size} bytes, expected {LENGTH_BYTES + header_bytes + nbytes}")
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        if nbytes > memory:
            raise MemoryLimitError(
                f"{file}: the weights take {nbytes / 1e9:.1f} GB, this machine has {memory / 1e9:.1f}; use a larger one"
            )
        opened.seek(0)
        return opened.read(size)


def _shape(entry: Mapping[str, Any]) -> list[int]:
    if entry["dtype"] != "F32":
        raise ValueError(f"expected tensors of F32, found {entry['dtype']!r:.80}")
    shape: list[int] = entry["shape"]
    return shape


def _not_the_weights(file: Path, found: str) -> StorageError:
    return StorageError(
        f"{file}: expected the weights of the network that model.json describes, found {found}; "
        "the file is damaged or of another model, restore it"
    )
