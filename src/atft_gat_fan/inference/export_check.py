"""Does an exported file give what `predict` gives? It is run on real days, and the difference is measured."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from io import BytesIO
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64
from numpy.typing import NDArray

from atft_gat_fan.data.batches import DayBatches
from atft_gat_fan.data.normalizer import Normalizer
from atft_gat_fan.inference.export import Inputs, exported_inputs
from atft_gat_fan.inference.export_description import Format
from atft_gat_fan.inference.inside import look_inside
from atft_gat_fan.models.network import ATFT_GAT_FAN

TOLERANCE = 1e-5
"""Of the difference, relative to the root mean square of the day's scores at the same horizon."""

Runner = Callable[[Inputs], Sequence[NDArray[Any]]]


@dataclass(frozen=True)
class Parity:
    """One day: the largest relative difference over the stocks that rounding cannot push to another frequency.

    `near_ties` counts the others: frequency adaptive normalisation takes the strongest frequency, and where two are
    equally strong to rounding, another program may take the other. Their difference is `at_near_ties`, None without
    any. Where all stocks are such, none is left out.
    """

    date: str
    stocks: int
    near_ties: int
    difference: float
    at_near_ties: float | None

    @property
    def compared(self) -> int:
        """Stocks that `difference` is over."""
        return self.stocks - self.near_ties or self.stocks

    @property
    def holds(self) -> bool:
        return self.difference <= TOLERANCE


def runner(content: bytes, form: Format) -> Runner | None:
    """Runs an exported file; None where nothing that could is installed.

    Loading a .pt2 file is for files of one's own making: torch gives no promise about those of others.
    """
    if form == "torch":
        module = torch.export.load(BytesIO(content)).module()

        def run_torch(inputs: Inputs) -> Sequence[NDArray[Any]]:
            with torch.inference_mode():
                return [output.numpy() for output in module(**inputs)]

        return run_torch
    if find_spec("onnxruntime") is None:
        return None
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])

    def run_onnx(inputs: Inputs) -> Sequence[NDArray[Any]]:
        outputs: Sequence[NDArray[Any]] = session.run(None, {name: value.numpy() for name, value in inputs.items()})
        return outputs

    return run_onnx


def parity(
    run: Runner,
    model: ATFT_GAT_FAN,
    normalizer: Normalizer,
    batches: DayBatches,
    days: Int64[NDArray[np.int64], " days"],
) -> list[Parity]:
    """Compare with the model itself on `days` (panel positions); raw features are of `normalizer`'s input columns."""
    return [_day(run, model, normalizer, batches, day) for day in days.tolist()]


def _day(run: Runner, model: ATFT_GAT_FAN, normalizer: Normalizer, batches: DayBatches, day: int) -> Parity:
    raw = batches.canonical(day)
    # Before the normalised features are put in the one buffer that they share.
    inputs = {name: tensor.contiguous() for name, tensor in exported_inputs(model, normalizer, raw).items()}
    inside = look_inside(model, batches.to_device(raw, torch.device("cpu")))
    forecast, ties = inside.forecast, inside.near_ties.numpy()
    expected = [part[0].double().numpy() for part in (forecast.point, forecast.quantiles) if part is not None]
    scale = np.maximum(np.sqrt(np.square(expected[0]).mean(axis=0)), np.finfo(np.float32).tiny)
    apart = np.zeros(len(ties))
    for found, wanted in zip(run(inputs), expected, strict=True):
        relative = np.abs(found - wanted) / scale.reshape(-1, *[1] * (wanted.ndim - 2))
        apart = np.maximum(apart, relative.reshape(len(ties), -1).max(axis=1))
    return Parity(
        date=str(batches.store.days[day]),
        stocks=len(ties),
        near_ties=int(ties.sum()),
        difference=float(apart.max() if ties.all() else apart[~ties].max()),
        at_near_ties=float(apart[ties].max()) if ties.any() else None,
    )
