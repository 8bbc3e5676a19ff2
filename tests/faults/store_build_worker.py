"""Builds one panel's store as a process of its own and dies where it is told to; prints the shards that it fills.

`python store_build_worker.py '{"target": …, "corrected": …, "kill": …}'`
"""

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from atft_gat_fan.data import store_writer
from atft_gat_fan.data.store_shard import Layout, ShardSpan
from atft_gat_fan.data.store_work import WorkFolder
from atft_gat_fan.data.store_writer import StoreWriter

DAYS = np.datetime64("2021-01-01") + np.arange(50)
CODES = ("A", "B", "C")


def die(*_: Any, **__: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def dies_after(action: Callable[..., Any]) -> Callable[..., None]:
    def act(*arguments: Any) -> None:
        action(*arguments)
        die()

    return act


def build(target: Path, corrected: int | None, kill: str | None) -> None:
    """Shards of 20 days that repeat 4; `corrected` is a day whose values are others."""
    if kill == "unrecorded":
        WorkFolder.record = die
    elif kill == "before the manifest":
        store_writer.write_manifest = die
    elif kill == "after the manifest":
        store_writer.write_manifest = dies_after(store_writer.write_manifest)
    elif kill == "published":
        WorkFolder.close = die

    def inputs(span: ShardSpan) -> str:
        held = corrected is not None and span.first_held <= corrected < span.stop
        return f"{span} {corrected if held else None}"

    layout = Layout(("f0", "f1"), (1,))
    with StoreWriter(target, key="key", days=DAYS, layout=layout, max_window=5, shard_days=20) as writer:
        for span in writer.spans:
            if writer.have(span, inputs(span)):
                continue
            with writer.shard(span, CODES, inputs(span)) as block:
                block.features[...] = np.arange(span.first_held, span.stop)[:, None, None]
                if kill == f"in shard {span.position}":
                    die()
                block.present[...] = True
                if corrected is not None and span.first_held <= corrected < span.stop:
                    block.returns[corrected - span.first_held] = 0.5
            print(span.position, flush=True)
            if kill == f"after shard {span.position}":
                die()
        writer.finish(static=None, metadata={}, fingerprint=str(corrected))


if __name__ == "__main__":
    told = json.loads(sys.argv[1])
    build(Path(told["target"]), told["corrected"], told["kill"])
