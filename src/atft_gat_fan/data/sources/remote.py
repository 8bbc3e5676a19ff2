"""A panel at an address: opened from its copy, and called by its address."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from atft_gat_fan.config.remote_section import file_name
from atft_gat_fan.config.schema import DataConfig
from atft_gat_fan.data.remote import local_copy, relocated
from atft_gat_fan.data.sources.base import Source
from atft_gat_fan.errors import DataError


def open_remote(
    config: DataConfig, progress: Callable[[str, float], None], open_path: Callable[[Path, DataConfig], Source]
) -> Source:
    """Copy what is at the address below `data.cache`, unless it is there, and open it with `open_path`.

    Its fingerprint is that of the contents, as of a file of this machine. Raises as `local_copy` and `open_path` do,
    naming the address.
    """
    copy = local_copy(config, progress)
    try:
        source = open_path(copy, config)
    except DataError as error:
        raise relocated(error, copy, config.source) from error
    return replace(
        source,
        name=file_name(config.source).split(".")[0] or "panel",
        identity=config.source.rstrip("/"),
        place=lambda row: source.place(row).replace(str(copy), config.source),
    )
