"""What the graph costs: a refresh of the neighbour lists, and graph attention beside torch_geometric's GATConv.

    OMP_WAIT_POLICY=passive python benchmarks/graph.py [--repetitions 9] [--threads 2]

Waiting passively matters where other processes want the cores: threads that spin at the end of every operation then
measure each other, not the arithmetic.

Prints a table. The forms of a row take turns, a repetition each, and medians are compared: absolute times belong to
the machine, the ratios less so. Memory is the peak of what torch allocates on top of inputs and weights.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Mapping
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

LOOKBACK, REFRESH, MISSING = 60, 5, 0.05
SLOTS, HIDDEN, HEADS = 16, 64, 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=9)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print("| what | measured |\n|---|---|")
    for num_stocks in (1000, 2000, 4000):
        print(f"| refresh, {num_stocks} stocks x {LOOKBACK} days | {refresh_cost(num_stocks, arguments.repetitions)} |")
    for num_stocks in (1000, 2000, 4000):
        print(f"| moments updated by {REFRESH} days, {num_stocks} stocks | {incremental(num_stocks)} |")
    for days, num_stocks in ((1, 4000), (8, 1000)):
        print(
            f"| attention, {num_stocks} stocks x {days} days | {attention(days, num_stocks, arguments.repetitions)} |"
        )


def medians(forms: Mapping[str, Callable[[], object]], repetitions: int) -> dict[str, float]:
    """Seconds of each form; a first, unmeasured turn warms up."""
    seconds: dict[str, list[float]] = {name: [] for name in forms}
    for repetition in range(repetitions + 1):
        for name, form in forms.items():
            began = time.perf_counter()
            form()
            if repetition:
                seconds[name].append(time.perf_counter() - began)
    return {name: statistics.median(values) for name, values in seconds.items()}


def factor_returns(num_days: int, num_stocks: int, missing: float) -> np.ndarray:
    """Ten sectors that move together, and heavy tails."""
    rng = np.random.default_rng(0)
    sector = rng.integers(0, 10, num_stocks)
    returns = 0.01 * (rng.normal(size=(num_days, 10))[:, sector] + rng.standard_t(5, (num_days, num_stocks)))
    returns[rng.random(returns.shape) < missing] = np.nan
    return returns.astype(np.float32)


def refresh_cost(num_stocks: int, repetitions: int) -> str:
    static, config = np.zeros(num_stocks, np.int64), GraphConfig(lookback=LOOKBACK)
    gaps, complete = (factor_returns(LOOKBACK, num_stocks, share) for share in (MISSING, 0.0))
    cost = medians(
        {
            "gaps": lambda: neighbour_lists(gaps, static, config),
            "complete": lambda: neighbour_lists(complete, static, config),
        },
        repetitions,
    )
    return f"{cost['gaps']:.2f} s with {MISSING:.0%} missing, {cost['complete']:.2f} s complete"


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


def incremental(num_stocks: int) -> str:
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

        cost = medians({"updated": updated, "afresh": afresh}, repetitions=5)
    held = sum(total.nbytes for total in moments.sums) / 2**20
    return (
        f"{cost['updated']:.2f} s and {held:.0f} MiB held; afresh {cost['afresh']:.2f} s"
        f" = {cost['afresh'] / cost['updated']:.2f} x"
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


def attention(days: int, num_stocks: int, repetitions: int) -> str:
    """Forward and backward of all three, with one layer's weights."""
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
    cost, memory = medians(forms, repetitions), {name: peak_bytes(form) for name, form in forms.items()}
    return (
        ", ".join(
            f"{cost['own'] / cost[other]:.2f} x the time and {memory['own'] / memory[other]:.2f} x the memory of {name}"
            for other, name in (("pyg", "GATConv"), ("plain", "the plain form"))
        )
        + f" ({cost['own'] * 1e3:.0f} ms, {memory['own'] / 2**20:.0f} MiB)"
    )


def peak_bytes(form: Callable[[], Any]) -> int:
    """Most that torch held at once, beyond what it held before."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as record:
        form()
    events = [event for event in record.profiler.kineto_results.events() if event.name() == "[memory]"]
    held = np.cumsum([event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())])
    return int(held.max())


if __name__ == "__main__":
    main()
