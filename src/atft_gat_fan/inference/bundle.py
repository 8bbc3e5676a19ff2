"""The bundle: everything inference needs, and nothing that can execute.

`model/weights.safetensors` holds the tensors, `model/model.json` how their inputs are made and what
they were trained on. Where those weights are an EMA, `model/weights_raw.safetensors` keeps the raw ones
beside them, for comparison: inference does not need them. Loading reads numbers and names only
(safetensors and JSON, no pickle).
"""

import hashlib
import json
import platform
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter, ValidationError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from atft_gat_fan.config.plan import ModelSpec
from atft_gat_fan.config.schema import DataConfig, GraphConfig
from atft_gat_fan.data.durable_files import replace_durably, strict_json
from atft_gat_fan.data.normalizer import Normalizer
from atft_gat_fan.errors import StorageError
from atft_gat_fan.models.compiler import compiler_problem
from atft_gat_fan.models.network import ATFT_GAT_FAN

FORMAT = 1
WEIGHTS = "weights.safetensors"
RAW_WEIGHTS = "weights_raw.safetensors"
DESCRIPTION = "model.json"


@dataclass(frozen=True)
class Bundle:
    """A trained model with the recipe of its inputs.

    `data` and `graph` say how a panel becomes inputs; `normalizer` carries the training statistics
    and the feature order; `static_categories` are the category names behind the embedding rows
    (row 0: unknown); `training` is the fingerprint of the run that made it,
    `numerics` the versions and settings under which it computed.
    """

    model: ATFT_GAT_FAN
    data: DataConfig
    graph: GraphConfig
    normalizer: Normalizer
    static_categories: tuple[str, ...]
    training: dict[str, Any]
    numerics: dict[str, Any]
    fingerprint: str

    @property
    def spec(self) -> ModelSpec:
        return self.model.spec


def write_bundle(
    folder: Path,
    *,
    model: ATFT_GAT_FAN,
    data: DataConfig,
    graph: GraphConfig,
    normalizer: Normalizer,
    static_categories: tuple[str, ...],
    training: dict[str, Any],
    raw_weights: Mapping[str, Tensor] | None = None,
) -> None:
    """Write the bundle; each file appears whole or not at all, the description last.

    `model` carries the weights to use; `raw_weights` are those behind them where they are an EMA.
    Raises StorageError where the folder cannot be written.
    """
    weights = _serialise(model.state_dict())
    raw = None if raw_weights is None else _serialise(raw_weights)
    description = {
        "format": FORMAT,
        "weights_sha256": hashlib.sha256(weights).hexdigest(),
        "raw_weights_sha256": None if raw is None else hashlib.sha256(raw).hexdigest(),
        "spec": asdict(model.spec),
        "data": data.model_dump(mode="json"),
        "graph": graph.model_dump(mode="json"),
        "normalizer": normalizer.to_json(),
        "static_categories": list(static_categories),
        "training": training,
        "numerics": numerics_stamp(compiled=model.compiled),
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if raw is None:
            (folder / RAW_WEIGHTS).unlink(missing_ok=True)  # of an earlier model in the same folder
        else:
            replace_durably(folder / RAW_WEIGHTS, raw)
        replace_durably(folder / WEIGHTS, weights)
        replace_durably(folder / DESCRIPTION, strict_json(description, indent=2).encode())
    except OSError as error:
        raise StorageError(
            f"{folder}: cannot write the model: {error.strerror}; free space or choose run.dir"
        ) from error


def load_bundle(folder: Path) -> Bundle:
    """Read a bundle back. Raises StorageError naming the file that is missing, damaged or from another format."""
    description_file, weights_file = folder / DESCRIPTION, folder / WEIGHTS
    try:
        raw = description_file.read_bytes()
        weights = weights_file.read_bytes()
    except OSError as error:
        raise StorageError(
            f"{error.filename}: expected a trained model, found {error.strerror}; train first, or name a finished run"
        ) from error
    try:
        description = json.loads(raw)
        if description["format"] != FORMAT:
            raise StorageError(
                f"{description_file}: expected model format {FORMAT}, found {description['format']}; "
                "use the release that wrote it"
            )
        if hashlib.sha256(weights).hexdigest() != description["weights_sha256"]:
            raise StorageError(
                f"{weights_file}: the weights do not match {DESCRIPTION}; the file is damaged, restore it"
            )
        model = ATFT_GAT_FAN(TypeAdapter(ModelSpec).validate_python(description["spec"]))
        model.load_state_dict(load_tensors(weights))
        return Bundle(
            model=model.eval(),
            data=DataConfig.model_validate(description["data"]),
            graph=GraphConfig.model_validate(description["graph"]),
            normalizer=Normalizer.from_json(description["normalizer"]),
            static_categories=tuple(description["static_categories"]),
            training=description["training"],
            numerics=description["numerics"],
            fingerprint=hashlib.sha256(raw).hexdigest()[:16],
        )
    except (ValueError, KeyError, TypeError, RuntimeError, ValidationError) as error:
        raise StorageError(
            f"{description_file}: expected a model description, found {error}; restore the file"
        ) from error


def apply_numerics(bundle: Bundle, warn: Callable[[str], None]) -> None:
    """Let the bundle's model compute as the one that was evaluated, compiled if that was.

    Where this machine cannot compile, `warn` says so and the scores differ by rounding.
    """
    if not bundle.numerics["compiled"]:
        return
    problem = compiler_problem()
    if problem is None:
        bundle.model.compiled = True
    else:
        warn(
            f"the model was trained with torch.compile, which does not work here ({problem}): its scores will differ "
            "from the evaluation's by rounding; install g++ for the same bits"
        )


def _serialise(tensors: Mapping[str, Tensor]) -> bytes:
    return save_tensors({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()})


def numerics_stamp(*, compiled: bool) -> dict[str, Any]:
    """Versions and settings under which bits are comparable; `compiled`: by torch.compile."""
    return {
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "machine": platform.machine(),
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "dtype": "float32",
        "compiled": compiled,
    }
