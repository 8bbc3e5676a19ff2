"""An Arrow file around columns that are yet to be filled, in its map."""

import io
import mmap
import os
from pathlib import Path
from typing import Any

import pyarrow as pa

from atft_gat_fan.data.store_shard import Layout, ShardFormat


class _Framing(io.BufferedWriter):
    """A file that takes the bytes around the columns and leaves room for these."""

    def __init__(self, path: Path) -> None:
        super().__init__(io.FileIO(path, "w"))
        self.columns: list[int] = []
        """The byte where each begins."""

    def write(self, data: Any, /) -> int:
        if not isinstance(data, pa.Buffer):
            return super().write(data)
        self.columns.append(self.tell())
        self.seek(data.size, os.SEEK_CUR)
        return int(data.size)


def write_framing(path: Path, layout: Layout, num_days: int, num_stocks: int) -> ShardFormat:
    """Writes an Arrow file of one record batch whose columns are all zero, without a byte of them being written.

    Their room on the disk is reserved: OSError where there is none.
    """
    schema = layout.schema(num_stocks)
    sizes = [num_days * field.type.list_size * field.type.value_type.bit_width // 8 for field in schema]
    # Never read: memory that may not be written is not even reserved.
    zeros = pa.py_buffer(mmap.mmap(-1, max(sizes), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, prot=mmap.PROT_READ))
    columns = [
        pa.FixedSizeListArray.from_arrays(
            pa.Array.from_buffers(field.type.value_type, num_days * field.type.list_size, [None, zeros.slice(0, size)]),
            type=field.type,
        )
        for field, size in zip(schema, sizes, strict=True)
    ]
    with _Framing(path) as file:
        with pa.ipc.new_file(pa.PythonFile(file, mode="w"), schema) as writer:
            writer.write_batch(pa.record_batch(columns, schema=schema))
        file.flush()
        # Without its blocks reserved, a full disk would be met in the map, where it kills the process.
        os.posix_fallocate(file.fileno(), 0, file.tell())
    form = ShardFormat(layout, num_days, num_stocks, file.columns[0])
    assert file.columns == [offset for offset, _ in form.columns.values()], "Arrow places columns otherwise"
    return form
