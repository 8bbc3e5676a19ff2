"""The state of a training as checkpoints: taken from its parts, and given back to them."""

import hashlib
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch.optim import Optimizer

from atft_gat_fan.errors import AtftError, NonFiniteError, StorageError
from atft_gat_fan.models.network import ATFT_GAT_FAN
from atft_gat_fan.training.checkpoint import (
    DamagedCheckpointError,
    TrainingState,
    load_named,
    load_newest,
    require_finite,
    save_checkpoint,
)
from atft_gat_fan.training.history import History
from atft_gat_fan.training.optim import load_optimizer_tensors, optimizer_tensors
from atft_gat_fan.training.ranks import Ranks
from atft_gat_fan.training.run_folder import RunFolder
from atft_gat_fan.training.runtime import Runtime
from atft_gat_fan.training.settings import TrainSettings
from atft_gat_fan.training.weights import Weights


class Saves:
    """Checkpoints of one training, in its folder. Reads and writes its parts, decides nothing.

    Of several ranks the first writes; nothing in a checkpoint depends on how many there are.
    """

    def __init__(
        self,
        settings: TrainSettings,
        folder: RunFolder,
        runtime: Runtime,
        weights: Weights,
        optimizer: Optimizer,
        ranks: Ranks,
    ) -> None:
        self._settings, self._folder, self._scaler = settings, folder, runtime.scaler
        self._weights, self._optimizer, self._ranks = weights, optimizer, ranks

    def save(self, history: History) -> Path:
        """Write a checkpoint; the older ones beyond those to keep are deleted once it is verified.

        Not while steps are being skipped for numbers that are not finite: what training may have to go back to stays.
        Raises NonFiniteError, StorageError: then nothing has changed. With several ranks, AtftError where their
        weights are no longer the same.
        """
        state = self._state(history)
        keep = None if history.non_finite_in_row else self._settings.keep_checkpoints
        self._require_finite(state)
        self._require_equal_weights(state)
        if self._ranks.first:
            save_checkpoint(self._folder.checkpoints, state, keep)
        self._ranks.meet()  # the others go on when it is there
        path = self._folder.checkpoints / state.name
        self._weights.saved(path)
        return path

    def _state(self, history: History) -> TrainingState:
        """As one process has it. Where weights are divided, the first rank alone has the tensors."""
        weights, best_raw = self._weights, self._weights.best_raw
        whole = partial(weights.layout.whole, keep=self._ranks.first)
        return TrainingState(
            step=history.step,
            epoch=history.epoch,
            returns=history.returns,
            model=whole(weights.trained.state_dict()),
            optimizer=whole(optimizer_tensors(self._optimizer, weights.trained)),
            best=whole(weights.best),
            progress=self._progress(history),
            ema={} if weights.ema is None else whole(weights.ema.tensors()),
            best_raw=whole(best_raw) if isinstance(best_raw, Mapping) else best_raw,
        )

    def _require_finite(self, state: TrainingState) -> None:
        """Rank 0 looks, and raises on all alike, before one of them waits for the others."""
        problem = ""
        if self._ranks.first:
            try:
                require_finite(state)
            except NonFiniteError as error:
                problem = str(error)
        problem = self._ranks.tell(problem)
        if problem:
            raise NonFiniteError(problem)

    def _require_equal_weights(self, state: TrainingState) -> None:
        """Where every rank has all weights, equal updates of equal weights are all that keeps them equal."""
        if self._ranks.alone or self._weights.layout.shards > 1:
            return
        digests = self._ranks.gather(fingerprint(self._weights.trained))
        other = [rank for rank, digest in enumerate(digests) if digest != digests[0]]
        if other:
            raise AtftError(
                f"expected the weights of rank 0 on every rank after step {state.step}, found others on "
                f"{', '.join(f'rank {rank}' for rank in other)}: they compute differently. The checkpoints from before "
                "are kept; start it again on machines of one kind, with one installation"
            )

    def sound(self, warn: Callable[[str], None]) -> TrainingState:
        """The newest checkpoint from before steps were skipped for numbers that are not finite."""

        def is_sound(state: TrainingState) -> bool:
            return History.from_json(state.progress["history"]).non_finite_in_row == 0

        state = newest_of_all(self._folder.checkpoints, self._ranks, warn, is_sound)
        assert state is not None, "a training begins with a checkpoint"
        return state

    def restore(self, state: TrainingState) -> History:
        """Put a checkpoint's tensors where they belong; what it had counted is returned.

        Raises StorageError where they are those of another network.
        """
        try:
            self._weights.load(state)
            model = self._weights.trained
            lying = optimizer_tensors(self._optimizer, model)
            load_optimizer_tensors(self._optimizer, model, self._weights.layout.divided(state.optimizer, lying))
        except (RuntimeError, KeyError) as error:
            raise StorageError(
                f"{self._folder.checkpoints / state.name}: expected the parameters of this model, found others: "
                f"{error}; resume with the release that wrote it, or start over with run.fresh=true"
            ) from error
        if self._scaler is not None:
            self._scaler.load_state_dict(state.progress["scaler"])
        return History.from_json(state.progress["history"])

    def _progress(self, history: History) -> dict[str, Any]:
        return {
            "digest": self._settings.digest,
            "data": self._settings.data,
            "compiled": self._weights.trained.compiled,
            "history": history.to_json(),
            "scaler": None if self._scaler is None else self._scaler.state_dict(),
        }


def newest_of_all(
    folder: Path,
    ranks: Ranks,
    warn: Callable[[str], None],
    wanted: Callable[[TrainingState], bool] = lambda state: True,
) -> TrainingState | None:
    """`load_newest` as rank 0 finds it, on all ranks; it alone sets damaged ones aside. Raises as that does."""
    state = load_newest(folder, warn, wanted) if ranks.first else None
    name = ranks.tell("" if state is None else state.name)
    if ranks.first or not name:
        return state
    try:
        return load_named(folder, name)
    except DamagedCheckpointError as error:
        raise StorageError(
            f"{folder}: expected the checkpoint {name} that rank 0 goes on from, found: {error}; run.dir must be on a "
            "file system that all machines of the training share"
        ) from error


def fingerprint(model: ATFT_GAT_FAN) -> str:
    """SHA-256 of the weights."""
    digest = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
