"""Checkpoints: a folder each, complete and verified or not there at all.

A checkpoint is built in a temporary folder beside its place (safetensors and JSON, checksums
manifest last), flushed, read back and verified, then renamed; only after that are old ones deleted.
It carries the best weights so far as well as the current ones, so no rotation can lose them and a
fallback to an older checkpoint never meets best weights of another moment. With an EMA the best weights
are averaged ones, and the raw weights of that moment stand beside them. Nothing is unpickled.
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from atft_gat_fan.data.durable_files import fsync_folder, sealed, write_durably
from atft_gat_fan.errors import NonFiniteError, StorageError
from atft_gat_fan.untrusted import parse_json, read_plain

FORMAT = 2
MOST_MANIFEST_BYTES = 1 << 16
MODEL, OPTIMIZER, BEST = "model.safetensors", "optimizer.safetensors", "best.safetensors"
PROGRESS, MANIFEST = "progress.json", "manifest.json"
FILES = (MODEL, OPTIMIZER, BEST, PROGRESS)
EMA, BEST_RAW = "ema.safetensors", "best_raw.safetensors"
EMA_FILES = (EMA, BEST_RAW)
"""Only where there is an EMA; the second from the first best weights on."""
RETURN = "_return_"


@dataclass(frozen=True)
class TrainingState:
    """All that decides how training goes on.

    `step` optimizer steps and `epoch` validated epochs are done; `model`, `optimizer` and `best` (empty
    before the first validation) are named tensors; `progress` is JSON. `ema` is empty without an EMA.
    `best_raw` are the raw weights behind an EMA's best: tensors, or the file of an earlier checkpoint, so
    that nothing but the disk has to hold them. `returns` counts how often training went back to a checkpoint.
    """

    step: int
    epoch: int
    model: Mapping[str, Tensor]
    optimizer: Mapping[str, Tensor]
    best: Mapping[str, Tensor]
    progress: Mapping[str, Any]
    ema: Mapping[str, Tensor] = field(default_factory=dict)
    best_raw: Mapping[str, Tensor] | Path | None = None
    returns: int = 0

    @property
    def name(self) -> str:
        """Step, epoch and returns decide the state: equal names mean equal states."""
        name = f"step_{self.step:08d}_epoch_{self.epoch:04d}"
        return f"{name}{RETURN}{self.returns:04d}" if self.returns else name


class DamagedCheckpointError(StorageError):
    """A checkpoint that is incomplete or does not match its checksums."""


def save_checkpoint(folder: Path, state: TrainingState, keep: int | None = 2) -> Path:
    """Write the state below `folder`, then delete all but the newest `keep` checkpoints (None: no other is deleted).

    Raises NonFiniteError where a tensor holds NaN or infinity (nothing is written), StorageError where
    the disk fails; either way the earlier checkpoints stay.
    """
    require_finite(state)
    target = folder / state.name
    temporary = folder / f".{state.name}.tmp"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if _intact(target):
            return target
        for leftover in (target, *folder.glob(".step_*.tmp")):
            shutil.rmtree(leftover, ignore_errors=True)
        temporary.mkdir()
        _write_files(temporary, state)
        _verified_files(temporary)
        temporary.rename(target)
        fsync_folder(folder)
        for old in _newest_first(folder)[keep:] if keep else ():
            shutil.rmtree(old)
    except (OSError, DamagedCheckpointError) as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise StorageError(
            f"{target}: cannot write the checkpoint: {error}; earlier checkpoints are untouched: "
            "free space or mend the disk, then start the same command again to resume"
        ) from error
    return target


def load_newest(
    folder: Path, warn: Callable[[str], None], wanted: Callable[[TrainingState], bool] = lambda state: True
) -> TrainingState | None:
    """The newest intact checkpoint below `folder` that is `wanted`; None where there is none at all.

    A damaged one is reported through `warn`, set aside under another name, and the one before it is
    used. Raises StorageError where all are damaged.
    """
    damaged: list[Path] = []
    reasons: list[str] = []
    for candidate in _newest_first(folder):
        try:
            state = _read(candidate)
        except DamagedCheckpointError as error:
            damaged.append(candidate)
            reasons.append(str(error))
            continue
        if not wanted(state):
            continue
        for path, reason in zip(damaged, reasons, strict=True):
            warn(f"{reason}; going on from the older {candidate.name}")
            _set_aside(path)
        return state
    if damaged:
        raise StorageError(
            f"{folder}: expected an intact checkpoint, found {len(damaged)} damaged: {'; '.join(reasons)}; "
            "restore one, or start over with run.fresh=true"
        )
    return None


def load_named(folder: Path, name: str) -> TrainingState:
    """The checkpoint that another process found to be intact. Raises StorageError where it cannot be read here."""
    return _read(folder / name)


def read_tensors(file: Path) -> dict[str, Tensor]:
    """Named tensors of one file of a checkpoint. Raises StorageError where it cannot be read."""
    try:
        return load_tensors(file.read_bytes())
    except (OSError, SafetensorError) as error:
        raise StorageError(f"{file}: expected weights, found {error}; start over with run.fresh=true") from error


def _newest_first(folder: Path) -> list[Path]:
    return sorted((path for path in folder.glob("step_*") if path.is_dir()), key=_order, reverse=True)


def _order(path: Path) -> tuple[str, str]:
    """Returns before steps: what is written after going back is newer than what was given up."""
    name, _, returns = path.name.partition(RETURN)
    return returns, name


def _set_aside(path: Path) -> None:
    """Keep a damaged checkpoint for inspection, out of the way of rotation and of its own rewriting."""
    aside = path.with_name(f"damaged_{path.name}")
    try:
        if aside.exists():
            shutil.rmtree(aside)
        path.rename(aside)
    except OSError as error:
        raise StorageError(f"{path}: cannot set the damaged checkpoint aside: {error}; mend its permissions") from error


def require_finite(state: TrainingState) -> None:
    """Raises NonFiniteError that names the first tensor with NaN or infinity."""
    for kind, tensors in (("weight", state.model), ("optimizer state", state.optimizer), ("EMA weight", state.ema)):
        for name, tensor in tensors.items():
            if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
                raise NonFiniteError(
                    f"expected finite training state, found NaN or infinity in {kind} {name} at step {state.step}"
                )


def _write_files(folder: Path, state: TrainingState) -> None:
    contents = {
        MODEL: _serialise(state.model),
        OPTIMIZER: _serialise(state.optimizer),
        BEST: _serialise(state.best),
        # Not strict JSON on purpose: what is NaN must come back as NaN.
        PROGRESS: json.dumps(state.progress).encode(),
    }
    if state.ema:
        contents[EMA] = _serialise(state.ema)
    if isinstance(state.best_raw, Path):
        contents[BEST_RAW] = state.best_raw.read_bytes()
    elif state.best_raw is not None:
        contents[BEST_RAW] = _serialise(state.best_raw)
    for name, content in contents.items():
        write_durably(folder / name, content)
    manifest = {
        "format": FORMAT,
        "step": state.step,
        "epoch": state.epoch,
        "returns": state.returns,
        "files": {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()},
    }
    write_durably(folder / MANIFEST, json.dumps(sealed(manifest), indent=2).encode())
    fsync_folder(folder)


def _serialise(tensors: Mapping[str, Tensor]) -> bytes:
    return save_tensors({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()})


def _intact(folder: Path) -> bool:
    try:
        _verified_files(folder)
    except DamagedCheckpointError:
        return False
    return True


def _verified_files(folder: Path) -> tuple[dict[str, Any], dict[str, bytes]]:
    """The manifest, and the bytes of every file it vouches for. Raises DamagedCheckpointError naming the file.

    File names come from this module, never from the manifest: it cannot point outside the folder.
    """
    current = folder / MANIFEST
    try:
        manifest = parse_json(read_plain(current, MOST_MANIFEST_BYTES))
        if manifest["format"] != FORMAT:
            raise DamagedCheckpointError(f"{current}: expected checkpoint format {FORMAT}, found {manifest['format']}")
        if manifest != sealed(manifest):
            raise DamagedCheckpointError(f"{current}: it does not match its own checksum")
        contents = {}
        for name in (*FILES, *(name for name in EMA_FILES if name in manifest["files"])):
            current = folder / name
            contents[name] = read_plain(current)
            if hashlib.sha256(contents[name]).hexdigest() != manifest["files"][name]:
                raise DamagedCheckpointError(f"{current}: its bytes do not match the checksum in {MANIFEST}")
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise DamagedCheckpointError(f"{current}: cannot be read: {error}") from error
    return manifest, contents


def _read(folder: Path) -> TrainingState:
    manifest, contents = _verified_files(folder)
    try:
        return TrainingState(
            step=manifest["step"],
            epoch=manifest["epoch"],
            returns=manifest["returns"],
            model=load_tensors(contents[MODEL]),
            optimizer=load_tensors(contents[OPTIMIZER]),
            best=load_tensors(contents[BEST]),
            progress=json.loads(contents[PROGRESS]),
            ema=load_tensors(contents[EMA]) if EMA in contents else {},
            best_raw=folder / BEST_RAW if BEST_RAW in contents else None,
        )
    except (SafetensorError, ValueError, KeyError, RecursionError) as error:
        raise DamagedCheckpointError(f"{folder}: expected a checkpoint, found {error}") from error
