"""A model as a file for other programs: a torch.export program or ONNX, from raw feature rows to scores.

The graph holds the normaliser, so that what goes in are feature values as the store has them, NaN where missing. Days
are scored one at a time, with any number of stocks. Everything that decides a number is in the file; how features and
neighbour lists are made of a panel is not, and stands in the description beside it in words.
"""

import copy
import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from io import BytesIO

import torch
from jaxtyping import Bool, Float, Float32, Int64
from torch import Tensor, nn

from atft_gat_fan.data.normalizer import Normalizer
from atft_gat_fan.errors import ConfigError, StorageError
from atft_gat_fan.inference.bundle import Bundle
from atft_gat_fan.inference.export_description import Format, describe
from atft_gat_fan.layers.graph_attention import GraphAttention
from atft_gat_fan.models.chunks import Chunks
from atft_gat_fan.models.network import ATFT_GAT_FAN
from atft_gat_fan.types import DayBatch, Neighbours

DESCRIPTION_KEY = "atft_gat_fan"
"""Under this name the description is inside the exported file too."""
OPSET = 20
MOST_ONNX_BYTES = 2**31 - 2**24
"""A protobuf message ends at 2 GiB."""

Inputs = dict[str, Tensor]


class ExportableNetwork(nn.Module):
    """A bundle's network with its normaliser, in operations that exporters know. Same numbers to rounding."""

    def __init__(self, bundle: Bundle) -> None:
        super().__init__()
        # A copy in one piece and not compiled: how the original is computed is not for another program.
        network = copy.deepcopy(bundle.model).cpu().eval()
        network.compiled = False
        network.chunks = Chunks()
        network.spec = replace(network.spec, gradient_checkpointing=False)
        if network.spec.gat_heads:
            network.graph = _Gathered(network.graph)  # type: ignore[assignment]
        self.network = network
        self.register_buffer("mean", torch.tensor(bundle.normalizer.mean))
        self.register_buffer("std", torch.tensor(bundle.normalizer.std))

    mean: Tensor
    std: Tensor

    def forward(
        self,
        features: Float32[Tensor, "window stocks features"],
        static: Int64[Tensor, " stocks"] | None = None,
        calendar: Float32[Tensor, "window covariates"] | None = None,
        neighbour_index: Int64[Tensor, "stocks neighbours"] | None = None,
        neighbour_mask: Bool[Tensor, "stocks neighbours"] | None = None,
        neighbour_edge: Float32[Tensor, "stocks neighbours edge_features"] | None = None,
    ) -> tuple[Float[Tensor, "stocks horizons"], ...]:
        """(scores,) or (scores, quantiles [stocks, horizons, quantiles]); inputs as `input_descriptions` has them."""
        standardised = (features.double() - self.mean) / self.std
        finite = torch.where(torch.isnan(standardised), 0.0, standardised).float()
        window, stocks, _ = features.shape
        neighbours = None
        if neighbour_index is not None and neighbour_mask is not None and neighbour_edge is not None:
            parts = (neighbour_index, neighbour_mask, neighbour_edge)
            neighbours = Neighbours(*(part.unsqueeze(0) for part in parts))
        forecast = self.network.forecast(
            DayBatch(
                features=finite,
                labels=finite.new_zeros(1, stocks, len(self.network.spec.horizons)),
                present=torch.ones(1, stocks, dtype=torch.bool),
                calendar=finite.new_zeros(window, 0) if calendar is None else calendar,
                static=torch.zeros(stocks, dtype=torch.int64) if static is None else static,
                span_dates=(0,) * window,  # seeds of dropout, of which there is none
                neighbours=neighbours,
            )
        )
        if forecast.quantiles is None:
            return (forecast.point[0],)
        return forecast.point[0], forecast.quantiles[0]


class _Gathered(nn.Module):
    """Graph attention by `GraphAttention.gathered`: exporters do not know the kernel that `forward` is made of."""

    def __init__(self, attention: GraphAttention) -> None:
        super().__init__()
        self.attention = attention

    def forward(self, x: Tensor, neighbours: Neighbours) -> Tensor:
        return self.attention.gathered(x, neighbours)


def exported_inputs(model: ATFT_GAT_FAN, normalizer: Normalizer, batch: DayBatch) -> Inputs:
    """The inputs of a day's canonical batch with raw features, by name.

    `normalizer` is aligned to the columns of the batch; what the network has no part for is not an input.
    """
    spec = model.spec
    inputs: Inputs = {"features": batch.features[..., torch.from_numpy(normalizer.kept)]}
    if spec.num_categories:
        inputs["static"] = batch.static
    if spec.num_covariates:
        inputs["calendar"] = batch.calendar
    if spec.gat_heads:
        assert batch.neighbours is not None, "a model with graph attention is given neighbours"
        graph = batch.neighbours.each(lambda tensor: tensor[0])
        inputs |= {"neighbour_index": graph.index, "neighbour_mask": graph.mask, "neighbour_edge": graph.edge}
    return inputs


def output_names(model: ATFT_GAT_FAN) -> tuple[str, ...]:
    return ("scores", "quantiles") if model.spec.quantiles else ("scores",)


def export(bundle: Bundle, inputs: Inputs, form: Format) -> bytes:
    """The bundle's network as the bytes of a file; `inputs` of any day with at least two stocks, as an example.

    Raises ConfigError where what the format needs is not installed, StorageError for a network that it cannot hold.
    """
    module = ExportableNetwork(bundle).eval()
    stocks = torch.export.Dim("stocks", min=1)
    dynamic = {name: None if name == "calendar" else {int(name == "features"): stocks} for name in inputs}
    if form == "onnx":
        _require_onnx(module)
    with torch.no_grad(), _quiet():
        program = torch.export.export(module, (), inputs, dynamic_shapes=dynamic, strict=False)
        return _as_onnx(program, bundle, inputs) if form == "onnx" else _as_torch(program, bundle)


def _require_onnx(module: nn.Module) -> None:
    nbytes = sum(tensor.numel() * tensor.element_size() for tensor in module.state_dict().values())
    if nbytes > MOST_ONNX_BYTES:
        found = f"{nbytes / 2**30:.1f} GiB"
        raise StorageError(f"expected weights of at most 2 GiB for ONNX, found {found}; use --format torch")
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            f"expected the packages that write ONNX, found no {error.name} -> pip install 'atft-gat-fan[onnx]', "
            "or use --format torch"
        ) from error


def _as_torch(program: torch.export.ExportedProgram, bundle: Bundle) -> bytes:
    content = BytesIO()
    description = json.dumps(describe(bundle, "torch"))
    torch.export.save(program, content, extra_files={DESCRIPTION_KEY: description})
    return content.getvalue()


def _as_onnx(program: torch.export.ExportedProgram, bundle: Bundle, inputs: Inputs) -> bytes:
    names = list(output_names(bundle.model))
    exported = torch.onnx.export(
        program, kwargs=inputs, output_names=names, opset_version=OPSET, dynamo=True, verbose=False
    )
    assert exported is not None, "without a file name the program comes back"
    exported.model.metadata_props[DESCRIPTION_KEY] = json.dumps(describe(bundle, "onnx"))
    content: bytes = exported.model_proto.SerializeToString()
    return content


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what the exporters say about packages and operators that have nothing to do with this network."""
    exporter = logging.getLogger("torch.onnx")
    before = exporter.level
    exporter.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        exporter.setLevel(before)
