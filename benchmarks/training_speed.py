"""Training speed beside the TFTs of pytorch-forecasting and neuralforecast, and as a share of what the machine can do.

    python -m benchmarks.training_speed [--quick]

Windows of 20 days, 32 features, width 64, 5 horizons, 2 threads. Each library trains in a process of its own, and the
processes take turns. Theirs step on ready tensors (forward, loss, backward, Adam); ours does all that training repeats,
from the store to the updated weights (`benchmarks/training_steps.py`), with 1,000 stocks a day, compiled, eager, and
compiled in bf16 (`compile: auto` compiles any training long enough to pay for it). A sample is one window of one stock:
theirs with 20 encoder and 5 decoder days, ours with a score for each of 5 horizons. pytorch-forecasting's is measured
at equal widths and with its default `hidden_continuous_size` of 8.

FLOPs are counted from the network's shapes: 2 m n k a matrix product, forward and backward, element-wise work not at
all (`atft_gat_fan.models.flops`).
The peak is the best size of square float32 products, measured by turns in the same run.
"""

import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from atft_gat_fan.models.flops import flops
from benchmarks.made_panel import write_panel
from benchmarks.measuring import Figure, Target, arguments, at_least, median_ratio, publish, significant
from benchmarks.turns import own, peer, take_turns
from benchmarks.workload import Training

COMMAND = "python -m benchmarks.training_speed"
PYTORCH_FORECASTING, DEFAULT_WIDTH = "pytorch-forecasting, equal widths", "pytorch-forecasting, continuous width 8"
NEURALFORECAST, PEAK = "neuralforecast, equal widths", "matrix products"
PEER_TARGETS: Mapping[str, Target | None] = {
    PYTORCH_FORECASTING: at_least(10),
    DEFAULT_WIDTH: None,
    NEURALFORECAST: at_least(12),
}
COMPILED, EAGER, BF16 = "ours, compiled", "ours, eager", "ours, compiled, amp=bf16"
FEATURES, DAYS = 32, 150


def main() -> None:
    parsed = arguments(__doc__).parse_args()
    stocks, rounds = (200, 3) if parsed.quick else (1000, 7)
    with tempfile.TemporaryDirectory(prefix="atft-bench-") as folder:
        panel = Path(folder) / "panel"
        write_panel(panel, stocks=stocks, days=DAYS, features=FEATURES)
        overrides = ["data=parquet", f"data.source={panel}", f"data.cache={folder}/cache"]
        # Counting builds the store, too, before any worker needs it.
        operations = flops_per_sample(overrides)
        size = ["--samples", "256" if parsed.quick else "1024"]
        commands = {
            COMPILED: own("training_steps", *overrides, "compile=true"),
            EAGER: own("training_steps", *overrides, "compile=false"),
            BF16: own("training_steps", *overrides, "compile=true", "amp=bf16"),
            PYTORCH_FORECASTING: peer("pytorch_forecasting_tft", *size, "--continuous", "64"),
            DEFAULT_WIDTH: peer("pytorch_forecasting_tft", *size),
            NEURALFORECAST: peer("neuralforecast_tft", *size),
            PEAK: own("matmul_peak"),
        }
        answers = take_turns(commands, rounds, say=lambda message: print(message, file=sys.stderr))
    publish("training_speed", figures(answers, operations), quick=parsed.quick)


def figures(answers: Mapping[str, Sequence[Mapping[str, float]]], operations: float) -> list[Figure]:
    """`answers` by library and round, `operations` of one training sample of ours."""
    measured = (COMPILED, EAGER, BF16, *PEER_TARGETS)
    rates = {name: [answer["samples_per_second"] for answer in answers[name]] for name in measured}
    ours = statistics.median(rates[COMPILED])
    rows = [
        Figure.of(
            f"training samples/s, ours (compiled) over {name}",
            median_ratio(rates[COMPILED], rates[name]),
            COMMAND,
            target,
            detail=f"{significant(ours)} and {significant(statistics.median(rates[name]))} samples/s",
        )
        for name, target in PEER_TARGETS.items()
    ]
    for what, name, base in (("compiled over eager", COMPILED, EAGER), ("bf16 over float32, compiled", BF16, COMPILED)):
        detail = " and ".join(significant(statistics.median(rates[each])) for each in (name, base)) + " samples/s"
        gain = median_ratio(rates[name], rates[base])
        rows.append(Figure.of(f"training samples/s, ours, {what}", gain, COMMAND, detail=detail))
    best = max(answers[PEAK][0], key=lambda size: statistics.median(answer[size] for answer in answers[PEAK]))
    peaks = [answer[best] for answer in answers[PEAK]]
    share = median_ratio([rate * operations for rate in rates[COMPILED]], peaks)
    detail = (
        f"{significant(operations / 1e6)} MFLOP a sample, {significant(ours * operations / 1e9)} GFLOP/s of "
        f"{significant(statistics.median(peaks) / 1e9)} at {best} × {best}"
    )
    return [*rows, Figure.of("share of the fp32 matmul peak in training", share, COMMAND, at_least(0.5), detail=detail)]


def flops_per_sample(overrides: Sequence[str]) -> float:
    """Matrix-product operations of forward and backward pass, of a training of ours."""
    training = Training([*overrides, "compile=false"])
    batch = training.batch(0)
    assert batch.neighbours is not None
    days, stocks, neighbours = batch.neighbours.index.shape
    counted = flops(training.model.spec, days=days, stocks=stocks, neighbours=neighbours).per_trained_sample
    # Counted for all the stocks of a batch; a sample is one that is present.
    return counted * batch.present.numel() / int(batch.present.sum())


if __name__ == "__main__":
    main()
