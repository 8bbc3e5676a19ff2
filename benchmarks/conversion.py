"""Converts a panel into a store: a worker of `benchmarks/linear_cost.py`.

python -m benchmarks.conversion [key=value ...]
"""

import argparse
import shutil
import tempfile
import time
from pathlib import Path

from atft_gat_fan.config.load import load_config
from atft_gat_fan.data.conversion import convert
from atft_gat_fan.runs.private_memory import peak_private_bytes, private_bytes
from benchmarks.turns import serve


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    config = load_config(parser.parse_args().overrides)
    with tempfile.TemporaryDirectory(prefix="atft-bench-") as folder, peak_private_bytes() as peak:
        before, store = private_bytes(), Path(folder) / "store"

        def turn() -> dict[str, float]:
            began = time.perf_counter()
            convert(config, store, lambda stage, share: None)
            seconds = time.perf_counter() - began
            shutil.rmtree(store)
            return {"seconds": seconds, "memory": peak.num_bytes - before}

        turn()
        serve(turn)


if __name__ == "__main__":
    main()
