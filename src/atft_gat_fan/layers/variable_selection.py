"""Variable selection network. Lim et al. 2021 (TFT), eq. 6-8."""

from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from atft_gat_fan.layers.gated_residual_network import Dropout, GatedResidualNetwork, GroupedGRN


class VariableSelection(nn.Module):
    """Weighs the variables of each stock-day and mixes them into one hidden vector.

    Each variable x_j is embedded as e_j = x_j w_j + b_j of width `variable_size` (with `num_terms` C > 1, which are
    functions of the one variable, as their sum x_j1 w_j1 + ... + x_jC w_jC + b_j) and processed by its own small gated
    residual network; the weights are softmax(GRN([e_1 ... e_F], context)), and the mix is projected to `hidden_size`.
    Inputs must be finite (missing = 0, the training mean). Dropout, where given,
    acts in the network that makes the weights: zeros in the output would be impulses to whatever takes
    frequencies out of it. The calculation is row by row: nothing is shared between days or stocks.
    """

    no_decay: ClassVar[frozenset[str]] = frozenset({"embedding_bias"})

    def __init__(
        self, num_variables: int, variable_size: int, hidden_size: int, context_size: int = 0, num_terms: int = 1
    ) -> None:
        super().__init__()
        self.num_terms = num_terms
        terms = () if num_terms == 1 else (num_terms,)
        self.embedding_weight = nn.Parameter(torch.empty(num_variables, *terms, variable_size).uniform_(-1, 1))
        self.embedding_bias = nn.Parameter(torch.zeros(num_variables, variable_size))
        self.variables = GroupedGRN(num_variables, variable_size)
        self.selection = GatedResidualNetwork(num_variables * variable_size, hidden_size, num_variables, context_size)
        self.output = nn.Linear(variable_size, hidden_size)

    def forward(
        self,
        x: Float[Tensor, "span stocks features *terms"],
        context: Float[Tensor, "#span #stocks context"] | None = None,
        dropout: Dropout | None = None,
    ) -> tuple[Float[Tensor, "span stocks hidden"], Float[Tensor, "span stocks features"]]:
        """The mixed variables and the selection weights (non-negative, sum 1).

        `x` has an axis of terms where there are more than one of each variable.
        """
        weights = torch.softmax(self._selection_logits(x, context, dropout), dim=-1)
        networks, offset = self.variables, self.embedding_bias.unsqueeze(1)
        # The input layer of each variable's network is affine in x as the embedding itself: no product of every row
        # with a matrix, the few terms aside.
        projected_offset = torch.baddbmm(networks.input_bias.unsqueeze(1), offset, networks.input_weight)
        if self.num_terms == 1:
            by_variable = x.flatten(0, 1).t().contiguous().unsqueeze(-1)
            scale = self.embedding_weight.unsqueeze(1)
            embedded = torch.addcmul(offset, by_variable, scale)
            projected = torch.addcmul(projected_offset, by_variable, torch.bmm(scale, networks.input_weight))
        else:
            by_variable, scale = x.flatten(0, 1).transpose(0, 1).contiguous(), self.embedding_weight
            embedded = torch.baddbmm(offset, by_variable, scale)
            projected = torch.baddbmm(projected_offset, by_variable, torch.bmm(scale, networks.input_weight))
        processed = networks(embedded, projected)
        mixed = (processed * weights.flatten(0, 1).t().unsqueeze(-1)).sum(0)
        hidden: Tensor = self.output(mixed)
        return hidden.view(*x.shape[:2], -1), weights

    def _selection_logits(self, x: Tensor, context: Tensor | None, dropout: Dropout | None) -> Tensor:
        assert self.selection.skip is not None, "variables of width 1 would need no projection to skip"
        return self.selection.from_projections(
            self._project_embeddings(self.selection.input, x),
            self._project_embeddings(self.selection.skip, x),
            context,
            dropout,
        )

    def _project_embeddings(self, linear: nn.Linear, x: Tensor) -> Tensor:
        """`linear` of the flattened embeddings.

        They are affine in x, so the embedding is folded into the weight: the same function,
        `variable_size` times cheaper, and [span * stocks, features * variable_size] never exists.
        """
        weight = linear.weight.view(-1, *self.embedding_bias.shape)
        if self.num_terms == 1:
            scale = torch.einsum("ofv,fv->of", weight, self.embedding_weight)
        else:
            scale, x = torch.einsum("ofv,fcv->ofc", weight, self.embedding_weight).flatten(1), x.flatten(-2)
        return functional.linear(x, scale, functional.linear(self.embedding_bias.flatten(), linear.weight, linear.bias))
