"""Training steps of ours: a worker of `benchmarks/training_speed.py` and `benchmarks/linear_cost.py`.

    python -m benchmarks.training_steps [--steps 4] [key=value ...]

Everything from the store to the updated weights is in a step: batches (features, labels, neighbours), forward, loss,
backward, clipping, AdamW. A sample is one window of one stock that is present, scored at all horizons.
"""

import argparse
import time

from atft_gat_fan.runs.private_memory import peak_private_bytes, private_bytes
from benchmarks.turns import THREADS, serve
from benchmarks.workload import Training

WARM_UP = 3
"""Steps before the first turn."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=4, help="of a turn")
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    arguments = parser.parse_args()
    training = Training([f"run.num_threads={THREADS}", *arguments.overrides])
    before, done = private_bytes(), 0

    def run(steps: int) -> int:
        nonlocal done
        samples = 0
        for _ in range(steps):
            samples += training.step(training.batch(done), done)
            done += 1
        return samples

    def turn() -> dict[str, float]:
        began = time.perf_counter()
        samples = run(arguments.steps)
        seconds = time.perf_counter() - began
        return {
            "samples_per_second": samples / seconds,
            "seconds_per_step": seconds / arguments.steps,
            "memory": peak.num_bytes - before,
        }

    with peak_private_bytes() as peak:
        run(WARM_UP)
        serve(turn)


if __name__ == "__main__":
    main()
