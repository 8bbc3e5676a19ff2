"""A market ten times that of Japan, and its bars of five minutes, followed on paper from measured constants.

    python -m benchmarks.scaling [--quick]            # measures the one constant that no other benchmark does
    python -m benchmarks.scaling --page docs/scaling.md  # computes the page's tables anew from benchmarks/results

Every number of the tables is one of `CONSTANTS`, read from the results of the benchmark that is named beside it, one of
`MARKETS`, or computed from those by the formula in its row. What is assumed is called so.
"""

import re
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from atft_gat_fan.data.remote_download import size_text
from benchmarks.made_panel import write_panel
from benchmarks.measuring import RESULTS, Figure, arguments, publish, significant
from benchmarks.turns import own, take_turns

COMMAND = "python -m benchmarks.scaling"
BEGIN, END = "<!-- scaling: begin -->", "<!-- scaling: end -->"
FEATURES, HORIZONS, WINDOW, BATCH, NEIGHBOURS, EPOCHS = 32, 5, 20, 8, 16, 20
"""The default configuration's, and epochs as trainings on real panels take."""
SHARD, SPAN, REFRESH_DAYS, TEST_SHARE = 256, 64, 5, 0.15
NUMBER = r"([\d,.]+)"


@dataclass(frozen=True)
class Constant:
    """A number that was measured on two cores: the first that `pattern` finds in the table of `topic`."""

    symbol: str
    what: str
    unit: str
    topic: str
    pattern: str

    @property
    def value(self) -> float:
        text = (RESULTS / f"{self.topic}.md").read_text()
        found = re.search(self.pattern, text)
        assert found is not None, f"benchmarks/results/{self.topic}.md lacks {self.pattern}: python -m {self.command}"
        return float(found[1].replace(",", ""))

    @property
    def command(self) -> str:
        return f"benchmarks.{self.topic}"


CONSTANTS = (
    Constant(
        "v",
        "training, samples of 20 days and 32 features",
        "samples/s",
        "training_speed",
        rf"compiled over eager \| [\d.]+ \({NUMBER}",
    ),
    Constant("a", "activations of a training step, a sample", "MB", "scaling", rf"activations[^|]*\| {NUMBER}"),
    Constant("c", "conversion of 12.0 GB of features", "s", "memory", rf"12\.0 GB, {NUMBER} s"),
    Constant(
        "p", "private memory of that conversion", "GiB", "memory", rf"private memory of the conversion, GiB \| {NUMBER}"
    ),
    Constant(
        "o",
        "private memory of training with online normalisation, activations aside",
        "GiB",
        "memory",
        rf"less the activations, GiB \| {NUMBER}",
    ),
    Constant(
        "r",
        "reading an epoch the first time, every byte verified",
        "GB/s",
        "reading",
        rf"first epoch after opening \| [\d.]+ \({NUMBER}",
    ),
    Constant(
        "g",
        "a refresh of the neighbour graph, 4,000 stocks × 60 days",
        "s",
        "graph",
        rf"4,000 stocks × 60 days, s \| {NUMBER}",
    ),
    Constant(
        "t",
        "graph attention forward and backward, 4,000 stocks of a day",
        "ms",
        "graph",
        rf"time, 4,000 stocks × 1 days \| [\d.]+ \({NUMBER}",
    ),
    Constant(
        "m",
        "a morning's prediction of 3,803 stocks, once the model is loaded",
        "s",
        "daily_prediction",
        rf"stocks of [^|]*\| {NUMBER}",
    ),
    Constant("n", "of it the graph", "s", "daily_prediction", rf"graph {NUMBER} s"),
    Constant(
        "e",
        "samples/s of two processes over one, steps of 8 days",
        "×",
        "ranks",
        rf"samples/s of 2 processes [^|]*\(default\) \| {NUMBER}",
    ),
)

NETWORK = 1.25
"""Assumed, GB/s: a line of 10 Gbit/s to the object storage, which is not slower."""


@dataclass(frozen=True)
class Market:
    name: str
    stocks: int
    bars: int
    """A day."""
    days: int = 2500

    @property
    def stock_bars(self) -> float:
        return float(self.stocks * self.bars * self.days)


MARKETS = (
    Market("JPX, daily", 4_000, 1),
    Market("10 × JPX, daily", 40_000, 1),
    Market("JPX, 5 minutes", 4_000, 66),
    Market("10 × JPX, 5 minutes", 40_000, 66),
)
"""Ten years; 66 bars of five minutes are the five and a half hours of a Tokyo day."""

Values = Mapping[str, float]
Formula = Callable[[Market, Values], float]
STORED = 4 * (FEATURES + HORIZONS + 2) + 1
"""Bytes of a stock-bar: features, labels, return and liquidity in float32, presence in a byte."""
OVERLAP = 1 + (SPAN - 1) / SHARD
"""Of shards of 256 bars that repeat the 63 before them, which a batch reads."""


def span(seconds: float) -> str:
    """`12 s`, `3.4 min`, `5.6 h` or `7.8 days`."""
    for limit, length, unit in ((120, 1, "s"), (7200, 60, "min"), (172800, 3600, "h")):
        if seconds < limit:
            return f"{significant(seconds / length, 2)} {unit}"
    return f"{significant(seconds / 86400, 2)} days"


def store_bytes(market: Market, _: Values) -> float:
    return market.stock_bars * STORED * OVERLAP


def epoch_seconds(market: Market, value: Values) -> float:
    return market.stock_bars / value["v"]


def refresh_seconds(market: Market, value: Values) -> float:
    return value["g"] * (market.stocks / 4000) ** 2


def refreshes(market: Market) -> float:
    return market.days / REFRESH_DAYS


ROWS: tuple[tuple[str, str, Formula, Callable[[float], str]], ...] = (
    ("stock-bars", "stocks × bars × 2,500 days", lambda m, _: m.stock_bars, lambda x: f"{x:.2g}"),
    ("**disk**: store", f"stock-bars × {STORED} B × {OVERLAP:.2f} (overlap of shards)", store_bytes, size_text),
    ("**time**: conversion, one process", "store × c / 12.0 GB", lambda m, v: store_bytes(m, v) * v["c"] / 12e9, span),
    (
        "**memory**: conversion",
        "p × stocks / 4,000, at 300 features",
        lambda m, v: v["p"] * 2**30 * m.stocks / 4000,
        size_text,
    ),
    (
        "**network**: store to a machine",
        f"store / {NETWORK} GB/s (assumed)",
        lambda m, v: store_bytes(m, v) / (NETWORK * 1e9),
        span,
    ),
    ("**time**: first reading, verified", "store / r", lambda m, v: store_bytes(m, v) / (v["r"] * 1e9), span),
    (
        "**memory**: normalised copy (the default)",
        f"stock-bars × {FEATURES} × 4 B",
        lambda m, _: m.stock_bars * FEATURES * 4,
        size_text,
    ),
    (
        "**memory**: online normalisation instead",
        "o × stocks / 4,000, at 300 features",
        lambda m, v: v["o"] * 2**30 * m.stocks / 4000,
        size_text,
    ),
    (
        "**memory**: activations, batch of 8 bars",
        "8 × stocks × a",
        lambda m, v: BATCH * m.stocks * v["a"] * 1e6,
        size_text,
    ),
    ("**memory**: activations, batch of 1 bar", "stocks × a", lambda m, v: m.stocks * v["a"] * 1e6, size_text),
    ("**time**: an epoch, one machine", "stock-bars / v", epoch_seconds, span),
    (
        "**time**: graph attention in it",
        "bars × 2,500 × t × stocks / 4,000",
        lambda m, v: m.bars * m.days * v["t"] / 1000 * m.stocks / 4000,
        span,
    ),
    (
        f"machines for {EPOCHS} epochs a day",
        f"{EPOCHS} epochs / (24 h × e / 2) (assumed beyond two), at least 1",
        lambda m, v: max(1.0, EPOCHS * epoch_seconds(m, v) / 86400 / (v["e"] / 2)),
        lambda x: significant(x, 2),
    ),
    ("**time**: a refresh of the graph", "g × (stocks / 4,000)²", refresh_seconds, span),
    ("**time**: its refreshes, every 5 days", "500 × that", lambda m, v: refreshes(m) * refresh_seconds(m, v), span),
    (
        "**time**: its refreshes, every 5 bars",
        "bars × 500 × that",
        lambda m, v: m.bars * refreshes(m) * refresh_seconds(m, v),
        span,
    ),
    (
        "**disk**: neighbour lists, every 5 days",
        f"500 × stocks × {NEIGHBOURS} × 8 B",
        lambda m, _: refreshes(m) * m.stocks * NEIGHBOURS * 8,
        size_text,
    ),
    (
        "**memory**: evaluating the test",
        f"{TEST_SHARE:.0%} of stock-bars × {4 * (2 * HORIZONS + 1) + 1} B",
        lambda m, _: TEST_SHARE * m.stock_bars * (4 * (2 * HORIZONS + 1) + 1),
        size_text,
    ),
    (
        "**time**: scoring the newest bar",
        "(m − n) × stocks / 3,803 + n × (stocks / 3,803)²",
        lambda m, v: (v["m"] - v["n"]) * m.stocks / 3803 + v["n"] * (m.stocks / 3803) ** 2,
        span,
    ),
)


def tables() -> str:
    """The constants with their commands, and what follows for each market."""
    value = {constant.symbol: constant.value for constant in CONSTANTS}
    constants = [
        f"| {each.symbol} | {each.what} | {each.value:,g} {each.unit} | `python -m {each.command}` |"
        for each in CONSTANTS
    ]
    followed = [
        f"| {what} | {how} | {' | '.join(show(formula(market, value)) for market in MARKETS)} |"
        for what, how, formula, show in ROWS
    ]
    names = " | ".join(market.name for market in MARKETS)
    return "\n".join(
        [
            "| | measured on one machine of two cores | | command |",
            "|---|---|---|---|",
            *constants,
            "",
            f"| | arithmetic | {names} |",
            "|" + "---|" * (2 + len(MARKETS)),
            *followed,
        ]
    )


def with_tables(page: str) -> str:
    """A page with the tables between its marks."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    assert begin, f"expected the mark {BEGIN} on the page"
    assert end, f"expected the mark {END} on the page"
    return f"{before}{BEGIN}\n{tables()}\n{END}{after}"


def measure(stocks: int, days: int) -> Sequence[Figure]:
    """What a training step holds for each sample, at the default size and 32 features."""
    with tempfile.TemporaryDirectory(prefix="atft-bench-") as folder:
        panel = Path(folder) / "panel"
        write_panel(panel, stocks=stocks, days=days, features=FEATURES)
        keys = ["data=parquet", f"data.source={panel}", f"data.cache={folder}/cache", f"batch_size={BATCH}"]

        def say(text: str) -> None:
            print(text, file=sys.stderr)

        (answer,) = take_turns({"steps": own("training_steps", *keys)}, 1, say=say)["steps"]
    what = f"activations of a training step, MB a sample (batch of {BATCH} days × {stocks:,} stocks)"
    return [Figure.of(what, answer["memory"] / (BATCH * stocks) / 1e6, COMMAND)]


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--page", type=Path, help="put the tables between the marks of this page; measures nothing")
    parsed = parser.parse_args()
    if parsed.page is not None:
        parsed.page.write_text(with_tables(parsed.page.read_text()))
        return
    publish("scaling", measure(*((100, 120) if parsed.quick else (500, 160))), quick=parsed.quick)


if __name__ == "__main__":
    main()
