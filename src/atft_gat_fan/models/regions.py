"""Parts of the network as functions of tensors alone, run as they are or compiled.

A region is called as region(module, *tensors): nothing random happens inside, dropout masks are drawn before and come
in. What has a kernel of its own (the LSTM, the graph attention) stays outside, between the regions.
"""

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor, nn

Region = Callable[..., tuple[Tensor, ...]]
"""(module, *tensors or None) -> tensors. Days and stocks are the axes before the last, and no row sees another."""


def run_region(region: Region, module: nn.Module, *inputs: Tensor | None, compiled: bool) -> tuple[Tensor, ...]:
    """The region's tensors; `inputs` are [..., days, stocks, channels] with the same days and stocks.

    Compiled, days and stocks go in as one axis whose size is declared to vary, so that one compilation serves every
    batch. A single row is compiled apart. The module is an argument: its copies, such as an average of its weights, and
    later values of its weights run the same code.
    """
    if not compiled:
        return region(module, *inputs)
    days, stocks = next(tensor.shape[-3:-1] for tensor in inputs if tensor is not None)
    outputs = _compiled(region)(module, *(None if tensor is None else _as_rows(tensor) for tensor in inputs))
    return tuple(output.reshape(*output.shape[:-3], days, stocks, -1) for output in outputs)


def _as_rows(tensor: Tensor) -> Tensor:
    """[..., 1, days * stocks, channels]: to the region, one day of many stocks."""
    *leading, days, stocks, channels = tensor.shape
    # A view to memory, but not to autograd: of a view, the compiler would also fix the shape of what it is a view of.
    rows: Tensor = torch.ops.aten._unsafe_view(tensor.contiguous(), [*leading, 1, days * stocks, channels])
    if days * stocks > 1:
        torch._dynamo.mark_dynamic(rows, rows.dim() - 2)
    return rows


@cache
def _compiled(region: Region) -> Region:
    return torch.compile(region, fullgraph=True)
