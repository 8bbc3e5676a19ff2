"""Gated linear unit, gated skip connection and gated residual network. Lim et al. 2021 (TFT), eq. 2-5."""

from collections.abc import Callable
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

Dropout = Callable[[Tensor], Tensor]


class GatedLinearUnit(nn.Module):
    """(W5 x + b5) * sigmoid(W4 x + b4): lets the network switch a whole branch off. Lim et al. 2021, eq. 5."""

    no_decay: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, input_size: int, output_size: int) -> None:
        super().__init__()
        self.linear = nn.Linear(input_size, 2 * output_size)

    def forward(self, x: Float[Tensor, "*batch inputs"]) -> Float[Tensor, "*batch outputs"]:
        return functional.glu(self.linear(x), dim=-1)


class GatedSkip(nn.Module):
    """LayerNorm(skip + GLU(x)). Lim et al. 2021, eq. 2."""

    no_decay: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, input_size: int, output_size: int) -> None:
        super().__init__()
        self.gate = GatedLinearUnit(input_size, output_size)
        self.norm = nn.LayerNorm(output_size)

    def forward(
        self, x: Float[Tensor, "*batch inputs"], skip: Float[Tensor, "*batch outputs"]
    ) -> Float[Tensor, "*batch outputs"]:
        normed: Tensor = self.norm(skip + self.gate(x))
        return normed


class GatedResidualNetwork(nn.Module):
    """LayerNorm(skip(x) + GLU(W1 ELU(W2 x + W3 context + b2) + b1)). Lim et al. 2021, eq. 2-4.

    `skip` is the identity where input and output have one width, else a linear map. Dropout, where
    given, acts before the gate.
    """

    no_decay: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, input_size: int, hidden_size: int, output_size: int, context_size: int = 0) -> None:
        super().__init__()
        self.input = nn.Linear(input_size, hidden_size)
        self.context = nn.Linear(context_size, hidden_size, bias=False) if context_size else None
        self.hidden = nn.Linear(hidden_size, hidden_size)
        self.output = GatedSkip(hidden_size, output_size)
        self.skip = nn.Linear(input_size, output_size) if input_size != output_size else None

    def forward(
        self,
        x: Float[Tensor, "*batch inputs"],
        context: Float[Tensor, "*#batch context"] | None = None,
        dropout: Dropout | None = None,
    ) -> Float[Tensor, "*batch outputs"]:
        return self.from_projections(self.input(x), x if self.skip is None else self.skip(x), context, dropout)

    def from_projections(
        self,
        projected: Float[Tensor, "*batch hidden"],
        skip: Float[Tensor, "*batch outputs"],
        context: Float[Tensor, "*#batch context"] | None = None,
        dropout: Dropout | None = None,
    ) -> Float[Tensor, "*batch outputs"]:
        """The network from W2 x + b2 and skip(x), for callers with a cheaper way to those two than x itself."""
        assert (context is None) == (self.context is None), "context given but not declared, or declared but not given"
        if self.context is not None:
            projected = projected + self.context(context)
        hidden = self.hidden(functional.elu(projected))
        result: Tensor = self.output(hidden if dropout is None else dropout(hidden), skip)
        return result


class GroupedGRN(nn.Module):
    """One small gated residual network per variable, all of them in a few kernels and no loop.

    Variables come first, so that every matrix product is one contiguous batched product with
    weights [variables, size, size]. No context, no dropout.
    """

    no_decay: ClassVar[frozenset[str]] = frozenset(
        {"input_bias", "hidden_bias", "gate_bias", "norm_weight", "norm_bias"}
    )

    def __init__(self, num_variables: int, size: int) -> None:
        super().__init__()
        self.size = size
        self.input_weight = nn.Parameter(torch.empty(num_variables, size, size))
        self.input_bias = nn.Parameter(torch.empty(num_variables, size))
        self.hidden_weight = nn.Parameter(torch.empty(num_variables, size, size))
        self.hidden_bias = nn.Parameter(torch.empty(num_variables, size))
        self.gate_weight = nn.Parameter(torch.empty(num_variables, size, 2 * size))
        self.gate_bias = nn.Parameter(torch.empty(num_variables, 2 * size))
        self.norm_weight = nn.Parameter(torch.ones(num_variables, size))
        self.norm_bias = nn.Parameter(torch.zeros(num_variables, size))
        bound = size**-0.5  # that of nn.Linear
        for name, parameter in self.named_parameters():
            if not name.startswith("norm"):
                nn.init.uniform_(parameter, -bound, bound)

    def forward(
        self, x: Float[Tensor, "variables rows size"], projected: Float[Tensor, "variables rows size"]
    ) -> Float[Tensor, "variables rows size"]:
        """`projected` is W2 x + b2 (`input_weight`, `input_bias`), to which the caller has a cheaper way than x."""
        hidden = functional.elu(projected)
        # Nothing stands between W1 and the gate, so they are multiplied once instead of applied to every row.
        gate_weight = torch.bmm(self.hidden_weight, self.gate_weight)
        gate_bias = torch.baddbmm(self.gate_bias.unsqueeze(1), self.hidden_bias.unsqueeze(1), self.gate_weight)
        gated = x + functional.glu(torch.baddbmm(gate_bias, hidden, gate_weight), dim=-1)
        normed = functional.layer_norm(gated, (self.size,))
        return torch.addcmul(self.norm_bias.unsqueeze(1), normed, self.norm_weight.unsqueeze(1))
