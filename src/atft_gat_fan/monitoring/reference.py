"""The reference of a model: its validation days, kept in the bundle as `reference.json` and `reference.safetensors`.

No values are kept, but each day's histograms, so that thresholds for any window and rate can be calibrated by
resampling days. Reading it back reads numbers and names only, checked before they are used.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays

from atft_gat_fan.data.durable_files import replace_durably, sealed
from atft_gat_fan.errors import StorageError
from atft_gat_fan.monitoring.daily_histograms import Bins, DailyHistograms
from atft_gat_fan.monitoring.observations import Observations
from atft_gat_fan.monitoring.result import Family
from atft_gat_fan.statistics.distribution_shift import NUM_BINS, NUM_EDGES
from atft_gat_fan.untrusted import parse_json, read_plain

FORMAT = 1
DESCRIPTION, ARRAYS = "reference.json", "reference.safetensors"
MODEL = "model.json"
MOST_DESCRIPTION_BYTES, MOST_ARRAY_BYTES = 1 << 26, 1 << 30
WRITE_IT = "run `atft evaluate RUN`, which writes it"


def write_reference(folder: Path, reference: Observations) -> None:
    """Write into the bundle's folder; each file whole or not at all, the description last. Raises StorageError."""
    arrays: dict[str, NDArray[Any]] = {"stocks": reference.stocks.astype(np.int64)}
    for family, histograms in reference.families.items():
        bins = histograms.bins
        arrays |= {f"{family}.edges": bins.edges, f"{family}.deviation": bins.deviation}
        arrays |= {f"{family}.counts": _small(histograms.counts), f"{family}.missing": _small(histograms.missing)}
    arrays |= {f"numbers.{name}": daily for name, daily in reference.numbers.items()}
    arrays |= {f"rank_ic.{name}": daily for name, daily in reference.rank_ic.items()}
    content = save_arrays({name: np.ascontiguousarray(array) for name, array in arrays.items()})
    try:
        description = {
            "format": FORMAT,
            "model_sha256": _sha256_of_model(folder),
            "arrays_sha256": hashlib.sha256(content).hexdigest(),
            "days": list(reference.days),
            "families": {family: list(histograms.names) for family, histograms in reference.families.items()},
            "unavailable": dict(reference.unavailable),
            "numbers": list(reference.numbers),
            "missing_numbers": dict(reference.missing_numbers),
            "rank_ic": list(reference.rank_ic),
        }
        replace_durably(folder / ARRAYS, content)
        replace_durably(folder / DESCRIPTION, json.dumps(sealed(description), indent=2).encode())
    except OSError as error:
        raise StorageError(f"{folder}: cannot write the reference of the monitor: {error.strerror}") from error


def read_reference(folder: Path) -> Observations:
    """Raises StorageError where it is missing (older bundles have none), damaged, or of another model."""
    file = folder / DESCRIPTION
    try:
        body = parse_json(read_plain(file, MOST_DESCRIPTION_BYTES))
        content = read_plain(folder / ARRAYS, MOST_ARRAY_BYTES)
        model = _sha256_of_model(folder)
    except FileNotFoundError as error:
        raise StorageError(
            f"{error.filename}: expected the reference that a model is monitored against, found none; {WRITE_IT}"
        ) from error
    except (OSError, ValueError) as error:
        raise _damaged(file, str(error)) from error
    if not isinstance(body, dict) or body.get("format") != FORMAT:
        found = body.get("format") if isinstance(body, dict) else type(body).__name__
        raise StorageError(f"{file}: expected reference format {FORMAT}, found {found!r:.80}; {WRITE_IT}")
    if body != sealed(body):
        raise _damaged(file, "something else than its checksum is of")
    try:
        description = _Description.model_validate({key: body[key] for key in body if key != "sha256"}, strict=True)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        raise _damaged(file, f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}") from error
    if description.model_sha256 != model:
        raise StorageError(f"{file}: expected the reference of the model beside it, found that of another; {WRITE_IT}")
    if hashlib.sha256(content).hexdigest() != description.arrays_sha256:
        raise _damaged(folder / ARRAYS, f"other numbers than {DESCRIPTION} has the checksum of")
    try:
        return _observations(description, load_arrays(content))
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise _damaged(folder / ARRAYS, str(error)) from error


class _Description(BaseModel):
    model_config = ConfigDict(extra="forbid")

    format: int
    model_sha256: str
    arrays_sha256: str
    days: list[str]
    families: dict[str, list[str]]
    unavailable: dict[str, str]
    numbers: list[str]
    missing_numbers: dict[str, str]
    rank_ic: list[str]


def _observations(description: _Description, arrays: Mapping[str, NDArray[Any]]) -> Observations:
    """Raises KeyError and ValueError for arrays that the description is not of."""
    num_days = len(description.days)
    if not num_days:
        raise ValueError("expected reference days, found none")

    def array(name: str, *shape: int, kinds: str = "f") -> NDArray[Any]:
        found = arrays[name]
        if found.shape != shape or found.dtype.kind not in kinds:
            raise ValueError(f"{name}: expected shape {shape}, found {found.shape} of {found.dtype}")
        return found

    families: dict[Family, DailyHistograms] = {}
    for family in get_args(Family):
        if family not in description.families:
            continue
        names = tuple(description.families[family])
        edges = array(f"{family}.edges", len(names), NUM_EDGES).astype(np.float64)
        deviation = array(f"{family}.deviation", len(names)).astype(np.float64)
        if not (np.isfinite(edges).all() and (np.diff(edges, axis=1) >= 0).all()):
            raise ValueError(f"{family}.edges: expected finite numbers that do not decrease")
        if not (np.isfinite(deviation).all() and (deviation > 0).all()):
            raise ValueError(f"{family}.deviation: expected finite numbers above 0")
        families[family] = DailyHistograms(
            Bins(names, edges, deviation),
            array(f"{family}.counts", num_days, len(names), NUM_BINS, kinds="u"),
            array(f"{family}.missing", num_days, len(names), kinds="u"),
        )
    return Observations(
        days=tuple(description.days),
        stocks=array("stocks", num_days, kinds="i"),
        families=families,
        numbers={name: array(f"numbers.{name}", num_days) for name in description.numbers},
        rank_ic={name: array(f"rank_ic.{name}", num_days) for name in description.rank_ic},
        unavailable={
            family: description.unavailable[family] for family in get_args(Family) if family in description.unavailable
        },
        missing_numbers=description.missing_numbers,
    )


def _small(counts: NDArray[Any]) -> NDArray[Any]:
    return counts.astype(np.uint16) if counts.max(initial=0) < 1 << 16 else counts.astype(np.uint32)


def _sha256_of_model(folder: Path) -> str:
    return hashlib.sha256(read_plain(folder / MODEL, MOST_DESCRIPTION_BYTES)).hexdigest()


def _damaged(file: Path, found: str) -> StorageError:
    return StorageError(f"{file}: expected the reference of a model, found {found}; restore the file, or {WRITE_IT}")
