"""One training on several processes: what a second one brings, and what the agreements of a step cost.

    python -m benchmarks.ranks [--quick] [--divided] [key=value ...]

Every process has one thread. A step on one process and the same step, its days divided, on two and three take turns, on
1,000 stocks × 32 features with the default network; what one process needs alone for it is what two are set against.
The window before each share of the days is computed by its rank, so a step of more days divides better: `batch_size`
and `accumulate_grad_batches` are the defaults, and twice the days in two ways. Arguments in Hydra's grammar change the
market and the network. `--divided`: also two and three processes that divide the weights (`distributed.strategy=fsdp`).
"""

import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from atft_gat_fan.config.load import load_config
from atft_gat_fan.runs.assembly import assemble
from benchmarks.made_panel import write_panel
from benchmarks.measuring import Figure, arguments, at_least, median_ratio, publish, significant
from benchmarks.robustness import market
from benchmarks.turns import own, take_turns

COMMAND = "python -m benchmarks.ranks"
STEPS = {
    "a step of 8 days in one block (default)": [],
    "16 days in one block": ["batch_size=16"],
    "16 days in two blocks": ["accumulate_grad_batches=2"],
}
RANKS = (1, 2, 3)
DIVIDED = "distributed.strategy=fsdp"


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    parser.add_argument("--divided", action="store_true", help="measure divided weights beside whole ones")
    parsed = parser.parse_args()
    stocks, days, features = (60, 200, 8) if parsed.quick else (1000, 300, 32)
    rounds, steps = (2, 2) if parsed.quick else (7, 4)
    rows: list[Figure] = []
    with tempfile.TemporaryDirectory(prefix="atft-bench-") as folder:
        place = Path(folder)
        write_panel(place / "panel", stocks=stocks, days=days, features=features)
        common = [*market(place, days), *parsed.overrides]
        assemble(load_config(common), lambda stage, share: None)  # what the processes read is there before they start
        for name, keys in STEPS.items():
            commands = {
                f"{ranks}": own("rank_steps", f"--ranks={ranks}", f"--steps={steps}", *common, *keys) for ranks in RANKS
            }
            if parsed.divided:
                commands |= {
                    f"{ranks} with divided weights": own(
                        "rank_steps", f"--ranks={ranks}", f"--steps={steps}", *common, *keys, DIVIDED
                    )
                    for ranks in RANKS[1:]
                }
            rows += figures(name, take_turns(commands, rounds, say=say))
    publish("ranks", rows, quick=parsed.quick)


def figures(name: str, answers: Mapping[str, Sequence[Mapping[str, float]]]) -> list[Figure]:
    """The gain of a second process, and of each number of processes the time that agreeing takes in a step."""
    speed = {ranks: [turn["samples_per_second"] for turn in turns] for ranks, turns in answers.items()}
    one, two = (significant(statistics.median(speed[ranks])) for ranks in ("1", "2"))
    gain = median_ratio(speed["2"], speed["1"])
    what = f"samples/s of 2 processes over 1, one thread each, {name}"
    rows = [Figure.of(what, gain, COMMAND, at_least(1.7), detail=f"{two} and {one}")]
    for number, turns in answers.items():
        milliseconds = statistics.median(turn["seconds_of_agreements"] for turn in turns) * 1000
        step = significant(statistics.median(turn["seconds_per_step"] for turn in turns) * 1000)
        processes, _, how = number.partition(" ")
        ranks = " ".join(filter(None, [processes, "rank" if processes == "1" else "ranks", how]))
        what = f"extra time a step of agreeing on {ranks}, ms, {name}"
        rows.append(Figure.of(what, milliseconds, COMMAND, detail=f"a step {step} ms"))
    return rows


def say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
