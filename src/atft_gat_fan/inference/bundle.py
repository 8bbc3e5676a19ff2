"""The bundle: everything inference needs, and nothing that can execute.

`model/weights.safetensors` holds the tensors, `model/model.json` how their inputs are made and what
they were trained on. Where those weights are an EMA, `model/weights_raw.safetensors` keeps the raw ones
beside them, for comparison: inference does not need them. Where LightGBM is blended in, `inference.blend_files` says
what lies beside them. Loading reads numbers and names only (safetensors, JSON and the texts of trees, no pickle).
"""

import hashlib
import json
import platform
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from atft_gat_fan.config.plan import ModelSpec
from atft_gat_fan.config.schema import DataConfig, GraphConfig
from atft_gat_fan.data.durable_files import replace_durably, sealed
from atft_gat_fan.data.normalizer import Normalizer
from atft_gat_fan.errors import ConfigError, StorageError
from atft_gat_fan.inference.blend import Blend
from atft_gat_fan.inference.blend_files import read_blend, write_blend
from atft_gat_fan.inference.weights_file import read_weights
from atft_gat_fan.models.chunks import Chunks
from atft_gat_fan.models.network import ATFT_GAT_FAN
from atft_gat_fan.models.onednn import use_onednn
from atft_gat_fan.models.spec import require_configurable
from atft_gat_fan.untrusted import parse_json, read_plain

FORMAT = 2
WEIGHTS = "weights.safetensors"
RAW_WEIGHTS = "weights_raw.safetensors"
DESCRIPTION = "model.json"
MOST_DESCRIPTION_BYTES = 1 << 24
MOST_COVARIATES = 64
KEYS = {
    "format", "weights_sha256", "raw_weights_sha256", "spec", "data", "graph", "normalizer", "static_categories",
    "training", "numerics", "blend_sha256", "sha256",
}  # fmt: skip


@dataclass(frozen=True)
class Bundle:
    """A trained model with the recipe of its inputs.

    `data` and `graph` say how a panel becomes inputs; `normalizer` carries the training statistics
    and the feature order; `static_categories` are the category names behind the embedding rows
    (row 0: unknown); `training` is the fingerprint of the run that made it,
    `numerics` the versions and settings under which it computed. With a `blend` the model's scores are those of the
    network and LightGBM together; None: of the network alone.
    """

    model: ATFT_GAT_FAN
    data: DataConfig
    graph: GraphConfig
    normalizer: Normalizer
    static_categories: tuple[str, ...]
    training: dict[str, Any]
    numerics: dict[str, Any]
    fingerprint: str
    blend: Blend | None = None

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
    blend: Blend | None = None,
) -> None:
    """Write the bundle; each file appears whole or not at all, the description last.

    `model` carries the weights to use; `raw_weights` are those behind them where they are an EMA; `blend` is LightGBM's
    part of the model.
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
        "numerics": numerics_stamp(model),
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        blend_sha256 = write_blend(folder, blend)
        if blend_sha256 is not None:
            description["blend_sha256"] = blend_sha256
        if raw is None:
            (folder / RAW_WEIGHTS).unlink(missing_ok=True)  # of an earlier model in the same folder
        else:
            replace_durably(folder / RAW_WEIGHTS, raw)
        replace_durably(folder / WEIGHTS, weights)
        replace_durably(folder / DESCRIPTION, json.dumps(sealed(description), indent=2).encode())
    except OSError as error:
        raise StorageError(
            f"{folder}: cannot write the model: {error.strerror}; free space or choose run.dir"
        ) from error


def load_bundle(folder: Path) -> Bundle:
    """Read a bundle back. Whatever it says is checked before anything of the size that it says is made.

    Raises StorageError naming the file that is missing, damaged, of another format, or says what cannot be;
    MemoryLimitError where this machine cannot hold the model.
    """
    description_file, weights_file = folder / DESCRIPTION, folder / WEIGHTS
    try:
        raw = read_plain(description_file, MOST_DESCRIPTION_BYTES)
        parts = _described(description_file, raw)
        weights = read_weights(weights_file, parts.tensors)
    except OSError as error:
        raise StorageError(
            f"{error.filename}: expected a trained model, found {error.strerror}; train first, or name a finished run"
        ) from error
    if hashlib.sha256(weights).hexdigest() != parts.weights_sha256:
        raise StorageError(f"{weights_file}: the weights do not match {DESCRIPTION}; the file is damaged, restore it")
    tensors = load_tensors(weights)
    if unknown := [name for name, tensor in tensors.items() if not bool(torch.isfinite(tensor).all())]:
        raise StorageError(
            f"{weights_file}: expected finite weights, found NaN or infinity in {unknown[0]}; restore the file"
        )
    model = ATFT_GAT_FAN(parts.spec)
    model.load_state_dict(tensors)
    return Bundle(
        model=model.eval(),
        data=parts.data,
        graph=parts.graph,
        normalizer=parts.normalizer,
        static_categories=parts.static_categories,
        training=parts.training,
        numerics=parts.numerics,
        fingerprint=hashlib.sha256(raw).hexdigest()[:16],
        blend=parts.blend_in(folder),
    )


class _Chunks(BaseModel):
    """`models.chunks.Chunks`."""

    model_config = ConfigDict(extra="forbid")

    stocks: Annotated[int, Field(ge=1)] | None = None
    by_day: bool = False
    queries: Annotated[int, Field(ge=1)] | None = None


class _Numerics(BaseModel):
    """What of `numerics` is used; the rest is for people."""

    model_config = ConfigDict(extra="allow")

    threads: Annotated[int, Field(ge=1, le=4096)]
    onednn: bool
    chunks: _Chunks


@dataclass(frozen=True)
class _Description:
    """model.json, checked: its parts agree with each other, and a configuration could ask for the network."""

    weights_sha256: str
    spec: ModelSpec
    data: DataConfig
    graph: GraphConfig
    normalizer: Normalizer
    static_categories: tuple[str, ...]
    training: dict[str, Any]
    numerics: dict[str, Any]
    blend_sha256: str | None

    def __post_init__(self) -> None:
        spec = self.spec
        require_configurable(spec)
        # The network is as large as these numbers say, and so these must be true.
        for key, said, found in (
            ("spec.num_features", spec.num_features, len(self.normalizer.feature_names)),
            ("spec.num_categories", spec.num_categories, len(self.static_categories)),
            ("spec.window", spec.window, self.data.window),
            ("spec.horizons", spec.horizons, self.data.horizons),
        ):
            if said != found:
                raise ValueError(f"{key} {said}, where the other keys have {found}")
        if not 0 <= spec.num_covariates <= MOST_COVARIATES:
            raise ValueError(f"spec.num_covariates {spec.num_covariates}, where {MOST_COVARIATES} are the most")
        assert self.tensors, "a network has weights"

    @cached_property
    def tensors(self) -> dict[str, Tensor]:
        """Those of the network, in shape only. Raises ConfigError where the spec contradicts itself."""
        with torch.device("meta"):
            return ATFT_GAT_FAN(self.spec).state_dict()

    def blend_in(self, folder: Path) -> Blend | None:
        """The blend that the description names. Raises StorageError."""
        if self.blend_sha256 is None:
            return None
        return read_blend(folder, self.blend_sha256, self.spec.horizons, self.spec.num_features)


def _described(file: Path, raw: bytes) -> _Description:
    """Raises StorageError, naming the file and what of it cannot be."""
    try:
        body = parse_json(raw)
        if body["format"] != FORMAT:
            raise StorageError(
                f"{file}: expected model format {FORMAT}, found {body['format']!r:.80}; use the release that wrote it"
            )
        # Bundles from before there was a checksum have no such key.
        if unknown := body.keys() - KEYS:
            raise ValueError(f"unknown keys {', '.join(sorted(unknown))[:80]}")
        if "sha256" in body and body != sealed(body):
            raise ValueError("something else than its checksum is of")
        if unknown := body["spec"].keys() - {field.name for field in fields(ModelSpec)}:
            raise ValueError(f"spec has unknown keys {', '.join(sorted(unknown))[:80]}")
        return _Description(
            weights_sha256=body["weights_sha256"],
            # From JSON, which is the strict mode of pydantic that still takes lists for tuples.
            spec=TypeAdapter(ModelSpec).validate_json(json.dumps(body["spec"]), strict=True),
            data=DataConfig.model_validate_json(json.dumps(body["data"]), strict=True),
            graph=GraphConfig.model_validate_json(json.dumps(body["graph"]), strict=True),
            normalizer=Normalizer.from_json(body["normalizer"]),
            static_categories=TypeAdapter(tuple[str, ...]).validate_json(json.dumps(body["static_categories"])),
            training=dict(body["training"]),
            numerics=_Numerics.model_validate(body["numerics"], strict=True).model_dump(),
            blend_sha256=TypeAdapter(str).validate_python(body["blend_sha256"], strict=True)
            if "blend_sha256" in body
            else None,
        )
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, ConfigError) as error:
        raise StorageError(f"{file}: expected a model description, found {_reason(error)}; restore the file") from error


def _reason(error: Exception) -> str:
    if isinstance(error, ValidationError):
        problem = error.errors(include_url=False)[0]
        return f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}, {problem['input']!r:.80}"
    return f"no {error}" if isinstance(error, KeyError) else str(error)


def apply_numerics(bundle: Bundle, warn: Callable[[str], None]) -> None:
    """Let the bundle's model compute as the one that was evaluated: in the same pieces, with or without oneDNN.

    Where this machine or its libraries are others, `warn` says so: the scores may differ by rounding.
    """
    bundle.model.chunks = Chunks(**bundle.numerics["chunks"])
    use_onednn(bundle.numerics["onednn"])  # also on again, after another model
    here = _machine()
    others = [
        f"{key} {there} there, {here[key]} here" for key in here if (there := bundle.numerics.get(key)) != here[key]
    ]
    if others:
        warn(
            f"the model was evaluated elsewhere ({', '.join(others)}): its scores may differ from the evaluation's by "
            "rounding"
        )


def _serialise(tensors: Mapping[str, Tensor]) -> bytes:
    return save_tensors({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()})


def numerics_stamp(model: ATFT_GAT_FAN) -> dict[str, Any]:
    """Versions and settings under which bits are comparable: of this process, and how the model computes.

    `compiled` is how it was trained: scoring compiles nothing.
    """
    return {
        **_machine(),
        "threads": torch.get_num_threads(),
        "onednn": torch.backends.mkldnn.enabled,
        "dtype": "float32",
        "compiled": model.compiled,
        "chunks": asdict(model.chunks),
    }


def _machine() -> dict[str, str]:
    """What bits depend on that nobody chooses here."""
    return {
        "torch": torch.__version__,
        "machine": platform.machine(),
        "cpu": torch.backends.cpu.get_cpu_capability(),
    }
