"""What the improvements cost, on against off on this machine: time of an optimizer step, memory of the EMA.

    python -m benchmarks.improvements [--quick] [key=value ...]

A pair is one step with and one without, on the same days, in alternating order. A step is what training repeats:
forward, loss, backward, clipping, AdamW and, with an EMA, its update. Arguments in Hydra's grammar change the market
and the network that are measured.
"""

import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from itertools import count

from benchmarks.measuring import ROOT, Figure, arguments, at_most, interleaved, median_ratio, publish, significant
from benchmarks.workload import Training

COMMAND = "python -m benchmarks.improvements"
MARKET = ["data=synthetic", "data.synthetic.num_stocks=200", "data.synthetic.num_days=500"]
FREQ_DROPOUT = ["improvements.freq_dropout_p=0.1"]
MODEL_SIDE = [*FREQ_DROPOUT, "improvements.output_head_small_init=true", "improvements.gat_temperature=0.8"]
TRAINING_SIDE = ["improvements.huber_loss=true", "improvements.use_ema=true"]
COMPARISONS = {
    "every model-side switch (4.1, 4.2, 4.3)": (MODEL_SIDE, at_most(1.10)),
    "those, Huber and EMA (4.1–4.5)": ([*MODEL_SIDE, *TRAINING_SIDE], at_most(1.10)),
    "FreqDropout alone (4.2)": (FREQ_DROPOUT, at_most(1.02)),
}
NUM_BATCHES, WARM_UP = 8, 5
EMA_MEMORY = """
from atft_gat_fan.config.plan import EmaPlan, ModelSpec
from atft_gat_fan.models.network import ATFT_GAT_FAN
from atft_gat_fan.training.ema import EmaTeacher
from atft_gat_fan.runs.private_memory import private_bytes
# So wide that pages and the allocator's habits do not matter.
model = ATFT_GAT_FAN(ModelSpec(num_features=32, hidden_size=1024))
before = private_bytes()
ema = EmaTeacher(model, EmaPlan(0.999))
for _ in range(3):
    ema.update(model)
print((private_bytes() - before) / sum(parameter.nbytes for parameter in model.parameters()))
"""


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    parsed = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory(prefix="atft-bench-") as folder:
        common = [*MARKET, f"data.cache={folder}", *parsed.overrides]
        for name, (switches, target) in COMPARISONS.items():
            actions = {"off": stepper(common), "on": stepper([*common, *switches])}
            seconds = interleaved(actions, 10 if parsed.quick else 60, warm_up=WARM_UP)
            off, on = (significant(statistics.median(seconds[key]) * 1000) for key in ("off", "on"))
            ratio = median_ratio(seconds["on"], seconds["off"])
            rows.append(Figure.of(f"step time on / off, {name}", ratio, COMMAND, target, detail=f"{on} and {off} ms"))
    rows.append(Figure.of("memory of the EMA / one copy of the weights", ema_memory(), COMMAND, at_most(1.05)))
    publish("improvements", rows, quick=parsed.quick)


def stepper(overrides: Sequence[str]) -> Callable[[], object]:
    """The next optimizer step of a training under `overrides`; batches are ready beforehand."""
    training, numbers = Training(overrides), count()
    batches = [training.batch(number) for number in range(NUM_BATCHES)]

    def step() -> None:
        number = next(numbers)
        training.step(batches[number % NUM_BATCHES], number)

    return step


def ema_memory() -> float:
    """Private memory that an EMA adds, in copies of the weights, in a process of its own."""
    done = subprocess.run([sys.executable, "-c", EMA_MEMORY], cwd=ROOT, capture_output=True, text=True, check=True)
    return float(done.stdout)


if __name__ == "__main__":
    main()
