"""What is left to look at when a training cannot go on because its numbers are no longer finite.

`debug/` in the run's folder: `batch_<i>.safetensors` (the last step's inputs, as the network saw them),
`weights.safetensors` (as they were then) and `debug.json` (days, loss, gradient norms, learning rate, and which module
was the first to give something that is not finite).
"""

import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from atft_gat_fan.data.durable_files import strict_json, write_durably
from atft_gat_fan.models.network import ATFT_GAT_FAN
from atft_gat_fan.types import DayBatch, RandomKey

FOLDER = "debug"


def write_debug_bundle(
    folder: Path, model: ATFT_GAT_FAN, batches: Iterable[DayBatch], key: RandomKey, facts: dict[str, Any]
) -> Path:
    """Write the bundle below `folder` in place of an earlier one. `batches` are on the model's device, normalised, and
    may be valid one at a time only.

    The step is computed once more, forward only, to find where its numbers stop being finite. Raises OSError.
    """
    target = folder / FOLDER
    if target.exists():
        shutil.rmtree(target)
    target.mkdir(parents=True)
    write_durably(target / "weights.safetensors", _serialise(model.state_dict()))
    described = []
    for number, batch in enumerate(batches):
        write_durably(target / f"batch_{number}.safetensors", _serialise(_tensors(batch)))
        described.append(
            {
                "days": [str(np.datetime64(date, "D")) for date in batch.dates],
                "not_finite": _not_finite(_tensors(batch)),
                "first_module_not_finite": _first_not_finite(model, batch, key),
            }
        )
    report = {**facts, "weights_not_finite": _not_finite(model.state_dict()), "batches": described}
    write_durably(target / "debug.json", strict_json(report, indent=2).encode())
    return target


def _tensors(batch: DayBatch) -> dict[str, Tensor]:
    tensors = {
        "features": batch.features,
        "labels": batch.labels,
        "present": batch.present,
        "calendar": batch.calendar,
        "static": batch.static,
    }
    if batch.neighbours is not None:
        tensors |= {f"neighbours.{name}": getattr(batch.neighbours, name) for name in ("index", "mask", "edge")}
    return tensors


def _serialise(tensors: dict[str, Tensor]) -> bytes:
    # Cloned: safetensors refuses tensors that share memory, and views of a batch may.
    return save_tensors({name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()})


def _not_finite(tensors: dict[str, Tensor]) -> dict[str, int]:
    """How many values are NaN or infinite, by tensor; NaN labels are unknown ones and do not count."""
    counts = {
        name: int((torch.isinf(tensor) if name == "labels" else ~torch.isfinite(tensor)).sum())
        for name, tensor in tensors.items()
        if tensor.is_floating_point()
    }
    return {name: count for name, count in counts.items() if count}


def _first_not_finite(model: ATFT_GAT_FAN, batch: DayBatch, key: RandomKey) -> str | None:
    """The first module of the forward pass whose output is not finite; None where it is the loss or a gradient."""
    found: list[str] = []

    def look_at(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            if not found and not all(bool(torch.isfinite(tensor).all()) for tensor in _floats(output)):
                found.append(name)

        return hook

    with _plain(model), torch.no_grad():
        handles = [module.register_forward_hook(look_at(name)) for name, module in model.named_modules() if name]
        try:
            model.forecast(batch, key)
        finally:
            for handle in handles:
                handle.remove()
    return found[0] if found else None


@contextmanager
def _plain(model: ATFT_GAT_FAN) -> Iterator[None]:
    """Not compiled: hooks would not be called inside."""
    compiled = model.compiled
    model.compiled = False
    try:
        yield
    finally:
        model.compiled = compiled


def _floats(output: Any) -> Iterator[Tensor]:
    if isinstance(output, Tensor):
        if output.is_floating_point():
            yield output
    elif isinstance(output, list | tuple):
        for item in output:
            yield from _floats(item)
