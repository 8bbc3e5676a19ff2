"""A trained model as a folder of its own, to be taken elsewhere."""

import os
import shutil
from contextlib import suppress
from pathlib import Path

from atft_gat_fan.data.durable_files import fsync_folder, write_durably
from atft_gat_fan.errors import StorageError
from atft_gat_fan.runs.run_files import BUNDLE, CONFIG, METRICS
from atft_gat_fan.untrusted import read_plain


def save_model(run: Path, target: Path) -> Path:
    """Copy model, configuration and metrics of `run` into the new folder `target`, whole or not at all.

    Raises StorageError where `target` is there already or cannot be written.
    """
    if target.exists():
        raise StorageError(f"{target}: expected nothing there, found something; choose another path, or delete it")
    staged = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        (staged / BUNDLE).mkdir(parents=True)
        names = [name for name in (CONFIG, METRICS) if (run / name).exists()]
        names += [f"{BUNDLE}/{file.name}" for file in sorted((run / BUNDLE).iterdir())]
        for name in names:
            write_durably(staged / name, read_plain(run / name))
        fsync_folder(staged / BUNDLE)
        fsync_folder(staged)
        staged.rename(target)
        fsync_folder(target.parent)
    except OSError as error:
        with suppress(OSError):  # the first error is the one to tell
            shutil.rmtree(staged)
        raise StorageError(
            f"{error.filename or target}: cannot save the model: {error.strerror}; free space"
        ) from error
    return target
