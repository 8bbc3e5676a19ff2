"""Floating-point operations of the network, counted from shapes.

Matrix products only, 2 m n k each; what is element-wise (activations, norms, softmax, the gathering of neighbours,
dropout, loss, optimizer) is left out, so a share of the machine's peak made from these is an understatement.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from atft_gat_fan.config.plan import ModelSpec
from atft_gat_fan.layers.frequency_adaptive_norm import NUM_TIME_FEATURES
from atft_gat_fan.layers.polynomial_expansion import NUM_TERMS
from atft_gat_fan.types import NUM_EDGE_FEATURES


@dataclass(frozen=True)
class Flops:
    """Operations per stock-window by part of the network; `training` is forward and backward pass together."""

    forward: dict[str, float]
    training: dict[str, float]

    @property
    def per_trained_sample(self) -> float:
        return sum(self.training.values())


@dataclass(frozen=True)
class _Product:
    part: str
    multiplications: int
    gradients: int = 2
    """Operands that get one, each for another product of the same size."""


def flops(spec: ModelSpec, *, days: int, stocks: int, neighbours: int) -> Flops:
    """For batches of `days` consecutive days, which share what is computed once per stock-day, of `stocks` each.

    `neighbours` are the slots of a neighbour list (K). Nothing is recomputed (`gradient_checkpointing` off).
    """
    forward: dict[str, float] = {}
    training: dict[str, float] = {}
    for product in _products(spec, days, stocks, neighbours):
        operations = 2 * product.multiplications / (days * stocks)
        forward[product.part] = forward.get(product.part, 0.0) + operations
        training[product.part] = training.get(product.part, 0.0) + (1 + product.gradients) * operations
    return Flops(forward, training)


def _products(spec: ModelSpec, days: int, stocks: int, neighbours: int) -> Iterator[_Product]:
    size, windows = spec.hidden_size, days * stocks
    gate = windows * size * 2 * size
    span = days + spec.window - 1 if spec.reads_window else days
    yield from _variable_selection(spec, span, stocks)
    yield from _temporal(spec, days, span, stocks)
    if spec.same_day_skip:
        yield _Product("same-day skip", gate)
    if spec.gat_heads:
        yield _Product("graph attention", windows * size * size)
        yield _Product("graph attention", windows * neighbours * NUM_EDGE_FEATURES * spec.gat_heads, gradients=1)
        yield _Product("graph attention", gate)
    outputs = len(spec.horizons) * max(len(spec.quantiles), 1)
    yield _Product("heads", windows * size * outputs)


def _variable_selection(spec: ModelSpec, span: int, stocks: int) -> Iterator[_Product]:
    part, size, small, variables, rows = (
        "variable selection", spec.hidden_size, spec.variable_size, spec.num_features, span * stocks,
    )  # fmt: skip
    if spec.num_covariates:
        yield _Product(part, span * spec.num_covariates * size, gradients=1)
    if spec.num_covariates or spec.num_categories:
        context_rows = (span if spec.num_covariates else 1) * (stocks if spec.num_categories else 1)
        yield _Product(part, context_rows * size * size)
    terms = NUM_TERMS if spec.input_expansion == "polynomial" else 1
    for width in (size, variables):  # scale and offset of the embedding folded into the first layer, then into its skip
        yield _Product(part, (terms + 1) * variables * width * small)
        # The bent terms are functions of the inputs, which need no gradient.
        yield _Product(part, rows * variables * terms * width, gradients=1)
    yield _Product(part, rows * size * size)
    yield _Product(part, rows * size * 2 * variables)
    yield _Product(part, (terms + 1) * variables * small * small)  # and into the first layer of each variable's network
    if terms > 1:
        for _ in ("embedding", "first layer"):
            yield _Product(part, variables * rows * terms * small, gradients=1)
    yield _Product(part, variables * (small + 1) * small * 2 * small)  # the layer before the gate folded into it
    yield _Product(part, variables * rows * small * 2 * small)
    yield _Product(part, rows * small * size)


def _temporal(spec: ModelSpec, days: int, span: int, stocks: int) -> Iterator[_Product]:
    size, windows = spec.hidden_size, days * stocks
    length = spec.window if spec.reads_window else 1
    gate = windows * size * 2 * size
    block = spec.blockwise and days > 1
    # Rows of the LSTM and its skip: of every day of every window, or of every day of the block.
    steps = span * stocks if block else length * windows
    if spec.fan_top_k:
        spectrum = 2 * (length // 2 + 1) * length * windows * size
        yield _Product("frequency adaptive normalisation", spectrum, gradients=1)
        yield _Product("frequency adaptive normalisation", spectrum, gradients=1)
        yield _Product("frequency adaptive normalisation", NUM_TIME_FEATURES * length * windows * size)
        yield _Product("frequency adaptive normalisation", windows * NUM_TIME_FEATURES * size * size)
        yield _Product("frequency adaptive normalisation", gate)
    if spec.num_categories and spec.lstm_layers:
        yield _Product("lstm", stocks * size * 2 * spec.lstm_layers * size)
    if spec.lstm_layers:
        yield _Product("lstm", spec.lstm_layers * steps * 4 * size * 2 * size)
        yield _Product("lstm skip", steps * size * 2 * size)
    if spec.num_heads:
        yield from _attention(spec, windows, span if block else length)
        yield _Product("temporal attention", gate)
    for _ in ("input", "hidden"):
        yield _Product("output network", windows * size * size)
    yield _Product("output network", gate)


def _attention(spec: ModelSpec, windows: int, keys: int) -> Iterator[_Product]:
    """`keys` are the days that each query is multiplied with: those of its window, or of the whole block."""
    part, size, heads = "temporal attention", spec.hidden_size, spec.num_heads
    for _ in ("query", "probes"):
        yield _Product(part, windows * size * size)
    yield _Product(part, windows * keys * size * heads)
    yield _Product(part, windows * keys * size)
    for _ in ("value", "output"):
        yield _Product(part, windows * size * (size // heads))
