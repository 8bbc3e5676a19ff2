"""`make bench`: every benchmark, one after the other, and their figures in one table.

    python -m benchmarks [--quick] [--panel nasdaq_2003_2017.parquet]

Each runs in a process of its own, so that none inherits memory or threads of another. Exit code 1 where one failed.
`benchmarks.worlds`, `benchmarks.ranking` and `benchmarks.attribution` are not among them: they take hours.
"""

import subprocess
import sys
from pathlib import Path

from benchmarks.measuring import COLUMNS, ROOT, arguments, header, table_rows

TOPICS = (
    "training_speed", "reading", "graph", "linear_cost", "memory", "improvements", "robustness", "shard_length",
    "daily_prediction", "scaling", "ranks",
)  # fmt: skip
WITH_PANEL = ("online_normalization", "main_job")
"""Those that measure more on a real panel."""
APART = ("worlds", "ranking", "attribution")
"""Those that take hours, and are run by themselves."""


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--panel", type=Path, help="the NASDAQ panel of Feng et al. 2019, as Parquet")
    parsed = parser.parse_args()
    quick = ["--quick"] if parsed.quick else []
    panel = ["--panel", str(parsed.panel.resolve())] if parsed.panel else []
    commands = dict.fromkeys(TOPICS, quick) | {topic: [*quick, *panel] for topic in WITH_PANEL}
    rows: list[str] = []
    failed = False
    for topic, options in commands.items():
        print(f"== {topic}", file=sys.stderr, flush=True)
        done = subprocess.run(
            [sys.executable, "-m", f"benchmarks.{topic}", *options], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        rows += table_rows(done.stdout)
        if done.returncode:
            failed = True
            rows.append(f"| {topic} | failed with {done.returncode} |{' |' * (len(COLUMNS) - 2)}")
    print("\n".join([*header(), *rows]))
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
