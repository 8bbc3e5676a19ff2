"""A blend in a bundle's folder: `blend.json`, and one text file a booster, in LightGBM's own format.

`model.json` holds the checksum of `blend.json`, which holds those of the texts. No name is taken from a file, and what
a file says is checked before LightGBM sees it (`models.booster_text`).
"""

import hashlib
import json
import math
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from atft_gat_fan.data.durable_files import replace_durably, sealed
from atft_gat_fan.errors import StorageError
from atft_gat_fan.inference.blend import Blend
from atft_gat_fan.models.gradient_boosting import Booster
from atft_gat_fan.statistics.rank_combination import ChosenWeight, weight_grid
from atft_gat_fan.untrusted import parse_json, read_plain

FORMAT = 1
DESCRIPTION = "blend.json"
BOOSTERS = "lightgbm_*.txt"
MOST_DESCRIPTION_BYTES = 1 << 24
MOST_BOOSTER_BYTES = 1 << 28
"""A thousand times a default booster."""
MOST_SEEDS = 100

Share = Annotated[float, Field(ge=0, le=1)]


def write_blend(folder: Path, blend: Blend | None) -> str | None:
    """Write a blend, the description last, and return its checksum; without one, delete what an earlier model left.

    Each file appears whole or not at all. Raises OSError.
    """
    if blend is None:
        (folder / DESCRIPTION).unlink(missing_ok=True)
        for file in folder.glob(BOOSTERS):
            file.unlink()
        return None
    checksums: dict[str, list[str]] = {}
    for horizon, seeds in zip(blend.horizons, blend.boosters, strict=True):
        checksums[f"{horizon}d"] = []
        for number, booster in enumerate(seeds):
            content = booster.text.encode()
            replace_durably(folder / booster_file(horizon, number), content)
            checksums[f"{horizon}d"].append(hashlib.sha256(content).hexdigest())
    content = json.dumps(sealed(_described(blend, checksums)), indent=2).encode()
    replace_durably(folder / DESCRIPTION, content)
    return hashlib.sha256(content).hexdigest()


def read_blend(folder: Path, sha256: str, horizons: tuple[int, ...], num_features: int) -> Blend:
    """The blend that a model's description names by its checksum.

    Raises StorageError naming the file that is missing, damaged, or says what cannot be.
    """
    file = folder / DESCRIPTION
    raw = _read(file, MOST_DESCRIPTION_BYTES)
    if hashlib.sha256(raw).hexdigest() != sha256:
        raise _not_the_blend(file, "something else than model.json has the checksum of")
    try:
        body = parse_json(raw)
        if not isinstance(body, dict) or body.get("format") != FORMAT:
            raise ValueError(f"no description of format {FORMAT}")
        if body != sealed(body):
            raise ValueError("something else than its checksum is of")
        said = _Description.model_validate({key: body[key] for key in body if key != "sha256"}, strict=True)
        weights = _weights(said, horizons)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        found = f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}"
        raise _not_the_blend(file, found) from error
    except ValueError as error:
        raise _not_the_blend(file, str(error)) from error
    boosters = tuple(
        tuple(
            _booster(folder / booster_file(horizon, number), checksum, num_features)
            for number, checksum in enumerate(said.boosters[f"{horizon}d"])
        )
        for horizon in horizons
    )
    return Blend(horizons, weights, tuple(weight_grid(said.grid).tolist()), boosters, said.settings)


def booster_file(horizon: int, number: int) -> str:
    """Name of the text of the `number`-th seed's trees, from 0."""
    return f"lightgbm_{horizon}d_{number}.txt"


class _Weight(BaseModel):
    """`ChosenWeight`; null where too few days were known."""

    model_config = ConfigDict(extra="forbid")

    network: Share
    low: Share | None
    high: Share | None
    best: Share | None
    days: Annotated[int, Field(ge=0)]
    rank_ic: list[float | None]


class _Description(BaseModel):
    model_config = ConfigDict(extra="forbid")

    format: int
    grid: Annotated[int, Field(ge=3, le=101)]
    weights: dict[str, _Weight]
    boosters: dict[str, Annotated[list[str], Field(min_length=1, max_length=MOST_SEEDS)]]
    settings: dict[str, Any]


def _described(blend: Blend, checksums: dict[str, list[str]]) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "grid": len(blend.grid),
        "weights": {
            f"{horizon}d": weight_json(weight) for horizon, weight in zip(blend.horizons, blend.weights, strict=True)
        },
        "boosters": checksums,
        "settings": dict(blend.settings),
    }


def weight_json(weight: ChosenWeight) -> dict[str, Any]:
    """Null where too few days were known."""
    return {
        "network": weight.weight,
        "low": _number(weight.low),
        "high": _number(weight.high),
        "best": _number(weight.best),
        "days": weight.num_days,
        "rank_ic": [_number(value) for value in weight.means.tolist()],
    }


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _weights(said: _Description, horizons: tuple[int, ...]) -> tuple[ChosenWeight, ...]:
    """Raises ValueError where they are not of these horizons."""
    names = {f"{horizon}d" for horizon in horizons}
    if not said.grid % 2:
        raise ValueError(f"grid: expected an odd number, found {said.grid}")
    if said.weights.keys() != names or said.boosters.keys() != names:
        raise ValueError(f"weights and boosters of other horizons than {sorted(names)}")
    if len({len(seeds) for seeds in said.boosters.values()}) != 1:
        raise ValueError("boosters of more seeds at one horizon than at another")
    weights = [said.weights[f"{horizon}d"] for horizon in horizons]
    if any(len(weight.rank_ic) != said.grid for weight in weights):
        raise ValueError(f"weights with other rank_ic than {said.grid}")
    return tuple(
        ChosenWeight(
            weight=weight.network,
            low=_or_nan(weight.low),
            high=_or_nan(weight.high),
            best=_or_nan(weight.best),
            num_days=weight.days,
            means=np.array([_or_nan(value) for value in weight.rank_ic]),
        )
        for weight in weights
    )


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value


def _booster(file: Path, sha256: str, num_features: int) -> Booster:
    content = _read(file, MOST_BOOSTER_BYTES)
    if hashlib.sha256(content).hexdigest() != sha256:
        raise _not_the_blend(file, f"other trees than {DESCRIPTION} has the checksum of")
    try:
        return Booster(content.decode("ascii"), num_features)
    except ValueError as error:
        raise _not_the_blend(file, f"{error!s:.200}") from error


def _read(file: Path, most_bytes: int) -> bytes:
    try:
        return read_plain(file, most_bytes)
    except OSError as error:
        raise _not_the_blend(file, error.strerror or str(error)) from error


def _not_the_blend(file: Path, found: str) -> StorageError:
    return StorageError(
        f"{file}: expected LightGBM's part of the model, found {found}; the file is damaged, restore it"
    )
