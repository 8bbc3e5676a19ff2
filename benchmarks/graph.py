"""What the graph costs: a refresh of the neighbour lists, and graph attention beside torch_geometric's GATConv.

    python -m benchmarks.graph [--quick]

The forms of a row take turns, a repetition each. Memory is the peak of what torch allocates on top of inputs and
weights.
"""

import statistics
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from threadpoolctl import threadpool_limits
from torch import Tensor
from torch.profiler import ProfilerActivity, profile
from torch_geometric.nn import GATConv

from atft_gat_fan.config.schema import GraphConfig
from atft_gat_fan.data.correlation import PairwiseCorrelation
from atft_gat_fan.data.neighbour_lists import neighbour_lists
from atft_gat_fan.layers.graph_attention import NEGATIVE_SLOPE, GraphAttention
from atft_gat_fan.types import Neighbours
from benchmarks.measuring import Figure, Target, arguments, at_most, interleaved, median_ratio, publish, significant
from benchmarks.turns import THREADS

COMMAND = "python -m benchmarks.graph"
LOOKBACK, REFRESH, MISSING = 60, 5, 0.05
SLOTS, HIDDEN, HEADS = 16, 64, 4


def main() -> None:
    parsed = arguments(__doc__).parse_args()
    torch.set_num_threads(THREADS)
    repetitions, sizes = (3, (1000, 4000)) if parsed.quick else (9, (1000, 2000, 4000))
    rows = [refresh_cost(num_stocks, repetitions) for num_stocks in sizes]
    rows += [incremental(num_stocks) for num_stocks in sizes]
    for days, num_stocks, time, memory in ((1, 4000, at_most(0.5), at_most(0.35)), (8, 1000, None, None)):
        rows += attention(days, num_stocks, repetitions, time, memory)
    publish("graph", rows, quick=parsed.quick)


def factor_returns(num_days: int, num_stocks: int, missing: float) -> np.ndarray:
    """Ten sectors that move together, and heavy tails."""
    rng = np.random.default_rng(0)
    sector = rng.integers(0, 10, num_stocks)
    returns = 0.01 * (rng.normal(size=(num_days, 10))[:, sector] + rng.standard_t(5, (num_days, num_stocks)))
    returns[rng.random(returns.shape) < missing] = np.nan
    return returns.astype(np.float32)


def refresh_cost(num_stocks: int, repetitions: int) -> Figure:
    static, config = np.zeros(num_stocks, np.int64), GraphConfig(lookback=LOOKBACK)
    gaps, complete = (factor_returns(LOOKBACK, num_stocks, share) for share in (MISSING, 0.0))
    seconds = interleaved(
        {
            "gaps": lambda: neighbour_lists(gaps, static, config),
            "complete": lambda: neighbour_lists(complete, static, config),
        },
        repetitions,
    )
    return Figure.of(
        f"graph refresh, {num_stocks:,} stocks × {LOOKBACK} days, s",
        statistics.median(seconds["gaps"]),
        COMMAND,
        at_most(3) if num_stocks == 4000 else None,
        detail=f"{MISSING:.0%} missing; complete {significant(statistics.median(seconds['complete']))} s",
    )


class RollingMoments:
    """The alternative that was not taken: stocks x stocks sums of all pairs, kept and updated."""

    def __init__(self, returns: np.ndarray) -> None:
        self.sums = list(self._sums(returns))

    @staticmethod
    def _sums(returns: np.ndarray) -> tuple[np.ndarray, ...]:
        known = (~np.isnan(returns)).astype(np.float64)
        values = np.nan_to_num(returns.astype(np.float64))
        return known.T @ known, values.T @ known, np.square(values).T @ known, values.T @ values

    def update(self, entering: np.ndarray, leaving: np.ndarray) -> None:
        for total, added, removed in zip(self.sums, self._sums(entering), self._sums(leaving), strict=True):
            total += added
            total -= removed

    def correlation(self, rows: slice, min_periods: int) -> np.ndarray:
        common, sums, squares, products = (total[rows] for total in self.sums)
        other_sums, other_squares = (total[:, rows].T for total in self.sums[1:3])
        variation = common * squares - sums**2
        variation *= common * other_squares - other_sums**2
        with np.errstate(invalid="ignore", divide="ignore"):
            correlation = (common * products - sums * other_sums) / np.sqrt(variation)
        return np.where(common >= min_periods, correlation, np.nan)


def incremental(num_stocks: int) -> Figure:
    """All correlations from updated sums, against all from the values; a thread each, no lists made of them."""
    returns = factor_returns(LOOKBACK + REFRESH, num_stocks, MISSING)
    with threadpool_limits(1, "blas"):
        moments = RollingMoments(returns[:LOOKBACK])

        def updated() -> None:
            moments.update(returns[LOOKBACK:], returns[:REFRESH])
            for first in range(0, num_stocks, 64):
                moments.correlation(slice(first, first + 64), 40)

        def afresh() -> None:
            correlation = PairwiseCorrelation(returns[REFRESH:], np.ones(LOOKBACK), 40)
            for rows in correlation.chunks():
                correlation.rows(rows)

        seconds = interleaved({"updated": updated, "afresh": afresh}, rounds=5)
    held = sum(total.nbytes for total in moments.sums) / 2**20
    return Figure.of(
        f"all correlations afresh over from updated moments, {num_stocks:,} stocks",
        median_ratio(seconds["afresh"], seconds["updated"]),
        COMMAND,
        detail=f"{significant(statistics.median(seconds['updated']))} s updated, and {significant(held)} MiB held",
    )


def random_neighbours(days: int, num_stocks: int) -> Neighbours:
    generator = torch.Generator().manual_seed(0)
    own = torch.arange(num_stocks).view(1, -1, 1).expand(days, -1, 1)
    others = torch.randint(num_stocks, (days, num_stocks, SLOTS - 1), generator=generator)
    shape = (days, num_stocks, SLOTS)
    return Neighbours(
        torch.cat([own, others], -1),
        torch.ones(shape, dtype=torch.bool),
        torch.rand(*shape, 2, generator=generator),
    )


def gathered(layer: GraphAttention, x: Tensor, neighbours: Neighbours) -> Tensor:
    """The plain form: all neighbours' values side by side, and autograd."""
    by_head = layer.projection(x).unflatten(-1, (HEADS, -1))
    source, target = ((by_head * a).sum(-1) for a in (layer.attention_source, layer.attention_target))
    index = (neighbours.index + x.shape[1] * torch.arange(x.shape[0]).view(-1, 1, 1)).flatten()

    def take(table: Tensor) -> Tensor:
        taken = torch.nn.functional.embedding(index, table.flatten(0, 1).flatten(1))
        return taken.view(*neighbours.index.shape, *table.shape[2:])

    edge = torch.nn.functional.linear(neighbours.edge, layer.attention_edge)
    logits = torch.nn.functional.leaky_relu(take(source) + target.unsqueeze(2) + edge, NEGATIVE_SLOPE)
    alpha = logits.masked_fill(~neighbours.mask.unsqueeze(-1), float("-inf")).softmax(2)
    return (take(by_head) * alpha.unsqueeze(-1)).sum(2).flatten(-2) + layer.bias


def attention(
    days: int, num_stocks: int, repetitions: int, time_target: Target | None, memory_target: Target | None
) -> list[Figure]:
    """Forward and backward of all three, with one layer's weights; the targets are for GATConv."""
    torch.manual_seed(0)
    neighbours, layer = random_neighbours(days, num_stocks), GraphAttention(HIDDEN, HEADS, 2)
    twin = GATConv(HIDDEN, HIDDEN // HEADS, heads=HEADS, add_self_loops=False, edge_dim=2)
    with torch.no_grad():
        twin.lin.weight.copy_(layer.projection.weight)
        twin.att_src.copy_(layer.attention_source.unsqueeze(0))
        twin.att_dst.copy_(layer.attention_target.unsqueeze(0))
        twin.att_edge.zero_()[..., 0] = 1.0
        twin.lin_edge.weight.zero_().view(HEADS, -1, 2)[:, 0] = layer.attention_edge
    first = num_stocks * torch.arange(days).view(-1, 1, 1)
    own = torch.arange(num_stocks).view(1, -1, 1).expand_as(neighbours.index)
    edges = torch.stack([(neighbours.index + first).flatten(), (own + first).flatten()])
    facts = neighbours.edge.flatten(0, 2)
    x = torch.randn(days, num_stocks, HIDDEN, requires_grad=True)
    probe = torch.randn_like(x)

    def step(form: Callable[[], Tensor]) -> Callable[[], Tensor]:
        def run() -> Tensor:
            for tensor in (x, *layer.parameters(), *twin.parameters()):
                tensor.grad = None
            output = form().view_as(x)
            torch.autograd.backward(output, probe)
            return output

        return run

    forms = {
        "own": step(lambda: layer(x, neighbours)),
        "plain": step(lambda: gathered(layer, x, neighbours)),
        "pyg": step(lambda: twin(x.flatten(0, 1), edges, edge_attr=facts)),
    }
    outputs = {name: form() for name, form in forms.items()}
    for other in ("plain", "pyg"):
        torch.testing.assert_close(outputs["own"], outputs[other], rtol=1e-4, atol=1e-5)
    seconds, memory = interleaved(forms, repetitions), {name: peak_bytes(form) for name, form in forms.items()}
    size = f"{num_stocks:,} stocks × {days} days"
    rows = []
    for other, name, targets in (
        ("pyg", "GATConv", (time_target, memory_target)),
        ("plain", "the plain form", (None, None)),
    ):
        pair = [significant(statistics.median(seconds[form]) * 1e3) for form in ("own", other)]
        time = median_ratio(seconds["own"], seconds[other])
        detail = f"{pair[0]} and {pair[1]} ms"
        rows.append(Figure.of(f"graph attention over {name}, time, {size}", time, COMMAND, targets[0], detail=detail))
        detail = f"{significant(memory['own'] / 2**20)} and {significant(memory[other] / 2**20)} MiB"
        ratio = memory["own"] / memory[other]
        rows.append(
            Figure.of(f"graph attention over {name}, memory, {size}", ratio, COMMAND, targets[1], detail=detail)
        )
    return rows


def peak_bytes(form: Callable[[], Any]) -> int:
    """Most that torch held at once, beyond what it held before."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as record:
        form()
    events = [event for event in record.profiler.kineto_results.events() if event.name() == "[memory]"]
    held = np.cumsum([event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())])
    return int(held.max())


if __name__ == "__main__":
    main()
