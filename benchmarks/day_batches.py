"""Our loader over a panel: an epoch of day batches, not computed with. A worker of `benchmarks/reading.py`.

    python -m benchmarks.day_batches [key=value ...]

Batches are made as training makes them (features, labels, presence, calendar, neighbours), and every feature is read
once. A sample is one window of one stock that is present.
"""

import argparse
import time

from benchmarks.turns import THREADS, serve
from benchmarks.workload import Training


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    training = Training([f"run.num_threads={THREADS}", *parser.parse_args().overrides])

    def turn() -> dict[str, float]:
        began, samples = time.perf_counter(), 0
        for number in range(len(training.blocks)):
            batch = training.batch(number)
            batch.features.sum()
            samples += int(batch.present.sum())
        return {"samples_per_second": samples / (time.perf_counter() - began)}

    turn()
    serve(turn)


if __name__ == "__main__":
    main()
